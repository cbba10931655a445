//! Giving a step its inputs where they are objects: its pod has no claim to find them in.

use jb_artifacts::Kind;
use jb_artifacts::command::Command;
use jb_artifacts::exchange::{self, Fetch, Fetched, Origin};
use jb_model::{ContainerHandle, VolumeHandle};
use jb_object_store::ObjectStore;
use jb_runtime::client::{ProcessSpec, RunnerClient, Stdin};
use jb_runtime::{Error, Result};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::Inner;
use super::attempts::Attempts;
use super::settle::run;
use crate::artifacts::Known;
use crate::pod::{self, PREPARE, Wanted};
use crate::{names, network};

/// The process that fetches.
const PROCESS: &str = "fetch";

/// How far giving a pod its inputs has come.
#[derive(Default)]
pub(super) struct Preparing {
    is_done: bool,
    attempts: Attempts,
}

impl Preparing {
    /// When to look again, as [`Attempts::next`].
    pub(super) fn next(&self, now: Instant) -> Instant {
        if self.is_done { Attempts::default().next(now) } else { self.attempts.next(now) }
    }
}

/// The volumes that a pod waits for.
pub(super) fn wanted(pod: &Pod) -> Vec<Wanted> {
    let annotations = pod.metadata.annotations.as_ref();
    let inputs = annotations.and_then(|annotations| annotations.get(names::INPUTS));
    inputs.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

/// Whether a pod reaches no store: nothing at all, or an agent's gateway alone.
pub(super) fn is_hermetic(pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(names::NETWORK))
        .is_some_and(|kind| !network::reaches_world(kind))
}

impl Inner {
    /// [`Self::give_inputs`], once and when it is time, if the pod waits for any.
    pub(super) async fn bring_inputs(
        &self,
        handle: &ContainerHandle,
        pod: &Pod,
        preparing: &mut Preparing,
    ) -> Result<()> {
        let Some(store) = self.artifacts.store() else { return Ok(()) };
        let has_started = self.starts.of(pod, PREPARE);
        if preparing.is_done
            || wanted(pod).is_empty()
            || !preparing.attempts.is_due(has_started, Instant::now())
        {
            return Ok(());
        }
        preparing.is_done = self.give_inputs(handle, pod, store).await?;
        preparing.attempts.failed(Instant::now());
        Ok(())
    }

    /// Has a pod's inputs put in place and lets it begin. False when its first container cannot be reached: it is not
    /// there yet, or was done before.
    async fn give_inputs(
        &self,
        handle: &ContainerHandle,
        pod: &Pod,
        store: &ObjectStore,
    ) -> Result<bool> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let stream = match self.attempt(pod, PREPARE).await {
            Ok(stream) => stream,
            Err(failure) => {
                tracing::trace!(%handle, %failure, "inputs cannot be put in place yet");
                return Ok(false);
            }
        };
        let done = async {
            let client = RunnerClient::handshake(stream).await?;
            let mut fetched = wanted(pod);
            if is_hermetic(pod) {
                fetched = self.hand_over(&name, fetched).await?;
            }
            if !fetched.is_empty() {
                self.have_fetched(handle, &client, &fetched, store).await?;
            }
            client.shutdown().await
        };
        match done.await {
            Ok(()) => Ok(true),
            Err(Error::Transient { context, source }) => {
                tracing::debug!(%handle, context, %source, "putting inputs in place is taken up again");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Runs the process that fetches the volumes by itself. Asking again finds it running or ended.
    async fn have_fetched(
        &self,
        handle: &ContainerHandle,
        client: &RunnerClient,
        wanted: &[Wanted],
        store: &ObjectStore,
    ) -> Result<()> {
        let context = || format!("cannot put the inputs of container `{handle}` in place");
        let mut fetch = Fetch { trust: store.trust().map(str::to_owned), ..Fetch::default() };
        for Wanted { volume, path, is_file } in wanted {
            let origin = match self.artifacts.find(&VolumeHandle::new(volume.as_str())).await? {
                Some(Known::Image(json)) => {
                    Origin::Image(String::from_utf8_lossy(&json).into_owned())
                }
                Some(Known::Archive) => {
                    let object = self.artifacts.object(volume, Kind::Archive)?;
                    // A pod that does not start by then is given up.
                    Origin::Url(store.read_url(&object, self.settings.start_timeout))
                }
                None => return Err(Error::NoVolume(VolumeHandle::new(volume.as_str()))),
            };
            let fetched = Fetched { volume: volume.clone(), target: path.clone(), origin };
            if *is_file { fetch.files.push(fetched) } else { fetch.volumes.push(fetched) }
        }
        let spec = ProcessSpec {
            path: pod::program("jb-artifacts"),
            args: Command::Fetch.to_args(),
            dir: "/".to_owned(),
            stdin: Stdin::Data(exchange::line(&fetch)),
            ..ProcessSpec::default()
        };
        run(client, PROCESS, spec, context).await
    }

    /// Hands volumes to a pod that reaches no store; returns those for which it need not.
    async fn hand_over(&self, pod: &str, wanted: Vec<Wanted>) -> Result<Vec<Wanted>> {
        let mut images = Vec::new();
        for wanted in wanted {
            let volume = VolumeHandle::new(wanted.volume.as_str());
            if let Some(Known::Image(_)) = self.artifacts.find(&volume).await? {
                images.push(wanted);
                continue;
            }
            let command = Command::Receive {
                volume: wanted.volume,
                target: wanted.path,
                is_file: wanted.is_file,
            };
            self.artifacts.hand_over(pod, PREPARE, &volume, &command).await?;
        }
        Ok(images)
    }
}
