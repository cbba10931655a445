//! The framed protocol between the server and the runner in a container.
//!
//! A frame is a length (`u32`, little-endian, of the payload), a kind byte and the payload. Both
//! sides first say [`Request::Hello`] / [`Reply::Hello`] and part when the versions differ. A request
//! with a token gets exactly one answer with that token, except [`Request::List`], whose answer may
//! take several frames.
//!
//! Output travels as the runner's journal keeps it: numbered from 0 for each process, without gaps,
//! with [`Reply::Exited`] as the last number. An attachment starts at any number and is sent no more
//! bytes than were granted, so a reader that stops reading stops nobody else.
//!
//! Everything that comes from outside is bounded here: frames, identifiers, lists and strings.

pub mod codec;
pub mod frame;
pub mod message;
pub mod record;
pub mod spec;

pub use codec::DecodeError;
pub use frame::{Frame, FrameBuffer};
pub use message::{FailureKind, ProcessInfo, ProcessState, Reply, Request};
pub use spec::{ProcessSpec, Stdin, Stream, WindowSize};

/// Spoken by this build. Raised whenever a frame changes its shape.
pub const VERSION: u16 = 1;
/// The largest payload of any frame but [`Request::Start`], in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The largest payload of a [`Request::Start`]: it carries a whole environment and stdin.
pub const MAX_START_PAYLOAD: usize = 16 << 20;
/// The largest chunk of output in one frame, in bytes.
pub const MAX_CHUNK: usize = 64 << 10;
/// What a runner keeps of one process's output that was not acknowledged, in bytes of records. A process that has said
/// more waits. Whoever follows a process acknowledges well before this much has come.
pub const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// What whoever comes through a runner's port says first, in bytes.
pub const KEY_BYTES: usize = 32;
/// A runner's first word to who came through its port or wanted to be told of the connection.
pub const ANNOUNCEMENT: u8 = 0;
/// The longest process id, in bytes.
pub const MAX_ID: usize = 200;
