#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::pin::Pin;
use std::task::{Context, Poll};

use jb_runner_protocol::{Frame, Reply, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::*;

/// The runner's side of a stream, played by a test.
struct Runner {
    stream: DuplexStream,
    frames: FrameBuffer,
}

impl Runner {
    async fn request(&mut self) -> Option<Request> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Some(Request::decode(frame).unwrap());
            }
            if self.stream.read_buf(self.frames.tail()).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn reply(&mut self, reply: Reply) {
        let mut wire = Vec::new();
        reply.encode(&mut wire);
        self.stream.write_all(&wire).await.unwrap();
    }
}

/// A client and the other side of its stream, after their hellos.
async fn connected() -> (RunnerClient, Runner) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    greeted(Box::new(ours), theirs).await
}

async fn greeted(ours: Box<dyn RunnerStream>, theirs: DuplexStream) -> (RunnerClient, Runner) {
    let mut runner = Runner { stream: theirs, frames: FrameBuffer::new() };
    let (client, ()) = tokio::join!(RunnerClient::handshake(ours), async {
        assert_eq!(runner.request().await, Some(Request::Hello { version: VERSION }));
        runner.reply(Reply::Hello { version: VERSION }).await;
    });
    (client.unwrap(), runner)
}

/// A stream that may break without a word.
struct Breakable(DuplexStream, Duration);

impl RunnerStream for Breakable {
    fn silence_max(&self) -> Option<Duration> {
        Some(self.1)
    }
}

impl AsyncRead for Breakable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

async fn handshake_against(answer: &[u8]) -> Error {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    theirs.write_all(answer).await.unwrap();
    theirs.shutdown().await.unwrap();
    RunnerClient::handshake(Box::new(ours)).await.err().unwrap()
}

#[tokio::test]
async fn another_version_is_refused_with_both_named() {
    let mut hello = Vec::new();
    Reply::Hello { version: 99 }.encode(&mut hello);
    let message = handshake_against(&hello).await.to_string();
    assert!(message.contains("version 99") && message.contains("version 1"), "{message}");
}

