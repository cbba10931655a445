//! A build's events, and the transcripts of its agents, as streams that follow the build.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, HeaderName, HeaderValue};
use axum::response::Response;
use futures_util::stream;
use jb_model::{BuildId, BuildStatus};
use jb_store::{Change, Store, StoredEvent};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::call::Call;
use crate::edge::compress::{self, Flushing};
use crate::reply::{BAD_REQUEST, Result, respond};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const X_ATC_STREAM_VERSION: HeaderName = HeaderName::from_static("x-atc-stream-version");

/// How much is read from the store at once.
const MAX_BYTES: usize = 256 << 10;
/// Nudges can be lost with the server that would have sent them: look again after this time.
const BACKSTOP: Duration = Duration::from_secs(15);

/// What is streamed.
#[derive(Clone, Copy)]
pub(super) enum Log {
    /// The build's events, as every client knows them.
    Build,
    /// What its agents said and did.
    Transcript,
}

pub(super) fn stream(call: Call, log: Log) -> Result<Response> {
    let build = call.build()?.id;
    let next = match call.parts.headers.get(LAST_EVENT_ID) {
        None => 0,
        Some(id) if id.is_empty() => 0,
        Some(id) => {
            let id: Option<u64> = id.to_str().ok().and_then(|id| id.parse().ok());
            id.and_then(|id| id.checked_add(1)).ok_or(BAD_REQUEST)?
        }
    };
    let gzip = compress::accepted(&call.parts.headers).then(Flushing::new);
    let packed = gzip.is_some();
    let store = call.store().clone();
    // Subscribed before the first read, so that nothing falls between.
    let changes = store.subscribe();
    let follower = Follower { store, build, log, next, changes, gzip, ended: false };
    let pieces = stream::unfold(follower, |mut follower| async move {
        let piece = follower.piece().await;
        piece.transpose().map(|piece| (piece, follower))
    });
    let kind = "text/event-stream; charset=utf-8";
    let mut response = respond(StatusCode::OK, kind, Body::from_stream(pieces));
    let headers = response.headers_mut();
    let fresh = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(CACHE_CONTROL, fresh);
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(X_ATC_STREAM_VERSION, HeaderValue::from_static("2.0"));
    if packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

struct Follower {
    store: Store,
    build: BuildId,
    log: Log,
    /// The number of the next event to send.
    next: u64,
    changes: Receiver<Change>,
    gzip: Option<Flushing>,
    /// Everything was said; the client hangs up.
    ended: bool,
}

impl Follower {
    /// The next piece of the stream; `None` when the build is gone.
    async fn piece(&mut self) -> std::io::Result<Option<Bytes>> {
        if self.ended {
            std::future::pending::<()>().await;
        }
        loop {
            // Asked for before the events: what is written last is then seen before the end.
            let build = self.store.build(self.build).await.map_err(std::io::Error::other)?;
            let Some(build) = build else { return Ok(None) };
            let events = match self.log {
                Log::Build => self.store.events(self.build, self.next, MAX_BYTES).await,
                Log::Transcript => self.store.transcript(self.build, self.next, MAX_BYTES).await,
            };
            let mut events = events.map_err(std::io::Error::other)?;
            if matches!(self.log, Log::Build) && !build.status.is_final() {
                events.truncate(before_the_end(&events));
            }
            let text = if let Some(last) = events.last() {
                self.next = last.seq + 1;
                match self.log {
                    Log::Build => render(&events),
                    Log::Transcript => render_transcript(&events),
                }
            } else if build.status.is_final() {
                self.ended = true;
                format!("id: {}\nevent: end\ndata\n\n", self.next)
            } else {
                self.changed().await;
                continue;
            };
            return match &mut self.gzip {
                Some(gzip) => gzip.pack(text.as_bytes()).map(Some),
                None => Ok(Some(Bytes::from(text))),
            };
        }
    }

    /// Waits until there may be something new.
    async fn changed(&mut self) {
        let build = self.build;
        let changes = &mut self.changes;
        let nudge = async {
            loop {
                match changes.recv().await {
                    Ok(Change::Build(changed)) if changed == build => return,
                    Ok(Change::Everything) | Err(RecvError::Lagged(_)) => return,
                    Ok(_) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        // Either way the store is asked next.
        let _ = tokio::time::timeout(BACKSTOP, nudge).await;
    }
}

/// How many of the events come before the one that says how the build ended. Clients leave as soon as they read
/// that, and then find the build as it says: so it is kept back until the build is over for everybody.
fn before_the_end(events: &[StoredEvent]) -> usize {
    let ends = |event: &StoredEvent| {
        let event: Option<serde_json::Value> = serde_json::from_str(&event.json).ok();
        event.is_some_and(|event| {
            event["event"] == "status" && event["data"]["status"] != BuildStatus::Started.as_str()
        })
    };
    // A text without this is no such event; logs are not read for it.
    let may_end = |event: &StoredEvent| event.json.contains("\"event\":\"status\"");
    events.iter().position(|event| may_end(event) && ends(event)).unwrap_or(events.len())
}

/// The events as a client reads them. What is stored lacks only the number.
fn render(events: &[StoredEvent]) -> String {
    let bytes: usize = events.iter().map(|event| event.json.len() + 80).sum();
    let mut text = String::with_capacity(bytes);
    for StoredEvent { seq, json } in events {
        let open = json.trim_end().strip_suffix('}').unwrap_or(json);
        // Writing to a string does not fail.
        let _ = write!(text, "id: {seq}\nevent: event\ndata: {open},\"event_id\":\"{seq}\"}}\n\n");
    }
    text
}

/// The entries as they are stored; their number is the event's id.
fn render_transcript(entries: &[StoredEvent]) -> String {
    let mut text = String::new();
    for StoredEvent { seq, json } in entries {
        // Writing to a string does not fail.
        let _ = write!(text, "id: {seq}\nevent: transcript\ndata: {json}\n\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_back_and_nothing_else() {
        let event = |json: &str| StoredEvent { seq: 0, json: json.into() };
        let started = event(r#"{"data":{"status":"started"},"event":"status","version":"1.0"}"#);
        let log = event(r#"{"data":{"payload":"\"event\":\"status\""},"event":"log"}"#);
        let failed = event(r#"{"data":{"status":"failed"},"event":"status","version":"1.0"}"#);
        assert_eq!(before_the_end(&[started.clone(), log.clone(), failed, log.clone()]), 2);
        assert_eq!(before_the_end(&[started, log]), 2);
    }

    #[test]
    fn events_are_framed_with_their_number() {
        let json =
            r#"{"data":{"status":"started","time":1795228035},"event":"status","version":"1.0"}"#;
        assert_eq!(
            render(&[StoredEvent { seq: 7, json: json.into() }]),
            "id: 7\nevent: event\ndata: {\"data\":{\"status\":\"started\",\"time\":1795228035},\"event\":\"status\",\"version\":\"1.0\",\"event_id\":\"7\"}\n\n"
        );
    }
}
