//! Registry images: references, pulls by digest, layers unpacked safely, pushes.
//!
//! The registry protocol is spoken with reqwest directly: retries that honour `Retry-After`, resumed and bounded
//! downloads and streamed uploads need more of the wire than a higher-level client shows.
//!
//! Names are resolved by the C library's resolver, also in static binaries, so `/etc/hosts` and `/etc/resolv.conf`
//! of the container count and no second resolver is carried.

mod archive;
mod auth;
mod digest;
mod error;
mod image;
mod layout;
mod platform;
mod reference;
mod registry;
pub mod resource;
mod retry;
mod store;
mod unpack;

pub use archive::{ArchiveError, open_archive, write_archive};
pub use digest::{Digest, DigestError, Hasher};
pub use error::Error;
pub use image::{
    Descriptor, ImageConfig, Index, Manifest, ManifestKind, RuntimeConfig, media_type,
};
pub use layout::{Layout, LayoutError};
pub use platform::Platform;
pub use reference::{Reference, ReferenceError};
pub use registry::{Credentials, Image, OnRetry, Options, RawManifest, Registry};
pub use retry::RetryPolicy;
pub use store::{Keep, LayerStore, StoreError};
pub use unpack::{Owners, UnpackError, UnpackOptions, Unpacked, Unpacker, Whiteouts};
