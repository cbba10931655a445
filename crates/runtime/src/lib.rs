//! The runtime port: container specs, the runner's client, a fake and the conformance suite.
//!
//! A runtime finds or creates containers by handle, so that asking twice is harmless, and gives a
//! byte stream to the runner inside each. What runs in a container, its output and its exit status
//! all travel over that stream (see `jb-runner-protocol` and [`client`]).
//!
//! Contract, checked by [`conformance`] for every adapter:
//! - `create` with a handle that exists returns the existing container and changes nothing.
//! - A container and its processes outlive the server process that created them.
//! - An input mount shows the volume's content; writes to it do not reach the volume.
//! - A cache mount is a volume of its own that survives the container.
//! - So is an output mount, or the copy of an input, once the container was settled; what is written to it afterwards
//!   may be lost.
//! - `destroy` ends every process, removes the container, and succeeds when it is gone already.
//! - Volumes live until `destroy_volume`; one in use by a container is kept until that is destroyed.

pub mod client;
pub mod conformance;
pub mod fake;
pub mod measured;
pub mod placement;
pub mod pods;
pub mod spec;

use std::time::Duration;

use async_trait::async_trait;
use jb_model::{BuildId, ContainerHandle, Metadata, Object, Version, VolumeHandle};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

pub use pods::{PodContainer, PodInfo};
pub use spec::{
    AGENT_PROGRAM, ContainerKind, ContainerSpec, Coordinates, Image, Link, Mount, MountSource,
    Network, User,
};

/// A two-way byte stream to a runner.
pub trait RunnerStream: AsyncRead + AsyncWrite + Send + Unpin {
    /// How long its other side may say nothing although it was asked, before the stream counts as broken. `None` for
    /// streams that do not break without a word.
    fn silence_max(&self) -> Option<Duration> {
        None
    }
}

impl<T: RunnerStream + ?Sized> RunnerStream for Box<T> {
    fn silence_max(&self) -> Option<Duration> {
        (**self).silence_max()
    }
}

/// Within this machine.
impl RunnerStream for UnixStream {}
/// Within this process.
impl RunnerStream for DuplexStream {}

/// A one-way stream of bytes, such as a tar archive.
pub type ByteStream = Box<dyn AsyncRead + Send + Unpin>;

/// What is known of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerInfo {
    pub handle: ContainerHandle,
    /// False once its runner ended and only its files remain.
    pub running: bool,
}

/// What went wrong in a runtime, sorted by what a caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("container `{0}` does not exist")]
    NoContainer(ContainerHandle),
    #[error("volume `{0}` does not exist")]
    NoVolume(VolumeHandle),
    /// The image cannot be used: missing rootfs, unknown registry name, unauthorized.
    #[error("{0}")]
    Image(String),
    /// The spec asks for something this machine or cluster does not offer.
    #[error("{0}")]
    Unsupported(String),
    /// Trying again later may work.
    #[error("{context}: {source}")]
    Transient { context: String, source: std::io::Error },
    #[error("{context}: {source}")]
    Io { context: String, source: std::io::Error },
    #[error("{0}")]
    Protocol(String),
}

impl Error {
    pub fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where containers run. See the crate's documentation for the contract.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// The worker's name as `fly workers` shows it.
    fn worker_name(&self) -> &str;

    /// Base resource types this runtime can run without an image from elsewhere.
    fn base_types(&self) -> Vec<BaseType>;

    /// Whether this runtime has containers for agents: their program, and links that join an agent's container to its
    /// gateway's.
    fn runs_agents(&self) -> bool {
        false
    }

    /// Where this runtime's own machinery listens, as `host:port`: no agent may reach it.
    fn off_limits(&self) -> &[String] {
        &[]
    }

    /// Finds or creates the container and starts its runner; returns when the runner can be connected to.
    async fn create(&self, spec: &ContainerSpec) -> Result<()>;

    /// As [`Self::create`]. While the container waits for something out of the ordinary, such as room for it, `waits` is
    /// sent what that is: a line when it begins to wait and one whenever the reason changes. Dropping the future gives
    /// up; what was made by then is found by `destroy`.
    async fn create_watched(
        &self,
        spec: &ContainerSpec,
        waits: mpsc::Sender<String>,
    ) -> Result<()> {
        drop(waits);
        self.create(spec).await
    }

    /// Opens a new stream to the runner of a container.
    async fn connect(&self, handle: &ContainerHandle) -> Result<Box<dyn RunnerStream>>;

