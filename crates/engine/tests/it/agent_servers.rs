//! MCP servers that are programs, beside agents: their containers and images.

use std::sync::Arc;

use jb_engine::HijackError;
use jb_engine::agents::Recordings;
use jb_model::BuildStatus;
use jb_runtime::fake::FakeRuntime;
use jb_runtime::{ContainerKind, ContainerSpec, Image, MountSource, Network};
use serde_json::Value;

use crate::agents::{PIPELINE, allow, server, transcript};
use crate::server::Server;

#[tokio::test]
async fn servers_that_are_programs_have_containers_of_their_own() {
    let mut server = server().await;
    let build = server.trigger("programs").await;
    server.logged(build, "is it ((redacted))?").await;
    server.logged(build, "the MCP server `weak`: its container ended with status 101").await;
    let spec = async |step| {
        let handle = server.container(build, step).await;
        server.fake.spec(&handle).unwrap()
    };
    let (db_spec, wiki) = (spec("a/db").await, spec("a/wiki").await);
    let (gateway, agent) = (spec("a/gateway").await, spec("a").await);
    assert_eq!((db_spec.kind, db_spec.privileged), (ContainerKind::Mcp, false));
    assert_eq!(db_spec.network, Network::Outbound);
    assert_eq!(db_spec.image, agent.image);
    assert!(matches!(wiki.image, Image::Volume(_)));
    // Each has its socket together with the gateway, and the agent none of them.
    let ends = |spec: &ContainerSpec| {
        let links = spec.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Link(link) => Some((mount.path.clone(), link.serves)),
            _ => None,
        });
        links.collect::<Vec<_>>()
    };
    let end = |path: &str, serves| (path.to_owned(), serves);
    let (own, near) = ("/run/jetbridge-mcp/db", "/run/jetbridge");
    assert_eq!(ends(&db_spec), [end(own, true)]);
    assert_eq!(ends(&gateway)[..2], [end(near, true), end(own, false)]);
    assert_eq!(ends(&agent), [end(near, false)]);
    let refused = server.engine().hijack(&db_spec.handle).await;
    assert!(matches!(refused, Err(HijackError::NotFound)));
    assert!(!format!("{db_spec:?}{gateway:?}{agent:?}").contains("d0cs-t0ken"));

    // They are found again, and nothing of them is said twice.
    server.crash().await;
    server.fake.release("x");
    server.start(None);
    assert_eq!(server.ended(build).await, BuildStatus::Succeeded, "{}", server.log(build).await);
    let transcript = transcript(&server, build).await;
    let told = |name: &str| {
        let of = transcript.iter().filter(|e| e["source"] == "server" && e["server"] == name);
        let texts: Vec<&str> = of.map(|entry| entry["text"].as_str().unwrap()).collect();
        let [text] = texts[..] else { panic!("{texts:?}") };
        serde_json::from_str::<Value>(text).unwrap()
    };
    let db = told("db");
    assert_eq!(db["told"]["command"], serde_json::json!(["pg-mcp", "--host=((redacted))"]));
    assert_eq!(db["env"], serde_json::json!([["PGPASSWORD", "((redacted))"]]));
    assert_eq!(told("wiki")["env"], serde_json::json!([["A", "b"]]));
    assert_eq!(told("wiki")["told"]["socket"], "/run/jetbridge-mcp/wiki/server.sock");
    let harness: Vec<&Value> = transcript.iter().filter(|e| e["source"] == "harness").collect();
    assert_eq!(harness[1]["text"].as_str().unwrap().matches("server").count(), 3);
    assert!(!server.log(build).await.contains("d0cs-t0ken"));
    for spec in [&db_spec, &wiki] {
        let started = server.fake.started();
        let times = started.iter().filter(|(container, _)| *container == spec.handle).count();
        assert_eq!(times, 1, "{}", spec.handle);
    }
    // Nobody looks into the containers of a build that succeeded.
    server.until_nothing_runs(build).await;
}

#[tokio::test]
async fn the_images_of_servers_are_fetched_as_those_of_tasks_are() {
    let server = server().await;
    let build = server.trigger("fetched").await;
    server.logged(build, "it works").await;
    let mut images = Vec::new();
    for step in ["a", "a/db", "a/wiki"] {
        let spec = server.fake.spec(&server.container(build, step).await).unwrap();
        let Image::Volume(volume) = spec.image else { panic!("{step}: {:?}", spec.image) };
        images.push(volume);
    }
    images.dedup();
    assert_eq!(images.len(), 3);
    server.fake.release("x");
    let status = server.ended(build).await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    // In its own type's image and with that type's defaults one was found; what another is was written.
    let said = server.said(build).await;
    let events = |kind: &str| said.iter().filter(|line| line.starts_with(kind)).count();
    assert_eq!((events("image-check "), events("image-get ")), (2, 3), "{said:#?}");
    for version in ["own", "docs.example", "pinned"] {
        let found = format!(r#""version":{{"version":"{version}"}}"#);
        assert!(said.iter().any(|line| line.contains(&found)), "{found}: {said:#?}");
    }
    let entries = transcript(&server, build).await;
    let db = entries.iter().find(|entry| entry["server"] == "db").unwrap();
    let text: Value = serde_json::from_str(db["text"].as_str().unwrap()).unwrap();
    assert_eq!(text["env"], serde_json::json!([["FROM", "image"], ["A", "b"]]));

    let (build, status) = server.run("unfetched").await;
    assert_eq!(status, BuildStatus::Errored);
    assert!(server.log(build).await.contains("no such image"));
    assert_eq!(server.errors(build).await, ["image check failed"]);
}

/// No server is started, so nothing is needed to start one.
#[tokio::test]
async fn from_a_recording_no_image_of_a_server_is_fetched() {
    let mut server = Server::stopped(FakeRuntime::new(), PIPELINE).await;
    allow(&mut server);
    let header = r#"{"format":"jetbridge-agent-recording","version":1,"provider":"anthropic","models":{"m":{"input":0,"output":0,"cache_read":0,"cache_write":0}}}"#;
    let recordings = [("a".to_owned(), header.to_owned())].into();
    server.agents.recordings = Recordings::Replayed(Arc::new(recordings));
    server.start(None);
    let (build, status) = server.run("unfetched").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
}