#[tokio::test]
async fn a_stranger_is_refused() {
    assert!(matches!(
        handshake_against(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
        Error::Protocol(_)
    ));
    assert!(matches!(handshake_against(b"").await, Error::Transient { .. }));
}

#[tokio::test]
async fn a_missing_executable_is_told_apart() {
    let (client, mut runner) = connected().await;
    let spec = ProcessSpec { path: "bash".to_owned(), ..ProcessSpec::default() };
    let (result, ()) = tokio::join!(client.start("p", spec), async {
        let Some(Request::Start { token, .. }) = runner.request().await else { panic!("no start") };
        let kind = FailureKind::ExecutableNotFound;
        runner.reply(Reply::Failed { token, kind, message: String::new() }).await;
    });
    assert!(matches!(result, Err(StartError::NotFound { path }) if path == "bash"));
}

#[tokio::test]
async fn a_runner_that_says_nothing_is_asked_and_one_that_does_not_answer_is_lost() {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    // Half of it must be long enough for an answer on a busy machine.
    let ours = Box::new(Breakable(ours, Duration::from_secs(2)));
    let (client, mut runner) = greeted(ours, theirs).await;
    let (attached, ()) = tokio::join!(client.attach("p", 0), async {
        let Some(Request::Attach { token, .. }) = runner.request().await else {
            panic!("no attach")
        };
        runner.reply(Reply::Attached { token, first_seq: 0 }).await;
    });
    let mut attached = attached.unwrap();
    // Its process is silent for longer than that, but it is there.
    for _ in 0..3 {
        let Some(Request::List { token }) = runner.request().await else { panic!("not asked") };
        runner.reply(Reply::Processes { token, processes: Vec::new(), last: true }).await;
    }
    // Neither end is told of the break.
    assert_eq!(attached.next().await, None);
    let message = client.signal("p", 15).await.unwrap_err().to_string();
    assert!(message.contains("not a word in 2 seconds"), "{message}");
    drop(runner);
}

#[tokio::test]
async fn losing_the_stream_ends_every_call_and_attachment() {
    let (client, mut runner) = connected().await;
    let (attached, attachment) = tokio::join!(client.attach("p", 5), async {
        let Some(Request::Attach { token, attachment, from_seq: 5, .. }) = runner.request().await
        else {
            panic!("no attach")
        };
        runner.reply(Reply::Attached { token, first_seq: 5 }).await;
        attachment
    });
    let mut attached = attached.unwrap();
    let output = |seq| Reply::Output {
        attachment,
        seq,
        time_us: 3,
        stream: Stream::Stderr,
        bytes: b"x".to_vec(),
    };
    runner.reply(output(5)).await;
    let (signalled, ()) = tokio::join!(client.signal("p", 15), async {
        runner.request().await.unwrap();
        runner.reply(output(6)).await;
        drop(runner);
    });
    assert!(matches!(signalled, Err(Error::Transient { .. })));
    assert_eq!(attached.next().await.unwrap().seq(), 5);
    assert_eq!(attached.next().await.unwrap().seq(), 6);
    assert_eq!(attached.next().await, None);
    assert!(matches!(client.processes().await, Err(Error::Transient { .. })));
    assert!(matches!(client.start("q", ProcessSpec::default()).await, Err(StartError::Lost)));
}

#[tokio::test]
async fn output_is_granted_as_it_is_taken_and_dropping_detaches() {
    let (client, mut runner) = connected().await;
    let (attached, attachment) = tokio::join!(client.attach("p", 0), async {
        let Some(Request::Attach { token, attachment, .. }) = runner.request().await else {
            panic!("no attach")
        };
        runner.reply(Reply::Attached { token, first_seq: 0 }).await;
        attachment
    });
    let mut attached = attached.unwrap();
    let bytes = vec![b'x'; 64 << 10];
    for seq in 0..9 {
        let stream = Stream::Stdout;
        let output = Reply::Output { attachment, seq, time_us: 0, stream, bytes: bytes.clone() };
        runner.reply(output).await;
        attached.next().await.unwrap();
    }
    let granted = u32::try_from(8 * record::MAX_RECORD).unwrap();
    assert_eq!(runner.request().await, Some(Request::Grant { attachment, bytes: granted }));
    drop(attached);
    assert_eq!(runner.request().await, Some(Request::Detach { attachment }));
    drop(client);
    assert_eq!(runner.request().await, None);
}

#[tokio::test]
async fn a_runner_that_sends_without_being_granted_is_cut_off() {
    let (client, mut runner) = connected().await;
    let (attached, attachment) = tokio::join!(client.attach("p", 0), async {
        let Some(Request::Attach { token, attachment, .. }) = runner.request().await else {
            panic!("no attach")
        };
        runner.reply(Reply::Attached { token, first_seq: 0 }).await;
        attachment
    });
    let mut wire = Vec::new();
    for seq in 0..u64::from(WINDOW) / 20 {
        let (stream, bytes) = (Stream::Stdout, b"x".to_vec());
        Reply::Output { attachment, seq, time_us: 0, stream, bytes }.encode(&mut wire);
    }
    // The client hangs up before all of it is sent.
    let _ = runner.stream.write_all(&wire).await;
    assert!(matches!(client.signal("p", 9).await, Err(Error::Transient { .. })));
    drop(attached);
}

#[tokio::test]
async fn a_list_in_parts_comes_whole() {
    let (client, mut runner) = connected().await;
    let info = |id: &str| ProcessInfo {
        id: id.to_owned(),
        state: ProcessState::Running { pid: 7 },
        next_seq: 1,
        unacknowledged_seq: 0,
    };
    let (processes, ()) = tokio::join!(client.processes(), async {
        let Some(Request::List { token }) = runner.request().await else { panic!("no list") };
        runner.reply(Reply::Processes { token, processes: vec![info("a")], last: false }).await;
        runner.reply(Reply::Processes { token, processes: vec![info("b")], last: true }).await;
    });
    assert_eq!(processes.unwrap(), [info("a"), info("b")]);
}

#[test]
fn decoding_never_trusts_the_runner() {
    let frame = Frame { kind: 200, payload: b"" };
    assert!(Reply::decode(frame).is_err());
}
