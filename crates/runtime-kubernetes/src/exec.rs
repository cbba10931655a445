//! Commands executed in containers, over WebSockets.

mod output;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use jb_runner_protocol::ANNOUNCEMENT;
use jb_runtime::RunnerStream;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, SimplexStream, WriteHalf};

use crate::api::text_of;
pub(crate) use output::Output;

/// How long an executed command may take to show that it runs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes on their way to and from a command.
const BUFFER: usize = 256 << 10;

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
            Self::Api(error) => write!(f, "{}", text_of(error)),
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
}

impl Exec {
    /// One that says that it is alive when it has nothing else to say (`jb_artifacts::alive`) is given up after being
    /// silent for `silence_max`; of one that does not, nothing can be told.
    pub(crate) async fn start(
        pods: &Api<Pod>,
        pod: &str,
        container: &str,
        command: Vec<String>,
        silence_max: Option<Duration>,
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
        let started = tokio::time::timeout(PATIENCE, pods.exec(pod, command, &params)).await;
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
        let stdout = Output::new((stdout, stderr), status, process, silence_max);
        Ok(Self { stdin, stdout })
    }

    /// Waits for its end, once its output was read.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        match self.stdout.end().await {
            Ok((Some(status), said)) => judge(&status, said),
            Ok((None, _)) => Err(Failure::Lost(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(Failure::Lost(error)),
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
    let mut exec = Exec::start(pods, pod, container, command, None).await?;
    let mut announcement = [!ANNOUNCEMENT];
    let read = tokio::time::timeout(PATIENCE, exec.stdout.read(&mut announcement)).await;
    let lost = |kind: io::ErrorKind| Failure::Lost(kind.into());
    match read {
        Ok(Ok(1)) if announcement == [ANNOUNCEMENT] => {
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
