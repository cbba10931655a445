//! What the two sides say, and its encoding.

use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::Frame;
use crate::record;
use crate::spec::{ProcessSpec, Stdin, Stream, WindowSize};

/// From the server to the runner. `token` comes back in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Hello {
        version: u16,
    },
    /// Starts a process, or reports the one that already has this id.
    Start {
        token: u32,
        id: String,
        spec: ProcessSpec,
    },
    /// Sends the journal of a process from `from_seq` on, no more than `window` bytes of frames
    /// until [`Request::Grant`] allows more. `attachment` is chosen by the client.
    Attach {
        token: u32,
        attachment: u32,
        id: String,
        from_seq: u64,
        window: u32,
    },
    Grant {
        attachment: u32,
        bytes: u32,
    },
    Detach {
        attachment: u32,
    },
    /// Answered when the process's input has room for more.
    Stdin {
        token: u32,
        id: String,
        bytes: Vec<u8>,
    },
    CloseStdin {
        token: u32,
        id: String,
    },
    /// To the whole process group, or to the process alone.
    Signal {
        token: u32,
        id: String,
        signal: i32,
        group: bool,
    },
    Resize {
        token: u32,
        id: String,
        size: WindowSize,
    },
    /// Everything up to and including `seq` is stored elsewhere and may be deleted here. No answer.
    Ack {
        id: String,
        seq: u64,
    },
    /// Removes an ended process and its journal: its id can be used again.
    Forget {
        token: u32,
        id: String,
    },
    List {
        token: u32,
    },
    /// Ends every process (SIGTERM, after `grace_ms` SIGKILL), then the runner.
    Shutdown {
        token: u32,
        grace_ms: u32,
    },
}

/// From the runner to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Hello {
        version: u16,
    },
    /// `pid` is 0 when the process ended already; `existing` when the id was known.
    Started {
        token: u32,
        pid: u32,
        existing: bool,
    },
    /// Output follows, from `from_seq` or, when earlier records were acknowledged, `first_seq`.
    Attached {
        token: u32,
        first_seq: u64,
    },
    Done {
        token: u32,
    },
    Processes {
        token: u32,
        processes: Vec<ProcessInfo>,
        last: bool,
    },
    Failed {
        token: u32,
        kind: FailureKind,
        message: String,
    },
    Output {
        attachment: u32,
        seq: u64,
        time_us: i64,
        stream: Stream,
        bytes: Vec<u8>,
    },
    /// The last record of a process. `signal` is 0 unless one ended it; `status` is then 128 + signal.
    Exited {
        attachment: u32,
        seq: u64,
        time_us: i64,
        status: i32,
        signal: i32,
        oom: bool,
    },
    /// What is wrong with the connection or the journal as a whole.
    Error {
        message: String,
    },
}

/// Why a request failed, as far as the server acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    ExecutableNotFound,
    NoProcess,
    Other,
}

/// What is known of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    pub id: String,
    pub state: ProcessState,
    /// The number the next record will have.
    pub next_seq: u64,
    /// The first number not acknowledged.
    pub unacknowledged_seq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    Running { pid: u32 },
    Exited { status: i32, signal: i32, oom: bool },
}

pub(crate) mod kind {
    pub(crate) const HELLO: u8 = 1;
    pub(crate) const START: u8 = 2;
    pub(crate) const ATTACH: u8 = 3;
    pub(crate) const GRANT: u8 = 4;
    pub(crate) const DETACH: u8 = 5;
    pub(crate) const STDIN: u8 = 6;
    pub(crate) const CLOSE_STDIN: u8 = 7;
    pub(crate) const SIGNAL: u8 = 8;
    pub(crate) const RESIZE: u8 = 9;
    pub(crate) const ACK: u8 = 10;
    pub(crate) const FORGET: u8 = 11;
    pub(crate) const LIST: u8 = 12;
    pub(crate) const SHUTDOWN: u8 = 13;

