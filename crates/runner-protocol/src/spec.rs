//! What a process shall be.

/// A process to start in the runner's container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSpec {
    /// Searched in the `PATH` of `env` unless it has a slash; relative to `dir` then.
    pub path: String,
    /// Without the program's own name.
    pub args: Vec<String>,
    /// The whole environment. `PATH`, `HOME` and `USER` are added when missing.
    pub env: Vec<(String, String)>,
    /// Absolute. Empty means the root directory.
    pub dir: String,
    /// Makes `dir` with its parents when it does not exist, owned by the process's user.
    pub create_dir: bool,
    /// `name`, `uid`, `name:group` or `uid:gid`, resolved by the container's own `/etc/passwd` and
    /// `/etc/group`. `None` is the runner's own user.
    pub user: Option<String>,
    /// A terminal of this size; without one, stdout and stderr are separate pipes.
    pub tty: Option<WindowSize>,
    pub stdin: Stdin,
    /// Keeps every capability the runner has. Otherwise the process can never hold more than the
    /// set container engines give by default.
    pub privileged: bool,
}

/// What a process reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// At its end from the start.
    #[default]
    Null,
    /// Fed by [`crate::Request::Stdin`] until closed.
    Open,
    /// Exactly these bytes, then the end.
    Data(Vec<u8>),
    /// These bytes, then as [`Self::Open`].
    Fed(Vec<u8>),
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    pub cols: u16,
    pub rows: u16,
}

/// Where output was written to. A terminal has only [`Stream::Stdout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}
