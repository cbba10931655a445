//! What a container shall be.

use jb_model::config::ContainerLimits;
use jb_model::{ContainerHandle, VolumeHandle};

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    Check,
    Get,
    Put,
    Task,
    Run,
    /// A step's agent. Finds its program at [`AGENT_PROGRAM`].
    Agent,
    /// An agent's way to its model, which holds the key: nobody enters it. Finds its program at [`AGENT_PROGRAM`].
    Gateway,
    /// An MCP server of an agent's, which has credentials of its own: nobody enters it. Finds the program that starts it at
    /// [`AGENT_PROGRAM`].
    Mcp,
}

/// Where containers of agents, gateways and MCP servers find the program `jb-agent`, which anybody in them may execute.
pub const AGENT_PROGRAM: &str = "/opt/jetbridge/jb-agent";

impl ContainerKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Get => "get",
            Self::Put => "put",
            Self::Task => "task",
            Self::Run => "run",
            Self::Agent => "agent",
            Self::Gateway => "gateway",
            Self::Mcp => "mcp",
        }
    }

    /// Whether its containers have [`AGENT_PROGRAM`].
    pub const fn has_agent_program(self) -> bool {
        matches!(self, Self::Agent | Self::Gateway | Self::Mcp)
    }

    /// Whether people may start programs in its containers.
    pub fn is_entered(name: &str) -> bool {
        ![Self::Gateway, Self::Mcp].iter().any(|kind| kind.as_str() == name)
    }
}

/// A container to find or create. Holds no secret: environment and stdin travel to the runner later.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerSpec {
    pub handle: ContainerHandle,
    pub kind: ContainerKind,
    pub image: Image,
    pub hostname: String,
    /// Created if missing; every relative mount path is below it.
    pub working_dir: String,
    pub mounts: Vec<Mount>,
    pub limits: ContainerLimits,
    pub privileged: bool,
    pub network: Network,
    /// Volumes are made writable for this user.
    pub user: User,
    /// Names the outside world that a check looks at, by a digest: its resource's source and type. Containers of
    /// checks of one source may be one, and what one leaves there may serve the next.
    pub source: Option<String>,
    pub coordinates: Coordinates,
}

/// Where a container belongs, for people who meet it outside of JetBridge. No part of its identity; what does
/// not apply is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coordinates {
    pub team: String,
    pub pipeline: String,
    pub job: String,
    /// The build's name, which is its number within its job.
    pub build: String,
    /// The build's number within the installation.
    pub build_id: String,
    pub step: String,
    /// Counts of enclosing `attempts`, outermost first, such as `1.2`.
    pub attempt: String,
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// The runtime's own file system, read-only below a writable layer; on clusters a default image.
    Host,
    /// A built-in resource type, at `/opt/resource`.
    BaseType(String),
    /// A volume with `rootfs/` and `metadata.json`, as the `registry-image` resource makes them.
    Volume(VolumeHandle),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute, or relative to the working directory. Mounts may nest in any order.
    pub path: String,
    pub source: MountSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// The volume's content, copy on write. The written copy is kept as the volume `copy` when
    /// an output has the same path.
    Input { volume: VolumeHandle, copy: Option<VolumeHandle> },
    /// A volume created empty for this container that stays when it goes.
    Output(VolumeHandle),
    /// A volume kept between builds, created when missing.
    Cache(VolumeHandle),
    /// A directory with a socket, which joins a container to another that has the same volume, and no third.
    Link(Link),
}

/// One end of a socket between two containers. The one that serves is made first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Nothing is kept in it.
    pub volume: VolumeHandle,
    /// The socket's name in the directory.
    pub socket: String,
    /// Whether this container's process listens at the socket; the other's connects to it.
    pub serves: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A network of its own with a way out.
    #[default]
    Outbound,
    /// Loopback only.
    Hermetic,
}

/// Who the step's process runs as: a name or number as `/etc/passwd` of the image resolves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// The image's own user, root when it names none.
    #[default]
    Image,
    Named(String),
}
