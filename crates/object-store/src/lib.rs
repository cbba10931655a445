//! A bucket of any S3-compatible object store.
//!
//! Requests are addresses that carry their own signature and end. So one that is good for a single object can be given
//! to somebody who shall have no key. What a request meets is sorted once, in [`error`]: what may pass is tried again
//! for a while, the rest is told in words that say what to change.

mod error;
mod settings;
mod store;
mod upload;

pub use error::{Error, Kind};
pub use settings::{Credentials, Settings, SettingsError};
pub use store::{ObjectStore, PART_BYTES};