    pub(crate) const STARTED: u8 = 65;
    pub(crate) const ATTACHED: u8 = 66;
    pub(crate) const DONE: u8 = 67;
    pub(crate) const PROCESSES: u8 = 68;
    pub(crate) const FAILED: u8 = 69;
    pub(crate) const STDOUT: u8 = 70;
    pub(crate) const STDERR: u8 = 71;
    pub(crate) const EXITED: u8 = 72;
    pub(crate) const ERROR: u8 = 73;
}

/// Starts a `Hello`, so that a stranger on the socket is told apart from another version.
const MAGIC: u32 = u32::from_le_bytes(*b"JBRP");

impl Request {
    /// Appends this message as one frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { version } => hello(out, *version),
            Self::Start { token, id, spec } => {
                let mut w = Writer::frame(out, kind::START);
                w.u32(*token);
                w.str(id);
                write_spec(&mut w, spec);
                w.finish();
            }
            Self::Attach { token, attachment, id, from_seq, window } => {
                let mut w = Writer::frame(out, kind::ATTACH);
                w.u32(*token);
                w.u32(*attachment);
                w.str(id);
                w.u64(*from_seq);
                w.u32(*window);
                w.finish();
            }
            Self::Grant { attachment, bytes } => {
                let mut w = Writer::frame(out, kind::GRANT);
                w.u32(*attachment);
                w.u32(*bytes);
                w.finish();
            }
            Self::Detach { attachment } => tokened(out, kind::DETACH, *attachment).finish(),
            Self::Stdin { token, id, bytes } => {
                let mut w = tokened(out, kind::STDIN, *token);
                w.str(id);
                w.bytes(bytes);
                w.finish();
            }
            Self::CloseStdin { token, id } => {
                let mut w = tokened(out, kind::CLOSE_STDIN, *token);
                w.str(id);
                w.finish();
            }
            Self::Signal { token, id, signal, group } => {
                let mut w = tokened(out, kind::SIGNAL, *token);
                w.str(id);
                w.i32(*signal);
                w.bool(*group);
                w.finish();
            }
            Self::Resize { token, id, size } => {
                let mut w = tokened(out, kind::RESIZE, *token);
                w.str(id);
                w.u16(size.cols);
                w.u16(size.rows);
                w.finish();
            }
            Self::Ack { id, seq } => {
                let mut w = Writer::frame(out, kind::ACK);
                w.str(id);
                w.u64(*seq);
                w.finish();
            }
            Self::Forget { token, id } => {
                let mut w = tokened(out, kind::FORGET, *token);
                w.str(id);
                w.finish();
            }
            Self::List { token } => tokened(out, kind::LIST, *token).finish(),
            Self::Shutdown { token, grace_ms } => {
                let mut w = tokened(out, kind::SHUTDOWN, *token);
                w.u32(*grace_ms);
                w.finish();
            }
        }
    }

    pub fn decode(frame: Frame<'_>) -> Result<Self, DecodeError> {
        let mut r = Reader::new(frame.payload);
        let request = match frame.kind {
            kind::HELLO => Self::Hello { version: read_hello(&mut r)? },
            kind::START => Self::Start { token: r.u32()?, id: r.id()?, spec: read_spec(&mut r)? },
            kind::ATTACH => Self::Attach {
                token: r.u32()?,
                attachment: r.u32()?,
                id: r.id()?,
                from_seq: r.u64()?,
                window: r.u32()?,
            },
            kind::GRANT => Self::Grant { attachment: r.u32()?, bytes: r.u32()? },
            kind::DETACH => Self::Detach { attachment: r.u32()? },
            kind::STDIN => Self::Stdin { token: r.u32()?, id: r.id()?, bytes: r.bytes()? },
            kind::CLOSE_STDIN => Self::CloseStdin { token: r.u32()?, id: r.id()? },
            kind::SIGNAL => {
                Self::Signal { token: r.u32()?, id: r.id()?, signal: r.i32()?, group: r.bool()? }
            }
            kind::RESIZE => Self::Resize { token: r.u32()?, id: r.id()?, size: read_size(&mut r)? },
            kind::ACK => Self::Ack { id: r.id()?, seq: r.u64()? },
            kind::FORGET => Self::Forget { token: r.u32()?, id: r.id()? },
            kind::LIST => Self::List { token: r.u32()? },
            kind::SHUTDOWN => Self::Shutdown { token: r.u32()?, grace_ms: r.u32()? },
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        };
        r.end()?;
        Ok(request)
    }
}

