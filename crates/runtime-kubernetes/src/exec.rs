//! Commands executed in containers, over WebSockets.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use jb_runtime::RunnerStream;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, ReadHalf, SimplexStream, WriteHalf,
};

/// How long an executed command may take to show that it runs.
const ANNOUNCEMENT: Duration = Duration::from_secs(15);
/// Bytes on their way to and from a command.
const BUFFER: usize = 256 << 10;
/// What is kept of a command's stderr.
const STDERR_BYTES_MAX: u64 = 16 << 10;

/// Why a command did not run or did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    Api(kube::Error),
    /// The kubelet could not execute it: there is no such container (yet), in its words.
    NotRun(String),
    /// It ended with a status other than zero, having said this.
    Status(i32, String),
    /// The connection broke.
    Lost(io::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Api(error) => write!(f, "{error}"),
            Self::NotRun(why) => write!(f, "{why}"),
            Self::Status(status, said) => write!(f, "status {status}: {}", said.trim()),
            Self::Lost(error) => write!(f, "{error}"),
        }
    }
}

/// A command under way.
pub(crate) struct Exec {
    pub(crate) stdin: WriteHalf<SimplexStream>,
    pub(crate) stdout: Output,
    stderr: ReadHalf<SimplexStream>,
}

impl Exec {
    pub(crate) async fn start(
        pods: &Api<Pod>,
        pod: &str,
        container: &str,
        command: Vec<String>,
    ) -> Result<Self, Failure> {
        let params = AttachParams {
            container: Some(container.to_owned()),
            stdin: true,
            stdout: true,
            stderr: true,
            tty: false,
            max_stdin_buf_size: Some(BUFFER),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: Some(BUFFER),
        };
        let started = tokio::time::timeout(ANNOUNCEMENT, pods.exec(pod, command, &params)).await;
        let mut process = match started {
            Ok(started) => started.map_err(Failure::Api)?,
            Err(_) => return Err(Failure::Lost(io::ErrorKind::TimedOut.into())),
        };
        let status = process.take_status();
        let (Some(stdin), Some(stdout), Some(stderr), Some(status)) =
            (process.stdin(), process.stdout(), process.stderr(), status)
        else {
            return Err(Failure::Lost(io::ErrorKind::NotConnected.into()));
        };
        let ending = Ending::Awaited(Box::pin(status));
        let stdout = Output { stdout, ending, _process: process };
        Ok(Self { stdin, stdout, stderr })
    }

    /// Waits for its end, once its output was read.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        let status = std::future::poll_fn(|context| self.stdout.ending.poll(context)).await;
        // All of it has come by now.
        let mut said = Vec::new();
        let mut stderr = self.stderr.take(STDERR_BYTES_MAX);
        while let Some(Ok(1..)) = stderr.read_buf(&mut said).now_or_never() {}
        let said = String::from_utf8_lossy(&said).into_owned();
        match status {
            Some(status) => judge(&status, said),
            None => Err(Failure::Lost(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// How a command ended, which is asked for more than once.
enum Ending {
    Awaited(Pin<Box<dyn Future<Output = Option<Status>> + Send>>),
    /// `None` when the connection broke before.
    Known(Option<Box<Status>>),
}

impl Ending {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Box<Status>>> {
        if let Self::Awaited(status) = self {
            *self = Self::Known(ready!(status.as_mut().poll(context)).map(Box::new));
        }
        match self {
            Self::Known(status) => Poll::Ready(status.clone()),
            Self::Awaited(_) => Poll::Pending,
        }
    }
}

/// A command's stdout. The end of the connection is its end, too, which the pipe alone does not tell.
pub(crate) struct Output {
    stdout: ReadHalf<SimplexStream>,
    ending: Ending,
    /// The connection ends with this.
    _process: AttachedProcess,
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stdout).poll_read(context, buffer) {
            return Poll::Ready(read);
        }
        ready!(self.ending.poll(context));
        // Whatever came before the end is there by now.
        match Pin::new(&mut self.stdout).poll_read(context, buffer) {
            Poll::Pending => Poll::Ready(Ok(())),
            ready => ready,
        }
    }
}

/// Reads the last word of an executed command.
fn judge(status: &Status, said: String) -> Result<(), Failure> {
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let mut code = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = code.next().and_then(|cause| cause.message.as_deref()?.parse().ok());
    match code {
        Some(code) => Err(Failure::Status(code, said)),
        None => Err(Failure::NotRun(status.message.clone().unwrap_or_default())),
    }
}

/// Connects to the runner of a container; returns when it is connected.
pub(crate) async fn connect(
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    command: Vec<String>,
    silence_max: Duration,
) -> Result<RunnerExec, Failure> {
    let mut exec = Exec::start(pods, pod, container, command).await?;
    let mut announcement = [1];
    let read = tokio::time::timeout(ANNOUNCEMENT, exec.stdout.read(&mut announcement)).await;
    let lost = |kind: io::ErrorKind| Failure::Lost(kind.into());
    match read {
        Ok(Ok(1)) if announcement == [0] => {
            Ok(RunnerExec { stdout: exec.stdout, stdin: exec.stdin, silence_max })
        }
        Ok(Ok(0)) => {
            Err(exec.end().await.err().unwrap_or_else(|| lost(io::ErrorKind::UnexpectedEof)))
        }
        Ok(Ok(_)) => Err(lost(io::ErrorKind::InvalidData)),
        Ok(Err(error)) => Err(Failure::Lost(error)),
        Err(_) => Err(lost(io::ErrorKind::TimedOut)),
    }
}

/// A stream to a runner.
pub(crate) struct RunnerExec {
    stdout: Output,
    stdin: WriteHalf<SimplexStream>,
    silence_max: Duration,
}

impl RunnerStream for RunnerExec {
    fn silence_max(&self) -> Option<Duration> {
        Some(self.silence_max)
    }
}

impl AsyncRead for RunnerExec {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(context, buffer)
    }
}

impl AsyncWrite for RunnerExec {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(context)
    }
}
