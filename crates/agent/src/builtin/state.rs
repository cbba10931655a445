//! What a loop that stops leaves behind, and what it goes on from.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jb_agent_protocol::suspension::{STATE_BYTES_MAX, STATE_FILE};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::repeats::Repeats;
use crate::message::Message;
use crate::toolbox::{Call, Counts, Progress};

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// A conversation that stopped among the calls of its last answer.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    pub(super) messages: Vec<Message>,
    pub(super) calls: Vec<Call>,
    pub(super) progress: Progress,
    pub(super) counts: Counts,
    pub(super) repeats: Repeats,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    state: T,
}

impl State {
    /// Leaves it in a directory; gives its digest.
    pub(super) fn leave(&self, dir: &str) -> Result<String, String> {
        let path = file(dir);
        let failed =
            |why: String| format!("the agent's state cannot be left in {}: {why}", path.display());
        let text = serde_json::to_vec(&Versioned { version: VERSION, state: self })
            .map_err(|error| failed(error.to_string()))?;
        if text.len() > STATE_BYTES_MAX {
            return Err(failed(format!(
                "it has {} bytes; at most {STATE_BYTES_MAX} are kept",
                text.len()
            )));
        }
        write(&path, &text).map_err(|error| failed(error.to_string()))?;
        Ok(hex(&text))
    }

    /// What was left there, if its digest is this one.
    pub(super) fn find(dir: &str, digest: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Any {}
        let path = file(dir);
        let failed = |why: String| {
            format!("the agent cannot go on from its state in {}: {why}", path.display())
        };
        let text = read(&path).map_err(|error| failed(error.to_string()))?;
        if hex(&text) != digest {
            return Err(failed("it is damaged, its SHA-256 is not the one it had".to_owned()));
        }
        let read = serde_json::from_slice::<Versioned<Any>>(&text);
        let version = read.map_err(|error| failed(error.to_string()))?.version;
        if version != VERSION {
            return Err(failed(format!("it has version {version}; this program reads {VERSION}")));
        }
        let read = serde_json::from_slice::<Versioned<Self>>(&text);
        Ok(read.map_err(|error| failed(error.to_string()))?.state)
    }
}

fn file(dir: &str) -> PathBuf {
    Path::new(dir).join(STATE_FILE)
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(STATE_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn hex(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_others_wrote_is_not_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let counts =
            serde_json::from_str(r#"{"refusals": 1, "reminders": 0, "asked": 2}"#).unwrap();
        let messages = vec![Message::User("Do it.".to_owned())];
        let (calls, progress, repeats) = Default::default();
        let state = State { messages, calls, progress, counts, repeats };
        let digest = state.leave(path).unwrap();
        assert_eq!(State::find(path, &digest).unwrap().messages, state.messages);
        let error = |digest: &str| State::find(path, digest).map(drop).unwrap_err();
        let text = std::fs::read_to_string(file(path)).unwrap();
        std::fs::write(file(path), text.replace("Do it.", "Do that.")).unwrap();
        assert!(error(&digest).ends_with("it is damaged, its SHA-256 is not the one it had"));
        let newer = r#"{"version": 2}"#;
        std::fs::write(file(path), newer).unwrap();
        assert!(error(&hex(newer.as_bytes())).ends_with("it has version 2; this program reads 1"));
        std::fs::remove_file(file(path)).unwrap();
        assert!(error(&digest).starts_with("the agent cannot go on from its state in "));
    }
}
