//! Runners reached by their ports: the node joins a stream to one without a process in its pod.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use jb_runner_protocol::ANNOUNCEMENT;
use jb_runtime::RunnerStream;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::Portforwarder;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf,
};
use tokio::time::timeout;

use crate::exec::{Failure, PATIENCE};
use crate::keys::Key;

/// Connects to the runner that listens on a pod's port for whoever has the key; returns when it has let us in.
pub(crate) async fn connect(
    pods: &Api<Pod>,
    pod: &str,
    port: u16,
    key: &Key,
    silence_max: Duration,
) -> Result<RunnerPort, Failure> {
    let lost = |kind: io::ErrorKind| Failure::Lost(kind.into());
    let mut forwarder = match timeout(PATIENCE, pods.portforward(pod, &[port])).await {
        Ok(asked) => asked.map_err(Failure::Api)?,
        Err(_) => return Err(lost(io::ErrorKind::TimedOut)),
    };
    let (Some(stream), Some(refusal)) = (forwarder.take_stream(port), forwarder.take_error(port))
    else {
        return Err(lost(io::ErrorKind::NotConnected));
    };
    let mut runner = RunnerPort { stream, forwarder, silence_max };
    let mut announcement = [!ANNOUNCEMENT];
    let said = async {
        runner.stream.write_all(key).await?;
        runner.stream.read(&mut announcement).await
    };
    match timeout(PATIENCE, said).await {
        Ok(Ok(1)) if announcement == [ANNOUNCEMENT] => Ok(runner),
        // Why nobody listens is told before the end.
        Ok(Ok(0)) => Err(match refusal.now_or_never().flatten() {
            Some(why) => Failure::NotRun(why),
            None => lost(io::ErrorKind::UnexpectedEof),
        }),
        Ok(Ok(_)) => Err(lost(io::ErrorKind::InvalidData)),
        Ok(Err(error)) => Err(Failure::Lost(error)),
        Err(_) => Err(lost(io::ErrorKind::TimedOut)),
    }
}

/// A stream to a runner.
pub(crate) struct RunnerPort {
    stream: DuplexStream,
    forwarder: Portforwarder,
    silence_max: Duration,
}

impl Drop for RunnerPort {
    /// The connection ends with it, also one whose other side does not answer any more.
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

impl RunnerStream for RunnerPort {
    fn silence_max(&self) -> Option<Duration> {
        Some(self.silence_max)
    }
}

impl AsyncRead for RunnerPort {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for RunnerPort {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
