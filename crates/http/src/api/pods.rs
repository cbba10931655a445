//! The pods in which a build's steps run: as they are now, and as they change.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use axum::response::Response;
use futures_util::stream;
use jb_model::{BuildId, Timestamp};
use jb_runtime::pods::{PodContainer, PodInfo};
use jb_store::{Change, Store, build_changed};
use jb_wire::api;
use jb_wire::api::to_body;
use sha2::{Digest as _, Sha256};
use tokio::sync::{broadcast, watch};

use crate::call::Call;
use crate::reply::{Failure, Result, ok, respond};
use crate::state::AppState;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Nudges can be lost with the server that would have sent them: look again after this time. Proxies that end silent
/// connections hear something as often.
const BACKSTOP: Duration = Duration::from_secs(15);

pub(super) async fn list(call: Call) -> Result<Response> {
    let build = call.build()?.id;
    Ok(ok(&pods(&call.state, build).await?))
}

/// Every event holds all pods of the build, so a client that comes again needs none of those before. Its number stands
/// for what it says: who has the last one is sent nothing until something changes.
pub(super) async fn watch(call: Call) -> Result<Response> {
    let build = call.build()?.id;
    let last = call.parts.headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let changes = call.state.engine().pod_changes().ok_or_else(no_pods)?;
    let follower = Follower {
        state: call.state.clone(),
        store: call.store().clone(),
        build,
        changes,
        builds: call.store().subscribe(),
        sent: last.unwrap_or_default().to_owned(),
        ended: false,
    };
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
    Ok(response)
}

fn no_pods() -> Failure {
    let text = "this server runs steps as containers of its own machine, which have no pods\n";
    Failure::text(StatusCode::NOT_FOUND, text)
}

async fn pods(state: &AppState, build: BuildId) -> Result<Vec<api::Pod>> {
    let pods = state.engine().pods(build).await.map_err(Failure::internal)?;
    Ok(pods.ok_or_else(no_pods)?.into_iter().map(present).collect())
}

struct Follower {
    state: AppState,
    store: Store,
    build: BuildId,
    changes: watch::Receiver<u64>,
    builds: broadcast::Receiver<Change>,
    /// The number of the event that the client has.
    sent: String,
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
            // Looked at before what it tells of: a change in between is told of again.
            self.changes.mark_unchanged();
            let build = self.store.build(self.build).await.map_err(std::io::Error::other)?;
            let Some(build) = build else { return Ok(None) };
            let pods = pods(&self.state, self.build).await;
            let pods = pods.map_err(|error| std::io::Error::other(format!("{error:?}")))?;
            let data = to_body(&pods).map_err(std::io::Error::other)?;
            let number = number(&data);
            if number != self.sent {
                self.sent = number;
                let data = String::from_utf8_lossy(&data);
                let text = format!("id: {}\nevent: pods\ndata: {}\n\n", self.sent, data.trim_end());
                return Ok(Some(Bytes::from(text)));
            }
            if build.status.is_final() {
                self.ended = true;
                let text = format!("id: {}\nevent: end\ndata\n\n", self.sent);
                return Ok(Some(Bytes::from(text)));
            }
            let (changes, builds) = (&mut self.changes, &mut self.builds);
            let nudged = async {
                tokio::select! {
                    changed = changes.changed() => changed.is_ok(),
                    () = build_changed(builds, self.build) => true,
                }
            };
            match tokio::time::timeout(BACKSTOP, nudged).await {
                Ok(true) => {}
                // Nothing changes any more in a server that stops.
                Ok(false) => return Ok(None),
                Err(_) => return Ok(Some(Bytes::from_static(b": still here\n\n"))),
            }
        }
    }
}

/// Stands for what an event says.
fn number(data: &[u8]) -> String {
    let digest = Sha256::digest(data);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn present(pod: PodInfo) -> api::Pod {
    let seconds = |time: Option<Timestamp>| time.map(Timestamp::unix_seconds);
    api::Pod {
        name: pod.name,
        namespace: pod.namespace,
        container_id: pod.handle.map(|handle| handle.to_string()).unwrap_or_default(),
        kind: pod.kind,
        step_name: pod.step,
        attempt: pod.attempt,
        phase: pod.phase,
        reason: pod.reason,
        message: pod.message,
        node: pod.node,
        created_at: seconds(pod.created_at),
        scheduled_at: seconds(pod.scheduled_at),
        started_at: seconds(pod.started_at),
        ready_at: seconds(pod.ready_at),
        finished_at: seconds(pod.finished_at),
        containers: pod.containers.into_iter().map(present_container).collect(),
    }
}

fn present_container(container: PodContainer) -> api::PodContainer {
    let seconds = |time: Option<Timestamp>| time.map(Timestamp::unix_seconds);
    api::PodContainer {
        name: container.name,
        image: container.image,
        init: container.init,
        state: container.state,
        reason: container.reason,
        message: container.message,
        restarts: container.restarts,
        exit_code: container.exit_code,
        started_at: seconds(container.started_at),
        finished_at: seconds(container.finished_at),
    }
}
