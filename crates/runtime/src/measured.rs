//! A runtime whose every operation is counted and timed.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use jb_metrics::Operations;
use jb_model::{BuildId, ContainerHandle, VolumeHandle};
use tokio::sync::{mpsc, watch};

use crate::{
    BaseType, ByteStream, ContainerInfo, ContainerSpec, ImageFetch, ImageRequest, PodInfo, Result,
    RunnerStream, Runtime,
};

/// Passes everything on to another runtime: what the port has a default for, too, which is not the other's way of doing it.
pub struct Measured {
    runtime: Arc<dyn Runtime>,
    operations: Operations,
}

#[derive(Clone, Copy)]
enum What {
    Container,
    Volume,
}

impl Measured {
    pub fn new(runtime: Arc<dyn Runtime>, operations: Operations) -> Self {
        Self { runtime, operations }
    }

    async fn timed<T>(
        &self,
        what: What,
        operation: &str,
        asked: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let begin = Instant::now();
        let result = asked.await;
        let (worker, took) = (self.runtime.worker_name(), begin.elapsed());
        match what {
            What::Container => self.operations.container(worker, operation, result.is_ok(), took),
            What::Volume => self.operations.volume(worker, operation, result.is_ok(), took),
        }
        result
    }
}

#[async_trait]
impl Runtime for Measured {
    fn worker_name(&self) -> &str {
        self.runtime.worker_name()
    }

    fn base_types(&self) -> Vec<BaseType> {
        self.runtime.base_types()
    }

    fn runs_agents(&self) -> bool {
        self.runtime.runs_agents()
    }

    fn off_limits(&self) -> &[String] {
        self.runtime.off_limits()
    }

    async fn taken_away(&self, handle: &ContainerHandle) -> Option<String> {
        self.runtime.taken_away(handle).await
    }

    fn keeps_to_its_name(&self) -> bool {
        self.runtime.keeps_to_its_name()
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        self.timed(What::Container, "create", self.runtime.create(spec)).await
    }

    async fn create_watched(
        &self,
        spec: &ContainerSpec,
        waits: mpsc::Sender<String>,
    ) -> Result<()> {
        self.timed(What::Container, "create", self.runtime.create_watched(spec, waits)).await
    }

    async fn connect(&self, handle: &ContainerHandle) -> Result<Box<dyn RunnerStream>> {
        self.timed(What::Container, "connect", self.runtime.connect(handle)).await
    }

    async fn connect_watched(
        &self,
        handle: &ContainerHandle,
        waits: mpsc::Sender<String>,
    ) -> Result<Box<dyn RunnerStream>> {
        let connecting = self.runtime.connect_watched(handle, waits);
        self.timed(What::Container, "connect", connecting).await
    }

    async fn settle(&self, handle: &ContainerHandle) -> Result<()> {
        self.timed(What::Container, "settle", self.runtime.settle(handle)).await
    }

    async fn leisure(&self) {
        self.runtime.leisure().await;
    }

    async fn destroy(&self, handle: &ContainerHandle) -> Result<()> {
        self.timed(What::Container, "destroy", self.runtime.destroy(handle)).await
    }

    async fn list(&self) -> Result<Vec<ContainerInfo>> {
        self.timed(What::Container, "list", self.runtime.list()).await
    }

    async fn create_volume(&self, volume: &VolumeHandle) -> Result<()> {
        self.timed(What::Volume, "create", self.runtime.create_volume(volume)).await
    }

    async fn stream_in(&self, volume: &VolumeHandle, path: &str, tar: ByteStream) -> Result<()> {
        self.timed(What::Volume, "stream_in", self.runtime.stream_in(volume, path, tar)).await
    }

    /// The time until the stream begins.
    async fn stream_out(&self, volume: &VolumeHandle, path: &str) -> Result<ByteStream> {
        self.timed(What::Volume, "stream_out", self.runtime.stream_out(volume, path)).await
    }

    async fn read_file(
        &self,
        volume: &VolumeHandle,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>> {
        self.timed(What::Volume, "read_file", self.runtime.read_file(volume, path, limit)).await
    }

    async fn pointer(&self, volume: &VolumeHandle) -> Result<Option<Vec<u8>>> {
        self.timed(What::Volume, "pointer", self.runtime.pointer(volume)).await
    }

    async fn adopt(&self, volume: &VolumeHandle, pointer: &[u8]) -> Result<bool> {
        self.timed(What::Volume, "adopt", self.runtime.adopt(volume, pointer)).await
    }

    async fn fetch_image(
        &self,
        volume: &VolumeHandle,
        request: ImageRequest,
        log: mpsc::Sender<String>,
    ) -> Result<ImageFetch> {
        let fetched = self.runtime.fetch_image(volume, request, log);
        self.timed(What::Volume, "fetch_image", fetched).await
    }

    async fn list_volumes(&self) -> Result<Vec<VolumeHandle>> {
        self.timed(What::Volume, "list", self.runtime.list_volumes()).await
    }

    async fn destroy_volume(&self, volume: &VolumeHandle) -> Result<()> {
        self.timed(What::Volume, "destroy", self.runtime.destroy_volume(volume)).await
    }

    fn pods(&self, build: BuildId) -> Option<Vec<PodInfo>> {
        self.runtime.pods(build)
    }

    fn endings(&self) -> Option<watch::Receiver<u64>> {
        self.runtime.endings()
    }

    fn pod_changes(&self) -> Option<watch::Receiver<u64>> {
        self.runtime.pod_changes()
    }
}
