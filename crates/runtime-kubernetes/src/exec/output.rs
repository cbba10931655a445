//! What an executed command says, and how it ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use jb_artifacts::alive::ALIVE;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachedProcess;
use tokio::io::{AsyncRead, ReadBuf, ReadHalf, SimplexStream};
use tokio::time::{Instant, Sleep, sleep};

/// What is kept of a command's stderr.
const STDERR_BYTES_MAX: usize = 16 << 10;

type Pipe = ReadHalf<SimplexStream>;

/// A command's stdout. The end of the connection is its end, too, which the pipe alone does not tell; so is silence where
/// there is a bound on it.
pub(crate) struct Output {
    stdout: Pipe,
    stderr: Pipe,
    /// The beginning of stderr.
    said: Vec<u8>,
    ending: Ending,
    silence: Option<Silence>,
    /// The connection ends with this.
    _process: Option<AttachedProcess>,
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

/// Ends when nothing was heard for a while.
struct Silence {
    max: Duration,
    over: Pin<Box<Sleep>>,
}

impl Output {
    pub(super) fn new(
        (stdout, stderr): (Pipe, Pipe),
        status: impl Future<Output = Option<Status>> + Send + 'static,
        process: impl Into<Option<AttachedProcess>>,
        silence_max: Option<Duration>,
    ) -> Self {
        let silence = silence_max.map(|max| Silence { max, over: Box::pin(sleep(max)) });
        let (said, ending) = (Vec::new(), Ending::Awaited(Box::pin(status)));
        Self { stdout, stderr, said, ending, silence, _process: process.into() }
    }

    /// How the command ended, unless the connection broke before, and the beginning of what it said on stderr.
    pub(super) async fn end(&mut self) -> io::Result<(Option<Box<Status>>, String)> {
        let status = std::future::poll_fn(|context| self.poll_end(context)).await?;
        Ok((status, String::from_utf8_lossy(&self.said).into_owned()))
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Box<Status>>>> {
        let ended = self.ending.poll(context);
        // What came before the end is there by now.
        self.hear(context);
        if let Poll::Ready(status) = ended {
            return Poll::Ready(Ok(status));
        }
        let Some(silence) = &mut self.silence else { return Poll::Pending };
        ready!(silence.over.as_mut().poll(context));
        let text = format!("not a word in {} seconds", silence.max.as_secs_f32());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }

    /// Takes what is there of stderr.
    fn hear(&mut self, context: &mut Context<'_>) {
        let mut bytes = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stderr).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                _ => return,
            }
            let words = buffer.filled().iter().filter(|byte| **byte != ALIVE);
            let room = STDERR_BYTES_MAX - self.said.len();
            self.said.extend(words.take(room));
            self.heard();
        }
    }

    fn heard(&mut self) {
        if let Some(silence) = &mut self.silence {
            silence.over.as_mut().reset(Instant::now() + silence.max);
        }
    }
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stdout).poll_read(context, buffer) {
            self.heard();
            return Poll::Ready(read);
        }
        ready!(self.poll_end(context))?;
        // Whatever came before the end is there by now.
        match Pin::new(&mut self.stdout).poll_read(context, buffer) {
            Poll::Pending => Poll::Ready(Ok(())),
            ready => ready,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf, simplex};

    use super::*;

    const BOUND: Duration = Duration::from_secs(1);

    /// A command of which nothing is known but what is written here.
    fn command(silence_max: Option<Duration>) -> (Output, [WriteHalf<SimplexStream>; 2]) {
        let (stdout, to_stdout) = simplex(64);
        let (stderr, to_stderr) = simplex(64);
        let output = Output::new((stdout, stderr), std::future::pending(), None, silence_max);
        (output, [to_stdout, to_stderr])
    }

    #[tokio::test]
    async fn a_command_that_is_silent_for_too_long_is_given_up() {
        let (mut output, _pipes) = command(Some(BOUND));
        let error = output.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.to_string(), "not a word in 1 seconds");
        assert_eq!(output.end().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_command_that_says_that_it_is_alive_is_waited_for() {
        let (mut output, [mut stdout, mut stderr]) = command(Some(BOUND));
        let begun = Instant::now();
        let speaking = async {
            while begun.elapsed() < 2 * BOUND {
                stderr.write_all(&[ALIVE]).await.unwrap();
                sleep(BOUND / 20).await;
            }
            stderr.write_all(b"why").await.unwrap();
            stdout.write_all(b"x").await.unwrap();
        };
        let mut read = [0];
        let (n_read, ()) = tokio::join!(output.read(&mut read), speaking);
        assert_eq!((n_read.unwrap(), read), (1, *b"x"));
        assert!(output.read(&mut read).await.is_err());
        assert_eq!(output.said, b"why");
    }
}
