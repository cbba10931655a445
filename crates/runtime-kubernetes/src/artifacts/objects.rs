//! Volumes as objects. What has to be unpacked goes through the pod, which has no way out and no key: the server hands
//! it the object and takes back what it became.

use std::io;
use std::sync::Arc;

use jb_artifacts::Kind;
use jb_artifacts::command::Command;
use jb_model::VolumeHandle;
use jb_object_store::ObjectStore;
use jb_runtime::{ByteStream, Error, Result};
use tokio::io::AsyncReadExt as _;

use super::{ANSWER_BYTES_MAX, ATTEMPTS, Artifacts, Known, describe};
use crate::exec::Exec;
use crate::pod;

/// An error of the store in the words of the port.
pub(crate) fn failed(error: jb_object_store::Error) -> Error {
    let jb_object_store::Error { kind, attempt: context, why } = error;
    let source = io::Error::other(why);
    match kind {
        jb_object_store::Kind::Passing => Error::Transient { context, source },
        _ => Error::Io { context, source },
    }
}

/// The name of the object that a worker's volume is.
pub(crate) fn object(worker: &str, volume: &str, kind: Kind) -> Result<String> {
    let file = jb_artifacts::file_name(volume, kind).ok_or_else(|| {
        let source = io::ErrorKind::InvalidFilename.into();
        Error::io(format!("cannot use volume `{volume}`"), source)
    })?;
    Ok(format!("{}{file}", directory(worker)))
}

/// Workers share buckets.
fn directory(worker: &str) -> String {
    format!("{worker}/volumes/")
}

impl Artifacts {
    /// Where volumes are objects: their store.
    pub(crate) fn store(&self) -> Option<&Arc<ObjectStore>> {
        self.store.as_ref()
    }

    pub(crate) fn object(&self, volume: &str, kind: Kind) -> Result<String> {
        object(&self.settings.worker_name, volume, kind)
    }

    pub(super) async fn find_object(
        &self,
        store: &ObjectStore,
        volume: &VolumeHandle,
    ) -> Result<Option<Known>> {
        let archive = self.object(volume.as_str(), Kind::Archive)?;
        let found = if store.has(&archive).await.map_err(failed)? {
            Known::Archive
        } else {
            let image = self.object(volume.as_str(), Kind::Image)?;
            match store.read_small(&image).await.map_err(failed)? {
                Some(json) => Known::Image(Arc::new(json)),
                None if self.has_files() => return self.find_file(volume).await,
                None => return Ok(None),
            }
        };
        self.remember(volume.as_str(), found.clone());
        Ok(Some(found))
    }

    pub(super) async fn list_objects(&self, store: &ObjectStore) -> Result<Vec<String>> {
        let directory = directory(&self.settings.worker_name);
        let names = store.list(&directory).await.map_err(failed)?;
        let handles = names.iter().filter_map(|name| name.strip_prefix(&directory));
        Ok(handles.filter_map(jb_artifacts::handle_of_file).collect())
    }

    pub(super) async fn create_object(
        &self,
        store: &ObjectStore,
        volume: &VolumeHandle,
    ) -> Result<()> {
        if self.find(volume).await?.is_some() {
            return Ok(());
        }
        let empty = jb_artifacts::empty_archive();
        let empty =
            empty.map_err(|error| Error::io(format!("cannot create volume `{volume}`"), error))?;
        let name = self.object(volume.as_str(), Kind::Archive)?;
        store.write(&name, empty).await.map_err(failed)?;
        self.remember(volume.as_str(), Known::Archive);
        Ok(())
    }

    /// Returns whether there was such an object.
    pub(super) async fn remove_object(
        &self,
        store: &ObjectStore,
        volume: &VolumeHandle,
    ) -> Result<bool> {
        let archive = self.object(volume.as_str(), Kind::Archive)?;
        let was_there = store.has(&archive).await.map_err(failed)?;
        for kind in [Kind::Archive, Kind::Image] {
            store.delete(&self.object(volume.as_str(), kind)?).await.map_err(failed)?;
        }
        Ok(was_there)
    }

