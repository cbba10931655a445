//! What a harness that stops leaves behind, and what it goes on from.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jb_agent_protocol::suspension::{STATE_BYTES_MAX, STATE_FILE};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The version that is written, and the only one that is read.
const VERSION: u32 = 2;

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(default)]
    harness: String,
    #[serde(flatten)]
    state: T,
}

/// Leaves a harness's state in a directory; gives its digest.
///
/// # Errors
/// When it is too large or cannot be written; the text says which.
pub(crate) fn leave<T: Serialize>(dir: &str, harness: &str, state: &T) -> Result<String, String> {
    let path = file(dir);
    let failed =
        |why: String| format!("the agent's state cannot be left in {}: {why}", path.display());
    let held = Versioned { version: VERSION, harness: harness.to_owned(), state };
    let text = serde_json::to_vec(&held).map_err(|error| failed(error.to_string()))?;
    if text.len() > STATE_BYTES_MAX {
        let bytes = text.len();
        return Err(failed(format!("it has {bytes} bytes; at most {STATE_BYTES_MAX} are kept")));
    }
    write(&path, &text).map_err(|error| failed(error.to_string()))?;
    Ok(hex(&text))
}

/// What the harness left there, if its digest is this one.
///
/// # Errors
/// When there is none, or another digest, version or harness; the text says which.
pub(crate) fn find<T: DeserializeOwned>(
    dir: &str,
    harness: &str,
    digest: &str,
) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Any {}
    let path = file(dir);
    let failed =
        |why: String| format!("the agent cannot go on from its state in {}: {why}", path.display());
    let text = read(&path).map_err(|error| failed(error.to_string()))?;
    if hex(&text) != digest {
        return Err(failed("it is damaged, its SHA-256 is not the one it had".to_owned()));
    }
    let held = serde_json::from_slice::<Versioned<Any>>(&text);
    let Versioned { version, harness: left_by, .. } =
        held.map_err(|error| failed(error.to_string()))?;
    if version != VERSION {
        return Err(failed(format!("it has version {version}; this program reads {VERSION}")));
    }
    if left_by != harness {
        return Err(failed(format!("the harness `{left_by}` left it; this is `{harness}`")));
    }
    let held = serde_json::from_slice::<Versioned<T>>(&text);
    Ok(held.map_err(|error| failed(error.to_string()))?.state)
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
        let state = serde_json::json!({"messages": ["Do it."]});
        let digest = leave(path, "loop", &state).unwrap();
        let found = |harness: &str, digest: &str| find::<serde_json::Value>(path, harness, digest);
        assert_eq!(found("loop", &digest).unwrap()["messages"], state["messages"]);
        let error = |digest: &str| found("loop", digest).unwrap_err();
        let others = found("codex", &digest).unwrap_err();
        assert!(others.ends_with("the harness `loop` left it; this is `codex`"), "{others}");
        let text = std::fs::read_to_string(file(path)).unwrap();
        std::fs::write(file(path), text.replace("Do it.", "Do that.")).unwrap();
        assert!(error(&digest).ends_with("it is damaged, its SHA-256 is not the one it had"));
        let newer = r#"{"version": 3}"#;
        std::fs::write(file(path), newer).unwrap();
        assert!(error(&hex(newer.as_bytes())).ends_with("it has version 3; this program reads 2"));
        std::fs::remove_file(file(path)).unwrap();
        assert!(error(&digest).starts_with("the agent cannot go on from its state in "));
    }
}
