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