    /// An object's content; none when there is no such object.
    async fn read_object(
        &self,
        store: &ObjectStore,
        volume: &VolumeHandle,
    ) -> Result<Option<ByteStream>> {
        let name = self.object(volume.as_str(), Kind::Archive)?;
        let content = store.read(&name).await.map_err(failed)?;
        if content.is_none() {
            self.known().remove(volume.as_str());
        }
        Ok(content.map(|content| Box::new(content) as ByteStream))
    }

    /// A command on an object's content, or on the cache of the name.
    async fn stream_of_object(
        &self,
        store: &ObjectStore,
        volume: &VolumeHandle,
        command: Command,
    ) -> Result<ByteStream> {
        match self.read_object(store, volume).await? {
            Some(archive) => self.stream(&Command::Piped(Box::new(command)), vec![archive]).await,
            None if self.has_files() => self.stream(&command, Vec::new()).await,
            None => Err(Error::NoVolume(volume.clone())),
        }
    }

    pub(super) async fn archive_object(
        &self,
        store: &ObjectStore,
        volume: &VolumeHandle,
        command: Command,
    ) -> Result<ByteStream> {
        self.stream_of_object(store, volume, command).await
    }

    /// The whole answer of a command that changes nothing; asked again when a connection breaks.
    pub(super) async fn ask_of_object(
        &self,
        store: &ObjectStore,
        volume: &VolumeHandle,
        command: Command,
    ) -> Result<Vec<u8>> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let answered = async {
                let stream = self.stream_of_object(store, volume, command.clone()).await?;
                let mut answer = Vec::new();
                let read = stream.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut answer).await;
                let context = || format!("cannot {}", describe(&command));
                read.map_err(|error| Error::io(context(), error))?;
                Ok(answer)
            };
            match answered.await {
                Err(Error::Transient { .. }) if attempt < ATTEMPTS => {}
                result => return result,
            }
        }
    }

    pub(super) async fn add_to_object(
        &self,
        store: &ObjectStore,
        volume: &VolumeHandle,
        command: Command,
        tar: ByteStream,
    ) -> Result<()> {
        let context = format!("cannot {}", describe(&command));
        let archive = self.read_object(store, volume).await?;
        let archive = archive.ok_or_else(|| Error::NoVolume(volume.clone()))?;
        let changed = self.stream(&Command::Piped(Box::new(command)), vec![archive, tar]).await?;
        let name = self.object(volume.as_str(), Kind::Archive)?;
        let written = store.write_stream(&name, changed).await;
        written.map_err(|error| Error::io(context, error))?.map_err(failed)
    }

    /// Gives a volume to a command in a step's pod.
    pub(crate) async fn hand_over(
        &self,
        pod: &str,
        container: &str,
        volume: &VolumeHandle,
        command: &Command,
    ) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let archive = self.read_object(store, volume).await?;
        let archive = archive.ok_or_else(|| Error::NoVolume(volume.clone()))?;
        let exec = self.start_in(pod, container, command).await?;
        let mut end = self.answer_of(exec, command, vec![archive]).await?;
        let read = tokio::io::copy(&mut end, &mut tokio::io::sink()).await;
        let context = || format!("cannot {}", describe(command));
        // What was extracted in part is extracted over.
        read.map(drop).map_err(|source| Error::Transient { context: context(), source })
    }

    /// Makes a volume of what a command in a step's pod sends.
    pub(crate) async fn take_in(
        &self,
        pod: &str,
        container: &str,
        volume: &VolumeHandle,
        command: &Command,
    ) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let name = self.object(volume.as_str(), Kind::Archive)?;
        let exec = self.start_in(pod, container, command).await?;
        let archive = self.answer_of(exec, command, Vec::new()).await?;
        let context = format!("cannot store volume `{volume}`");
        let written = store.write_stream(&name, archive).await;
        written.map_err(|source| Error::Transient { context, source })?.map_err(failed)
    }

    async fn start_in(&self, pod: &str, container: &str, command: &Command) -> Result<Exec> {
        let _turn = self.turns.acquire().await;
        let started = self.exec(pod, container, &pod::program("jb-artifacts"), command).await;
        started.map_err(|failure| self.explain(command, Some(failure)))
    }
}
