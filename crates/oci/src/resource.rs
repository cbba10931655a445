//! Images as the `registry-image` resource type speaks of them: what its source and its steps ask for, which tags
//! are versions, and what a fetched image is told as. For the resource type's program and for runtimes that fetch
//! images themselves.

mod get;
mod place;
mod script;
mod source;
mod tag_choice;
mod version;

pub use get::{Format, GetRequest, labels_json, metadata_json};
pub use place::{Place, origin, places};
pub use script::{ScriptLog, Wanted};
pub use source::{Follow, Invalid, Mirror, SOURCE_KEYS, SemverRule, Source};
pub use tag_choice::{Candidate, Found, aliases};
pub use version::{Constraint, NotAConstraint, TagVersion};
