//! What `fly execute` uploads and downloads.

use std::io::{Read as _, Write as _};

use axum::http::StatusCode;
use flate2::Compression;
use jb_model::VolumeHandle;

use crate::server::Server;

#[tokio::test]
async fn archives_are_unpacked_on_their_way_in_and_packed_on_their_way_out() {
    let server = Server::new().await;
    let token = server.login("test").await;
    let tar: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&tar).unwrap();
    let upload = "/api/v1/teams/main/artifacts?platform=linux";
    let answer = server.post(upload).token(&token).body(packed.finish().unwrap()).send().await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(
        answer.text(),
        "{\"id\":1,\"name\":\"\",\"build_id\":0,\"created_at\":1795228000}\n"
    );
    let volume = VolumeHandle::new("upload-1");
    assert_eq!(server.engine.volumes.lock().unwrap()[&volume], tar);
    let download = |team: &str| server.get(&format!("/api/v1/teams/{team}/artifacts/1"));
    let answer = download("main").token(&token).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, tar);
    // Another team does not have it.
    let auth = serde_json::json!({"owner": {"users": ["local:other"]}});
    server.store.save_team("away", &auth, crate::server::NOW).await.unwrap();
    let other = server.login("other").await;
    assert_eq!(download("away").token(&other).send().await.status, StatusCode::NOT_FOUND);
    let garbage = server.post(upload).token(&token).body("no archive").send().await;
    assert_eq!(garbage.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn volumes_of_resources_always_say_what_they_hold() {
    let server = Server::new().await;
    let token = server.login("test").await;
    let new = |name: &str, kind: &str| jb_store::NewVolume {
        handle: VolumeHandle::new(name),
        kind: kind.into(),
        worker: "vm".into(),
        team: None,
        build: None,
        container: None,
        job: None,
        step_name: "src".into(),
        path: "/tmp/build/get".into(),
        parent: None,
    };
    for volume in [new("a", "resource"), new("b", "resource"), new("c", "artifact")] {
        server.store.create_volume(&volume, crate::server::NOW).await.unwrap();
    }
    let fetched = jb_store::NewCache {
        key: "k".into(),
        config_hash: "h".into(),
        type_name: "git".into(),
        version: jb_model::Version::from([("ref".into(), "1".into())]),
        metadata: Vec::new(),
        volume: VolumeHandle::new("a"),
    };
    server.store.save_cache(&fetched, crate::server::NOW).await.unwrap();
    let listed = server.get("/api/v1/teams/main/volumes").token(&token).send().await.json();
    // `fly volumes` reads the version of every volume of this kind.
    assert_eq!(listed[0]["resource_type"]["version"]["ref"], "1", "{listed}");
    assert_eq!(listed[0]["resource_type"]["base_resource_type"]["name"], "git");
    assert!(listed[1]["resource_type"].is_object(), "one that is being fetched: {listed}");
    assert!(listed[2]["resource_type"].is_null());
}
