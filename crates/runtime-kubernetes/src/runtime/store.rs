//! Publishing what a container wrote where volumes are objects: its helper is told where each part goes, and the server
//! says when the parts are an object.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use jb_artifacts::Kind;
use jb_artifacts::command::Command;
use jb_artifacts::exchange::{self, LINE_BYTES_MAX, Place, Said, Store, Upload};
use jb_model::event::LogSource;
use jb_model::{ContainerHandle, VolumeHandle};
use jb_object_store::ObjectStore;
use jb_runtime::client::{Output, ProcessSpec, RunnerClient, StartError, Stdin};
use jb_runtime::{Error, Result};
use k8s_openapi::api::core::v1::Pod;

use super::settle::{SAID_BYTES_MAX, judge};
use super::{Inner, prepare};
use crate::artifacts::failed;
use crate::pod::{self, HELPER, Published};
use crate::waits::Waits;

/// The process that stores, in the `artifact-helper`.
const PROCESS: &str = "store";
/// How long an address for a part is good.
const PART_LIFE: Duration = Duration::from_secs(60 * 60);
/// How often it is attached to again when the stream breaks.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Uploads that were begun and are no objects yet, by volume: here, or by a server before, as the helper tells.
type Begun = BTreeMap<String, Vec<String>>;

impl Inner {
    pub(super) async fn store_outputs(
        &self,
        handle: &ContainerHandle,
        pod: &Pod,
        outputs: &[Published],
        store: &ObjectStore,
    ) -> Result<()> {
        let mut begun = Begun::new();
        let mut attempt = 0;
        let result = loop {
            attempt += 1;
            let stored = if prepare::is_hermetic(pod) {
                self.take_outputs(pod, outputs).await
            } else {
                self.have_stored(handle, outputs, store, &mut begun).await
            };
            match stored {
                Err(Error::Transient { context, source }) if attempt < ATTEMPTS => {
                    tracing::debug!(%handle, context, %source, "storing is taken up again");
                    tokio::time::sleep(PAUSE).await;
                }
                result => break result,
            }
        };
        for (volume, uploads) in begun {
            let name = self.artifacts.object(&volume, Kind::Archive)?;
            for upload in uploads {
                if let Err(error) = store.abandon_upload(&name, &upload).await {
                    tracing::warn!(%error, "parts that belong to no object stay in the store");
                }
            }
        }
        result
    }

    /// Takes the volumes from a pod that reaches no store.
    async fn take_outputs(&self, pod: &Pod, outputs: &[Published]) -> Result<()> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        for Published { volume, path } in outputs {
            let volume = VolumeHandle::new(volume.as_str());
            let send = Command::Send { source: path.clone() };
            self.artifacts.take_in(&name, HELPER, &volume, &send).await?;
        }
        Ok(())
    }

    /// Runs the helper's one process. Asking again finds it running or ended, and hears all it said once more.
    async fn have_stored(
        &self,
        handle: &ContainerHandle,
        outputs: &[Published],
        store: &ObjectStore,
        begun: &mut Begun,
    ) -> Result<()> {
        let context = || format!("cannot keep the outputs of container `{handle}`");
        let lost = || {
            let source = io::ErrorKind::ConnectionAborted.into();
            Error::Transient { context: context(), source }
        };
        let stream = self.reach(handle, HELPER, &Waits::unwatched()).await;
        let stream = stream.map_err(|error| self.explained(handle, error))?;
        let client = RunnerClient::handshake(stream).await?;
        let spec = ProcessSpec {
            path: pod::program("jb-artifacts"),
            args: Command::Store.to_args(),
            dir: "/".to_owned(),
            stdin: Stdin::Open,
            ..ProcessSpec::default()
        };
        match client.start(PROCESS, spec).await {
            Ok(_) => {}
            Err(StartError::Lost) => return Err(lost()),
            Err(error) => return Err(Error::io(context(), io::Error::other(error.to_string()))),
        }
        let volumes = outputs.iter().map(|output| (output.volume.clone(), output.path.clone()));
        let trust = store.trust().map(str::to_owned);
        // Whoever started the process may have died before this; said twice it is passed over.
        let first = exchange::line(&Store { volumes: volumes.collect(), trust });
        client.stdin(PROCESS, first).await?;
        let mut attached = client.attach(PROCESS, 0).await?;
        let (mut lines, mut said) = (Vec::new(), Vec::new());
        while let Some(output) = attached.next().await {
            match output {
                Output::Data { stream: LogSource::Stderr, bytes, .. } => {
                    let room = SAID_BYTES_MAX - said.len();
                    said.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Output::Data { bytes, .. } => {
                    lines.extend_from_slice(&bytes);
                    while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = lines.drain(..=end).collect();
                        self.answer(&line, outputs, store, &client, begun).await?;
                    }
                    if lines.len() > LINE_BYTES_MAX {
                        let text = "the helper says more than it may";
                        return Err(Error::io(context(), io::Error::other(text)));
                    }
                }
                Output::Exited { status, .. } => {
                    return judge(status, &said, context);
                }
            }
        }
        Err(lost())
    }

    async fn answer(
        &self,
        line: &[u8],
        outputs: &[Published],
        store: &ObjectStore,
        client: &RunnerClient,
        begun: &mut Begun,
    ) -> Result<()> {
        let said: Said = serde_json::from_slice(line)
            .map_err(|_| Error::Protocol("the helper says what is not understood".to_owned()))?;
        let (Said::Want { volume, .. } | Said::Stored { volume, .. }) = &said;
        // It may write what its step may write, and nothing else.
        if !outputs.iter().any(|output| output.volume == *volume) {
            return Err(Error::Protocol(format!("the helper wants to write volume `{volume}`")));
        }
        let name = self.artifacts.object(volume, Kind::Archive)?;
        let place = match said {
            Said::Want { volume, part: 0, .. } => {
                let url = store.write_url(&name, PART_LIFE);
                Place { volume, part: 0, upload: None, url }
            }
            Said::Want { volume, part, upload } => {
                let upload = match upload {
                    Some(upload) => upload,
                    None => store.begin_upload(&name).await.map_err(failed)?,
                };
                let known = begun.entry(volume.clone()).or_default();
                if !known.contains(&upload) {
                    known.push(upload.clone());
                }
                let url = store.part_url(&name, &upload, part, PART_LIFE);
                Place { volume, part, upload: Some(upload), url }
            }
            Said::Stored { upload: None, .. } => return Ok(()),
            Said::Stored { volume, upload: Some(Upload { id, tags }) } => {
                store.finish_upload(&name, &id, &tags).await.map_err(failed)?;
                if let Some(begun) = begun.get_mut(&volume) {
                    begun.retain(|upload| *upload != id);
                }
                return Ok(());
            }
        };
        client.stdin(PROCESS, exchange::line(&place)).await
    }
}
