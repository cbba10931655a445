//! The pods of a build: at a glance and as they change.

use axum::body::BodyDataStream;
use axum::http::StatusCode;
use futures_util::{FutureExt as _, StreamExt as _};
use jb_model::{BuildId, BuildStatus, ContainerHandle};
use jb_runtime::{PodContainer, PodInfo};
use serde_json::{Value, json};

use crate::server::{NOW, Server};

fn pod(phase: &str) -> PodInfo {
    PodInfo {
        name: "b1-task-0".into(),
        namespace: "ci".into(),
        handle: Some(ContainerHandle::new("b1-task-1")),
        kind: "task".into(),
        step: "unit".into(),
        phase: phase.into(),
        node: "node1".into(),
        created_at: Some(NOW),
        containers: vec![PodContainer {
            name: "main".into(),
            image: "app".into(),
            state: "running",
            started_at: Some(NOW),
            ..PodContainer::default()
        }],
        ..PodInfo::default()
    }
}

fn shown(phase: &str) -> Value {
    json!([{
        "name": "b1-task-0", "namespace": "ci", "container_id": "b1-task-1", "type": "task",
        "step_name": "unit", "phase": phase, "node": "node1", "created_at": NOW.unix_seconds(),
        "containers": [{
            "name": "main", "image": "app", "init": false, "state": "running", "restarts": 0,
            "started_at": NOW.unix_seconds(),
        }],
    }])
}

impl Server {
    fn set_pods(&self, pods: Option<Vec<PodInfo>>) {
        *self.engine.pods.lock().unwrap() = pods;
        self.engine.pod_changes.send_modify(|count| *count += 1);
    }

    async fn build_to_watch(&self) -> BuildId {
        let team = self.store.team_by_name("main").await.unwrap().unwrap().id;
        let plan = json!({"id": "1", "do": []});
        self.store.create_started_build(team, None, &plan, None, NOW).await.unwrap().id
    }

    async fn watch_pods(&self, build: BuildId, last: &str) -> BodyDataStream {
        let token = self.login("test").await;
        let call = self.get(&format!("/api/v1/builds/{build}/pods/watch")).token(&token);
        let response = call.header("Last-Event-ID", last).open().await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        response.into_body().into_data_stream()
    }
}

/// The number, name and data of the next event.
async fn event(stream: &mut BodyDataStream) -> (String, String, Value) {
    let piece = stream.next().await.unwrap().unwrap();
    let text = std::str::from_utf8(&piece).unwrap();
    let line = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_default().to_owned()
    };
    (line("id"), line("event"), serde_json::from_str(&line("data")).unwrap_or_default())
}

#[tokio::test]
async fn pods_are_listed() {
    let server = Server::new().await;
    server.set_pods(Some(vec![pod("Running")]));
    let build = server.build_to_watch().await;
    let token = server.login("test").await;
    let answer = server.get(&format!("/api/v1/builds/{build}/pods")).token(&token).send().await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, shown("Running")));
}

#[tokio::test]
async fn where_there_are_no_pods_this_is_said() {
    let server = Server::new().await;
    let build = server.build_to_watch().await;
    let token = server.login("test").await;
    for path in ["pods", "pods/watch"] {
        let path = format!("/api/v1/builds/{build}/{path}");
        let answer = server.get(&path).token(&token).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.text().contains("no pods"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_watch_follows_the_pods_to_the_builds_end() {
    let server = Server::new().await;
    server.set_pods(Some(Vec::new()));
    let build = server.build_to_watch().await;
    let mut stream = server.watch_pods(build, "").await;
    assert_eq!(event(&mut stream).await.2, json!([]));
    for phase in ["Pending", "Running"] {
        server.set_pods(Some(vec![pod(phase)]));
        let (_, name, data) = event(&mut stream).await;
        assert_eq!((name.as_str(), data), ("pods", shown(phase)));
    }
    // What changes elsewhere is no event.
    server.set_pods(Some(vec![pod("Running")]));
    assert!(stream.next().now_or_never().is_none());
    server.set_pods(Some(Vec::new()));
    assert_eq!(event(&mut stream).await.2, json!([]));
    server.store.finish_build(build, BuildStatus::Succeeded, None, NOW).await.unwrap();
    assert_eq!(event(&mut stream).await.1, "end");
    // The server does not hang up.
    assert!(stream.next().now_or_never().is_none());
}

#[tokio::test]
async fn a_watch_that_comes_again_is_told_what_changed_meanwhile() {
    let server = Server::new().await;
    server.set_pods(Some(vec![pod("Pending")]));
    let build = server.build_to_watch().await;
    let (number, _, _) = event(&mut server.watch_pods(build, "").await).await;
    let mut again = server.watch_pods(build, &number).await;
    assert!(again.next().now_or_never().is_none());
    server.set_pods(Some(vec![pod("Running")]));
    assert_eq!(event(&mut again).await.2, shown("Running"));
    let mut late = server.watch_pods(build, &number).await;
    assert_eq!(event(&mut late).await.2, shown("Running"));
}
