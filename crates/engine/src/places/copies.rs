//! Volumes that a step needs in a place where they are not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jb_model::VolumeHandle;
use jb_runtime::{ByteStream, ContainerSpec, Error, Image, MountSource};
use jb_store::NewVolume;
use tokio::io::{AsyncRead, ReadBuf};

use super::Place;
use crate::build::BuildContext;
use crate::leaf::Trouble;

/// Copies under way: steps that want the same wait for it.
#[derive(Default)]
pub(crate) struct Copying(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Copying {
    fn turn(&self, copy: &VolumeHandle) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(copy.to_string()).or_default().clone()
    }
}

impl BuildContext {
    /// A container's spec with volumes that are where it will be.
    pub(crate) async fn bring_volumes(
        &self,
        place: &Place,
        mut spec: ContainerSpec,
    ) -> Result<ContainerSpec, Trouble> {
        if self.engine.places.only().is_some() {
            return Ok(spec);
        }
        if let Image::Volume(volume) = &mut spec.image {
            *volume = self.bring(place, volume).await?;
        }
        for mount in &mut spec.mounts {
            if let MountSource::Input { volume, .. } = &mut mount.source {
                *volume = self.bring(place, volume).await?;
            }
        }
        Ok(spec)
    }

    /// The volume itself if it is there already, else a copy.
    async fn bring(&self, place: &Place, volume: &VolumeHandle) -> Result<VolumeHandle, Trouble> {
        let store = &self.engine.store;
        let row = store.volume(volume).await?;
        let row = row.ok_or_else(|| Error::NoVolume(volume.clone()))?.volume;
        if row.worker == place.name() {
            return Ok(volume.clone());
        }
        let copy = VolumeHandle::new(format!("{volume}.{}", place.name()));
        let turn = self.engine.copying.turn(&copy);
        let _turn = turn.lock().await;
        let known = store.volume(&copy).await?;
        if known.is_some_and(|known| known.size_bytes.is_some()) {
            store.touch_volume(&copy, self.now()).await?;
            return Ok(copy);
        }
        // Its row comes first, so that what is left of a copy that was cut short is collected; its size last, which
        // says that it is whole.
        let new = NewVolume {
            handle: copy.clone(),
            worker: place.name().to_owned(),
            build: Some(self.build.id),
            container: None,
            parent: Some(volume.clone()),
            ..row
        };
        store.create_volume(&new, self.now()).await?;
        let bytes = self.copy(place, volume, &copy).await?;
        store.set_volume_size(&copy, bytes).await?;
        Ok(copy)
    }

    async fn copy(
        &self,
        place: &Place,
        volume: &VolumeHandle,
        copy: &VolumeHandle,
    ) -> Result<u64, Trouble> {
        let from = self.engine.place_of_volume(volume).await?;
        if let Some(pointer) = from.runtime.pointer(volume).await? {
            if place.runtime.adopt(copy, &pointer).await? {
                return Ok(pointer.len() as u64);
            }
            return Err(Trouble::new(format!(
                "the image in volume `{volume}` of worker `{}` is no use to worker `{}`",
                from.name(),
                place.name()
            )));
        }
        place.runtime.create_volume(copy).await?;
        let content = from.runtime.stream_out(volume, ".").await?;
        let n_bytes = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = Counted { content, n_bytes: n_bytes.clone() };
        place.runtime.stream_in(copy, ".", Box::new(counted)).await?;
        Ok(n_bytes.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// Counts what is read.
struct Counted {
    content: ByteStream,
    n_bytes: Arc<std::sync::atomic::AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = std::pin::Pin::new(&mut self.content).poll_read(context, buffer);
        let n = buffer.filled().len() - before;
        self.n_bytes.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
        read
    }
}