    /// As [`Self::connect`]. While the runner cannot be reached for long, `waits` is sent why, as by
    /// [`Self::create_watched`].
    async fn connect_watched(
        &self,
        handle: &ContainerHandle,
        waits: mpsc::Sender<String>,
    ) -> Result<Box<dyn RunnerStream>> {
        drop(waits);
        self.connect(handle).await
    }

    /// Makes what a container wrote to its outputs theirs, wherever its volumes are kept; called after the process
    /// that writes them ended, and harmless to repeat. Runtimes whose containers write to the volumes themselves have
    /// nothing to do.
    async fn settle(&self, handle: &ContainerHandle) -> Result<()> {
        let _ = handle;
        Ok(())
    }

    /// Why a container is taken away by whoever runs the machines, if it is: its processes are ended for that, and their
    /// statuses say nothing about them.
    async fn taken_away(&self, handle: &ContainerHandle) -> Option<String> {
        let _ = handle;
        None
    }

    /// Whether this has only what bears its own worker name: what another name made is no business of it, also when that
    /// name is not in use any more.
    fn keeps_to_its_name(&self) -> bool {
        false
    }

    /// Returns once removing a container that nobody needs any more takes nothing from those that are being started: they
    /// come first where both are done by the same machines. Returns at once where that makes no difference, when what is
    /// being started lacks the room that a removal gives back, and after some seconds in any case.
    async fn leisure(&self) {}

    /// Ends every process of the container and removes it.
    async fn destroy(&self, handle: &ContainerHandle) -> Result<()>;

    async fn list(&self) -> Result<Vec<ContainerInfo>>;

    /// Finds or creates an empty volume.
    async fn create_volume(&self, volume: &VolumeHandle) -> Result<()>;

    /// Extracts a plain tar archive into a directory of a volume (`path` relative, `.` for its root).
    /// Refuses entries that would leave the volume.
    async fn stream_in(&self, volume: &VolumeHandle, path: &str, tar: ByteStream) -> Result<()>;

    /// A plain tar archive of a directory, or of one file, of a volume.
    async fn stream_out(&self, volume: &VolumeHandle, path: &str) -> Result<ByteStream>;

    /// One whole file of a volume, at most `limit` bytes; `Ok(None)` when there is no such file.
    async fn read_file(
        &self,
        volume: &VolumeHandle,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>>;

    /// What a volume is that holds no content but the name of something that others can have, too, such as an image
    /// that nodes pull; none for all others.
    async fn pointer(&self, volume: &VolumeHandle) -> Result<Option<Vec<u8>>> {
        let _ = volume;
        Ok(None)
    }

    /// Makes a volume of a [`Self::pointer`] of another runtime. False when that means nothing to this one.
    async fn adopt(&self, volume: &VolumeHandle, pointer: &[u8]) -> Result<bool> {
        let _ = (volume, pointer);
        Ok(false)
    }

    /// Does the work of the `registry-image` resource's `in` without a container: afterwards the volume
    /// is what the script would have made, whatever it was before. The lines that the script would
    /// have written are sent to `log` as they come about. Dropping the future gives it up.
    async fn fetch_image(
        &self,
        volume: &VolumeHandle,
        request: ImageRequest,
        log: mpsc::Sender<String>,
    ) -> Result<ImageFetch> {
        let _ = (volume, request, log);
        Ok(ImageFetch::NotOffered)
    }

    async fn list_volumes(&self) -> Result<Vec<VolumeHandle>>;

    async fn destroy_volume(&self, volume: &VolumeHandle) -> Result<()>;

    /// The pods of a build's steps, in the order they were made; none where containers are no pods.
    fn pods(&self, build: BuildId) -> Option<Vec<PodInfo>> {
        let _ = build;
        None
    }

    /// Tells when any pod has changed; none where containers are no pods.
    fn pod_changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Tells when containers ended or went that nobody destroyed through this; none where that is only seen in
    /// [`Runtime::list`].
    fn endings(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// What the script of a `registry-image` would be given. May hold secrets, so it has no debug output.
pub struct ImageRequest {
    pub source: Object,
    pub params: Object,
    pub version: Version,
}

/// How fetching an image ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFetch {
    /// This runtime leaves it, or this image, to the script.
    NotOffered,
    Fetched(Vec<Metadata>),
    /// As when the script exits with status 1. The log says why.
    Failed,
}

/// A resource type that comes with the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseType {
    pub name: String,
    pub version: String,
    pub privileged: bool,
    /// Two resources with the same source never share versions (true for `time`).
    pub unique_version_history: bool,
}
