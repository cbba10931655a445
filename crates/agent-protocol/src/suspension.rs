//! Agents that stop while people take their time about a call, and go on later in other containers.
//!
//! A harness that has waited long enough leaves what it goes on from in a directory that the server keeps, says so with the
//! digest of it, and ends. Later it is started anew with that directory and the digest.

use serde::{Deserialize, Serialize};

use crate::approval::Decision;

/// The directory in a step's container where a harness leaves what it goes on from.
pub const STATE_DIR: &str = "/var/lib/jetbridge-state";
/// The state's name in it.
pub const STATE_FILE: &str = "state.json";
/// The largest state. A harness that has more goes on waiting.
pub const STATE_BYTES_MAX: usize = 64 << 20;
/// Where a gateway says how many answers of the model are on their way, as a number: a harness that begins anew stops
/// when what it was told is whole.
pub const ANSWERING_PATH: &str = "/answering";

/// How words begin about a harness that begins anew and does something else than it did.
pub const PAST_DIFFERS: &str = "the agent cannot go on, as it does not come to where it was";

/// When a harness stops, and what it goes on from. Only one that can is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// How often it was stopped before.
    pub run: u32,
    /// Milliseconds for which a call waits for people before it stops.
    pub after_ms: u64,
    /// The directory with its state.
    pub dir: String,
    /// What it goes on from, if it was stopped before.
    #[serde(default)]
    pub left: Option<Left>,
}

/// What a harness goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The state's SHA-256, as the harness said when it stopped: others may have written to the file since.
    pub digest: String,
    /// What people decided meanwhile.
    pub decided: Vec<Decision>,
}
