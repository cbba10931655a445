//! `shell`: programs, started by their arguments.
//!
//! Whether a program may run is decided here, on the very arguments it is started with. The program is found by its name
//! in the directories of `PATH`; those that the agent could have written to are left out, so that it cannot put a program of
//! its own in the place of a granted one.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jb_agent_protocol::LoopSpec;
use jb_model::agent::ShellGrant;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::roots::is_within;
use super::{Answer, Refusal, maybe_text, number};
use crate::process::Group;

/// Used when the step has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of output that are kept from its beginning and from its end.
const HEAD_BYTES: usize = 16 << 10;
const TAIL_BYTES: usize = 24 << 10;
const TIMEOUT: Duration = Duration::from_secs(600);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Output that is still held by children of a program that ended is waited for this long.
const AFTER_EXIT: Duration = Duration::from_secs(2);
/// Arguments of one program, and bytes of all of them.
const ARGUMENTS_MAX: usize = 1000;
const ARGUMENT_BYTES_MAX: usize = 128 << 10;

pub(super) struct Shell {
    grants: Vec<ShellGrant>,
    /// Where programs are searched.
    path: Vec<String>,
    working_dir: String,
    dirs: Vec<String>,
    /// What programs find in their environment beside what is there.
    env: Vec<(String, String)>,
}

impl Shell {
    pub(super) fn new(patterns: &[String], spec: &LoopSpec) -> Result<Self, String> {
        let grants = patterns
            .iter()
            .map(|pattern| {
                ShellGrant::parse(pattern)
                    .map_err(|error| format!("the grant `{pattern}`: {error}"))
            })
            .collect::<Result<_, _>>()?;
        let path = search_path(spec);
        let dirs = spec.roots.iter().map(|root| root.path.clone());
        let dirs = dirs.chain([spec.working_dir.clone()]).collect();
        let (working_dir, env) = (spec.working_dir.clone(), crate::proxy::env(spec));
        Ok(Self { grants, path, working_dir, dirs, env })
    }

    pub(super) async fn run(&self, input: &Value) -> Answer {
        let argv = arguments(input)?;
        if !self.allows(&argv) {
            let granted: Vec<&str> = self.grants.iter().map(ShellGrant::as_str).collect();
            return Err(Refusal::Denied(format!(
                "`{}` matches no grant; granted are: {}",
                crate::output::cut(&argv.join(" "), 500),
                granted.join(", ")
            )));
        }
        let program = self.program(&argv[0])?;
        let dir = self.dir(maybe_text(input, "dir")?)?;
        let timeout = number(input, "timeout_seconds").map_or(TIMEOUT, Duration::from_secs);
        let mut child = Command::new(program)
            .arg0(&argv[0])
            .args(&argv[1..])
            .current_dir(dir)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Refusal::failed(format!("start `{}`: {error}", argv[0])))?;
        follow(&mut child, timeout.min(TIMEOUT_MAX)).await
    }

    pub(super) fn allows(&self, argv: &[String]) -> bool {
        self.grants.iter().any(|grant| grant.allows(argv))
    }

    /// The file of a program.
    fn program(&self, name: &str) -> Result<String, Refusal> {
        if name.contains('/') {
            // The grant names it so, and the path leads where the pipeline's author said.
            return Ok(name.to_owned());
        }
        find(&self.path, name).ok_or_else(|| {
            Refusal::failed(format!("there is no program `{name}` in {}", self.path.join(":")))
        })
    }

    fn dir(&self, asked: Option<&str>) -> Result<std::path::PathBuf, Refusal> {
        let dir = Path::new(&self.working_dir).join(asked.unwrap_or("."));
        let real = std::fs::canonicalize(&dir)
            .map_err(|error| Refusal::failed(format!("dir {}: {error}", dir.display())))?;
        let inside = self.dirs.iter().any(|allowed| {
            std::fs::canonicalize(allowed).is_ok_and(|allowed| real.starts_with(allowed))
        });
        if inside {
            return Ok(real);
        }
        Err(Refusal::Denied(format!(
            "dir {} lies outside of the step's directories",
            dir.display()
        )))
    }
}