impl Reply {
    /// Appends this message as one frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { version } => hello(out, *version),
            Self::Started { token, pid, existing } => {
                let mut w = tokened(out, kind::STARTED, *token);
                w.u32(*pid);
                w.bool(*existing);
                w.finish();
            }
            Self::Attached { token, first_seq } => {
                let mut w = tokened(out, kind::ATTACHED, *token);
                w.u64(*first_seq);
                w.finish();
            }
            Self::Done { token } => tokened(out, kind::DONE, *token).finish(),
            Self::Processes { token, processes, last } => {
                let mut w = tokened(out, kind::PROCESSES, *token);
                w.bool(*last);
                w.len(processes.len());
                for process in processes {
                    write_info(&mut w, process);
                }
                w.finish();
            }
            Self::Failed { token, kind: failure, message } => {
                let mut w = tokened(out, kind::FAILED, *token);
                w.u8(match failure {
                    FailureKind::ExecutableNotFound => 1,
                    FailureKind::NoProcess => 2,
                    FailureKind::Other => 0,
                });
                w.str(message);
                w.finish();
            }
            Self::Output { attachment, seq, time_us, stream, bytes } => {
                record::push_output(out, *seq, *time_us, *stream, bytes);
                let at = out.len() - record::OUTPUT_HEADER - bytes.len();
                record::set_attachment(&mut out[at..], *attachment);
            }
            Self::Exited { attachment, seq, time_us, status, signal, oom } => {
                let at = out.len();
                let exit = record::Exit { status: *status, signal: *signal, oom: *oom };
                record::push_exit(out, *seq, *time_us, exit);
                record::set_attachment(&mut out[at..], *attachment);
            }
            Self::Error { message } => {
                let mut w = Writer::frame(out, kind::ERROR);
                w.str(message);
                w.finish();
            }
        }
    }

    pub fn decode(frame: Frame<'_>) -> Result<Self, DecodeError> {
        let mut r = Reader::new(frame.payload);
        let reply = match frame.kind {
            kind::HELLO => Self::Hello { version: read_hello(&mut r)? },
            kind::STARTED => Self::Started { token: r.u32()?, pid: r.u32()?, existing: r.bool()? },
            kind::ATTACHED => Self::Attached { token: r.u32()?, first_seq: r.u64()? },
            kind::DONE => Self::Done { token: r.u32()? },
            kind::PROCESSES => {
                let (token, last) = (r.u32()?, r.bool()?);
                let mut processes = Vec::with_capacity(r.len(INFO_MIN)?);
                for _ in 0..processes.capacity() {
                    processes.push(read_info(&mut r)?);
                }
                Self::Processes { token, processes, last }
            }
            kind::FAILED => Self::Failed {
                token: r.u32()?,
                kind: match r.u8()? {
                    1 => FailureKind::ExecutableNotFound,
                    2 => FailureKind::NoProcess,
                    _ => FailureKind::Other,
                },
                message: r.string()?,
            },
            kind::STDOUT | kind::STDERR => Self::Output {
                attachment: r.u32()?,
                seq: r.u64()?,
                time_us: r.i64()?,
                stream: if frame.kind == kind::STDOUT { Stream::Stdout } else { Stream::Stderr },
                bytes: r.rest().to_vec(),
            },
            kind::EXITED => Self::Exited {
                attachment: r.u32()?,
                seq: r.u64()?,
                time_us: r.i64()?,
                status: r.i32()?,
                signal: r.i32()?,
                oom: r.bool()?,
            },
            kind::ERROR => Self::Error { message: r.string()? },
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        };
        r.end()?;
        Ok(reply)
    }
}

fn tokened(out: &mut Vec<u8>, kind: u8, token: u32) -> Writer<'_> {
    let mut w = Writer::frame(out, kind);
    w.u32(token);
    w
}

