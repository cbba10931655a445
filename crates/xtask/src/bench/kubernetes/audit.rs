//! What the API server noted of writes: who asked for what, and when the request came in.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use serde_json::Value;

use crate::cluster::place::Place;

/// A successful request that changed something.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) user: String,
    pub(super) verb: String,
    /// With its subresource, as in `pods/exec`.
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Nanoseconds since 1970.
    pub(super) received: u64,
}

pub(super) struct Audit {
    log: PathBuf,
}

impl Audit {
    pub(super) fn new(place: &Place) -> Self {
        Self { log: place.audit_log() }
    }

    /// All writes whose requests came in at `since` or later.
    pub(super) fn since(&self, since: SystemTime) -> anyhow::Result<Vec<Write>> {
        let text = std::fs::read_to_string(&self.log)
            .with_context(|| format!("read {}", self.log.display()))?;
        let since = nanos(since)?;
        let mut writes = Vec::new();
        for line in text.lines() {
            // The last line may be half written.
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            if let Some(write) = write(&event)
                && write.received >= since
            {
                writes.push(write);
            }
        }
        writes.sort_by_key(|write| write.received);
        Ok(writes)
    }
}

pub(super) fn nanos(time: SystemTime) -> anyhow::Result<u64> {
    Ok(u64::try_from(time.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos())?)
}

fn write(event: &Value) -> Option<Write> {
    let code = event["responseStatus"]["code"].as_u64()?;
    if event["stage"] != "ResponseComplete" || !(200..300).contains(&code) {
        return None;
    }
    let object = &event["objectRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = match object["subresource"].as_str() {
        Some(part) => format!("{}/{part}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    let received: jiff::Timestamp = event["requestReceivedTimestamp"].as_str()?.parse().ok()?;
    Some(Write {
        user: text(&event["user"]["username"]),
        verb: text(&event["verb"]),
        resource,
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        received: u64::try_from(received.as_nanosecond()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_its_time() {
        let line = r#"{"stage":"ResponseComplete","verb":"create","user":{"username":"admin"},
            "objectRef":{"resource":"pods","namespace":"n","name":"p"},"responseStatus":{"code":201},
            "requestReceivedTimestamp":"2026-02-28T23:59:59.000250Z"}"#;
        let write = write(&serde_json::from_str(line).unwrap()).unwrap();
        assert_eq!((write.resource.as_str(), write.name.as_str()), ("pods", "p"));
        assert_eq!(write.received, 1_772_323_199_000_250_000);
    }
}