/// The directories where programs are searched: those of `PATH` that the agent could not have written to.
pub(crate) fn search_path(spec: &LoopSpec) -> Vec<String> {
    let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
    let dirs = path.split(':').filter(|dir| dir.starts_with('/')).filter(|dir| {
        // By where it really is, whatever links lead there.
        let real = std::fs::canonicalize(dir).ok();
        let real = real.as_deref().and_then(Path::to_str).unwrap_or(dir);
        !is_within(dir, spec) && !is_within(real, spec)
    });
    dirs.map(str::to_owned).collect()
}

/// The file of a program by its name.
pub(crate) fn find(path: &[String], name: &str) -> Option<String> {
    let mut files = path.iter().map(|dir| format!("{}/{name}", dir.trim_end_matches('/')));
    files.find(|file| {
        Path::new(file).is_file()
            && rustix::fs::access(file.as_str(), rustix::fs::Access::EXEC_OK).is_ok()
    })
}

pub(crate) fn arguments(input: &Value) -> Result<Vec<String>, Refusal> {
    let failed = || Refusal::failed("`argv` is a list of texts: the program and its arguments");
    let argv = input.get("argv").and_then(Value::as_array).ok_or_else(failed)?;
    let argv: Option<Vec<String>> =
        argv.iter().map(|word| word.as_str().map(str::to_owned)).collect();
    let argv = argv.filter(|argv| !argv.is_empty()).ok_or_else(failed)?;
    let bytes: usize = argv.iter().map(String::len).sum();
    if argv.len() > ARGUMENTS_MAX || bytes > ARGUMENT_BYTES_MAX {
        return Err(Refusal::failed("there are too many arguments"));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(Refusal::failed("an argument has no NUL"));
    }
    Ok(argv)
}

/// Collects what a program writes until it ends or its time is up; then everything it started is ended, too.
async fn follow(child: &mut Child, timeout: Duration) -> Answer {
    let group = Group::of(child);
    let mut output = Kept::default();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let deadline = tokio::time::sleep(timeout);
    tokio::pin!(deadline);
    let (mut out, mut err) = (vec![0; 8 << 10], vec![0; 8 << 10]);
    let mut status = None;
    let timed_out = loop {
        tokio::select! {
            read = piece(&mut stdout, &mut out) => output.push(&out[..read]),
            read = piece(&mut stderr, &mut err) => output.push(&err[..read]),
            ended = child.wait(), if status.is_none() => {
                status = Some(ended.map_err(|error| Refusal::failed(error.to_string()))?);
                deadline.as_mut().reset(tokio::time::Instant::now() + AFTER_EXIT);
            }
            () = &mut deadline => break status.is_none(),
        }
        if status.is_some() && stdout.is_none() && stderr.is_none() {
            break false;
        }
    };
    drop(group);
    let text = output.text();
    if timed_out {
        let _ = child.wait().await;
        let what = format!("{text}\n(ended after {} s: it took too long)", timeout.as_secs());
        return Err(Refusal::Failed(what));
    }
    match status {
        Some(status) if status.success() => Ok(text),
        Some(status) => Err(Refusal::Failed(format!("{text}\n({status})"))),
        None => Err(Refusal::Failed(text)),
    }
}

/// Reads what there is; forgets a stream that ended, and never returns without one.
async fn piece<R: AsyncRead + Unpin>(stream: &mut Option<R>, buffer: &mut [u8]) -> usize {
    let Some(open) = stream else { return std::future::pending().await };
    match open.read(buffer).await {
        Ok(read) if read > 0 => read,
        _ => {
            *stream = None;
            0
        }
    }
}

/// The beginning and the end of an output.
#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: usize,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len();
        let room = HEAD_BYTES - self.head.len();
        let (head, rest) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let extra = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..extra);
    }

    fn text(self) -> String {
        let hidden = self.total - self.head.len() - self.tail.len();
        let tail: Vec<u8> = self.tail.into();
        if hidden == 0 {
            return String::from_utf8_lossy(&[self.head, tail].concat()).into_owned();
        }
        format!(
            "{}\n… ({hidden} bytes left out) …\n{}",
            String::from_utf8_lossy(&self.head),
            String::from_utf8_lossy(&tail)
        )
    }
}