fn hello(out: &mut Vec<u8>, version: u16) {
    let mut w = Writer::frame(out, kind::HELLO);
    w.u32(MAGIC);
    w.u16(version);
    w.finish();
}

fn read_hello(r: &mut Reader<'_>) -> Result<u16, DecodeError> {
    if r.u32()? != MAGIC {
        return Err(DecodeError::NotARunner);
    }
    let version = r.u16()?;
    // Later versions may say more here.
    r.rest();
    Ok(version)
}

fn write_spec(w: &mut Writer<'_>, spec: &ProcessSpec) {
    w.str(&spec.path);
    w.len(spec.args.len());
    for arg in &spec.args {
        w.str(arg);
    }
    w.len(spec.env.len());
    for (name, value) in &spec.env {
        w.str(name);
        w.str(value);
    }
    w.str(&spec.dir);
    w.bool(spec.create_dir);
    w.bool(spec.user.is_some());
    w.str(spec.user.as_deref().unwrap_or_default());
    w.bool(spec.tty.is_some());
    let size = spec.tty.unwrap_or(WindowSize { cols: 0, rows: 0 });
    w.u16(size.cols);
    w.u16(size.rows);
    match &spec.stdin {
        Stdin::Null => w.u8(0),
        Stdin::Open => w.u8(1),
        Stdin::Data(bytes) => {
            w.u8(2);
            w.bytes(bytes);
        }
        Stdin::Fed(bytes) => {
            w.u8(3);
            w.bytes(bytes);
        }
    }
    w.bool(spec.privileged);
}

fn read_spec(r: &mut Reader<'_>) -> Result<ProcessSpec, DecodeError> {
    let path = r.string()?;
    let args = (0..r.len(4)?).map(|_| r.string()).collect::<Result<_, _>>()?;
    let env = (0..r.len(8)?)
        .map(|_| Ok((r.string()?, r.string()?)))
        .collect::<Result<_, DecodeError>>()?;
    let dir = r.string()?;
    let create_dir = r.bool()?;
    let has_user = r.bool()?;
    let user = Some(r.string()?).filter(|_| has_user);
    let has_tty = r.bool()?;
    let tty = Some(read_size(r)?).filter(|_| has_tty);
    let stdin = match r.u8()? {
        0 => Stdin::Null,
        1 => Stdin::Open,
        2 => Stdin::Data(r.bytes()?),
        3 => Stdin::Fed(r.bytes()?),
        _ => return Err(DecodeError::Malformed("stdin")),
    };
    let privileged = r.bool()?;
    Ok(ProcessSpec { path, args, env, dir, create_dir, user, tty, stdin, privileged })
}

fn read_size(r: &mut Reader<'_>) -> Result<WindowSize, DecodeError> {
    Ok(WindowSize { cols: r.u16()?, rows: r.u16()? })
}

/// The fewest bytes a [`ProcessInfo`] can take.
const INFO_MIN: usize = 4 + 14 + 16;

fn write_info(w: &mut Writer<'_>, info: &ProcessInfo) {
    let (running, pid, exit) = match info.state {
        ProcessState::Running { pid } => (true, pid, (0, 0, false)),
        ProcessState::Exited { status, signal, oom } => (false, 0, (status, signal, oom)),
    };
    w.str(&info.id);
    w.bool(running);
    w.u32(pid);
    w.i32(exit.0);
    w.i32(exit.1);
    w.bool(exit.2);
    w.u64(info.next_seq);
    w.u64(info.unacknowledged_seq);
}

fn read_info(r: &mut Reader<'_>) -> Result<ProcessInfo, DecodeError> {
    let id = r.id()?;
    let (running, pid) = (r.bool()?, r.u32()?);
    let (status, signal, oom) = (r.i32()?, r.i32()?, r.bool()?);
    let state = if running {
        ProcessState::Running { pid }
    } else {
        ProcessState::Exited { status, signal, oom }
    };
    Ok(ProcessInfo { id, state, next_seq: r.u64()?, unacknowledged_seq: r.u64()? })
}
