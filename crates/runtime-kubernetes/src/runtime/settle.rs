//! Publishing what a container wrote.

use std::io;
use std::time::Duration;

use jb_artifacts::command::{Command, NO_VOLUME};
use jb_model::{ContainerHandle, VolumeHandle};
use jb_runtime::client::{Output, ProcessSpec, RunnerClient, StartError};
use jb_runtime::{Error, Result};

use super::{Inner, published};
use crate::artifacts::Known;
use crate::pod::{self, HELPER};
use crate::waits::Waits;

/// The process that publishes, in the `artifact-helper`.
const PROCESS: &str = "publish";
/// How often it is attached to again when the stream breaks.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);
/// What is kept of what it says.
pub(super) const SAID_BYTES_MAX: usize = 16 << 10;

impl Inner {
    /// Runs the helper's one process. Asking again finds it running or ended.
    pub(super) async fn settle(&self, handle: &ContainerHandle) -> Result<()> {
        // Checks have no outputs, and their handles no pods to be asked for.
        if self.checks.find(handle).is_some() {
            return Ok(());
        }
        let pod = match self.pod_of(handle).await {
            Ok(pod) => pod,
            // Nothing is lost of a container that never was.
            Err(Error::NoContainer(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let outputs = published(&pod);
        if outputs.is_empty() {
            return Ok(());
        }
        if let Some(store) = self.artifacts.store() {
            self.store_outputs(handle, &pod, &outputs, store).await?;
            for output in outputs {
                self.artifacts.remember(&output.volume, Known::Archive);
            }
            return Ok(());
        }
        // The first step of a new installation may be done before it.
        self.artifacts.make().await?;
        let volumes =
            outputs.iter().map(|output| (output.volume.clone(), output.path.clone())).collect();
        let spec = ProcessSpec {
            path: pod::program("jb-artifacts"),
            args: Command::Publish { volumes }.to_args(),
            dir: "/".to_owned(),
            ..ProcessSpec::default()
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.publish(handle, spec.clone()).await {
                Err(Error::Transient { context, source }) if attempt < ATTEMPTS => {
                    tracing::debug!(%handle, context, %source, "publishing is taken up again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        for output in outputs {
            self.artifacts.remember(&output.volume, Known::Archive);
        }
        Ok(())
    }

    async fn publish(&self, handle: &ContainerHandle, spec: ProcessSpec) -> Result<()> {
        let context = || format!("cannot keep the outputs of container `{handle}`");
        let stream = self.reach(handle, HELPER, &Waits::unwatched()).await;
        let stream = stream.map_err(|error| self.explained(handle, error))?;
        let client = RunnerClient::handshake(stream).await?;
        run(&client, PROCESS, spec, context).await
    }
}

/// Runs a process of ours in a pod to its end, or finds it; what it says is why it failed.
pub(super) async fn run(
    client: &RunnerClient,
    id: &str,
    spec: ProcessSpec,
    context: impl Fn() -> String + Copy,
) -> Result<()> {
    let lost = || {
        let source = io::ErrorKind::ConnectionAborted.into();
        Error::Transient { context: context(), source }
    };
    match client.start(id, spec).await {
        Ok(_) => {}
        Err(StartError::Lost) => return Err(lost()),
        Err(error) => return Err(Error::io(context(), io::Error::other(error.to_string()))),
    }
    let mut attached = client.attach(id, 0).await?;
    let mut said = Vec::new();
    while let Some(output) = attached.next().await {
        match output {
            Output::Data { bytes, .. } => {
                let room = SAID_BYTES_MAX - said.len();
                said.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Output::Exited { status, .. } => {
                return judge(status, &said, context);
            }
        }
    }
    Err(lost())
}

/// What the end of a process of ours means.
pub(super) fn judge(status: i32, said: &[u8], context: impl Fn() -> String) -> Result<()> {
    let said = String::from_utf8_lossy(said).trim().to_owned();
    match status {
        0 => Ok(()),
        status if status == i32::from(NO_VOLUME) => {
            let volume = said.split('`').nth(1).unwrap_or_default();
            Err(Error::NoVolume(VolumeHandle::new(volume)))
        }
        status if said.is_empty() => {
            let said = format!("the helper ended with status {status}");
            Err(Error::io(context(), io::Error::other(said)))
        }
        _ => Err(Error::io(context(), io::Error::other(said))),
    }
}
