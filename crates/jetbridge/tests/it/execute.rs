//! What `fly execute` uploads, and what it must not do to the machine.

use std::io::Write as _;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::api::{Api, gzip, gzipped};
use crate::server::Server;

/// A task over an upload, without an image.
fn plan(artifact: i64, script: &str) -> Value {
    json!({"id": "3", "do": [
        {"id": "1", "artifact_input": {"artifact_id": artifact, "name": "in"}},
        {"id": "2", "task": {"name": "one-off", "config": {
            "platform": "linux",
            "inputs": [{"name": "in"}],
            "run": {"path": "sh", "args": ["-ec", script]},
        }}},
    ]})
}

async fn execute(api: &Api, artifact: i64, script: &str) -> (String, String) {
    let build = api.post("/teams/main/builds", &plan(artifact, script)).await;
    api.ended(build["id"].as_i64().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_the_tasks_input_and_stays_as_it_was() {
    let Some(server) = Server::start().await else { return };
    let api = server.login().await;
    let files = [("a.txt", "one\n"), ("deep/er/b.txt", "two\n")];
    let artifact = api.upload(&files).await;
    let script = "cat in/a.txt in/deep/er/b.txt; echo changed > in/a.txt";
    let (status, log) = execute(&api, artifact, script).await;
    assert_eq!((status.as_str(), log.as_str()), ("succeeded", "one\r\ntwo\r\n"));
    // Another build gets what was uploaded, not what the first made of it.
    let (_, log) = execute(&api, artifact, "cat in/a.txt").await;
    assert_eq!(log, "one\r\n");
    let expected = files.map(|(name, content)| (name.to_owned(), content.to_owned()));
    assert_eq!(api.download(artifact).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_upload_reaches_nothing_outside() {
    let Some(server) = Server::start().await else { return };
    let api = server.login().await;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("escaped");
    let climbing = format!("../../../../../../../..{}", target.display());
    for name in [climbing.as_str(), target.to_str().unwrap()] {
        let answer = api.upload_archive(entry(name, b"owned\n")).await;
        assert!(!target.exists(), "{name} was written: {}", answer.text());
    }
    // A link to the outside, and then a file through it.
    let mut archive = tar::Builder::new(gzip());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    own(&mut link);
    archive.append_link(&mut link, "door", outside.path()).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(6);
    own(&mut header);
    archive.append_data(&mut header, "door/escaped", &b"owned\n"[..]).unwrap();
    let answer = api.upload_archive(archive.into_inner().unwrap().finish().unwrap()).await;
    assert!(!target.exists(), "written through a link: {}", answer.text());
    // What is no archive at all, or only half of one, is refused and said so.
    let half = entry("a.txt", &[b'x'; 4096]);
    for (what, body) in [
        ("no gzip", b"not an archive".to_vec()),
        ("no tar", gzipped(b"not an archive either, but long enough to look at")),
        ("half", half[..half.len() / 2].to_vec()),
    ] {
        let answer = api.upload_archive(body).await;
        assert!(!answer.status.is_success(), "{what}: {}", answer.text());
    }
    // The server is as well as before.
    let artifact = api.upload(&[("a.txt", "fine\n")]).await;
    assert_eq!(execute(&api, artifact, "cat in/a.txt").await.1, "fine\r\n");
}

fn own(header: &mut tar::Header) {
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
}

/// An archive of one file whose name is written as it is, unlike what the library lets through.
fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(content.len() as u64);
    own(&mut header);
    header.set_cksum();
    let mut encoder = gzip();
    encoder.write_all(header.as_bytes()).unwrap();
    encoder.write_all(content).unwrap();
    let padding = (512 - content.len() % 512) % 512 + 1024;
    encoder.write_all(&vec![0; padding]).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_belong_to_their_team() {
    let options = ["--add-local-user", "guest:guest"];
    let Some(server) = Server::with(&options).await else { return };
    let api = server.login().await;
    let artifact = api.upload(&[("a.txt", "secret\n")]).await;
    let team = json!({"auth": {"owner": {"users": ["local:guest"], "groups": []}}});
    let request = api.request(reqwest::Method::PUT, "/teams/guests").json(&team);
    assert_eq!(Api::send(request).await.status, StatusCode::CREATED);
    let guest = Api::login(&server.url, "guest", "guest").await;
    for team in ["main", "guests"] {
        let path = format!("/teams/{team}/artifacts/{artifact}");
        let answer = Api::send(guest.request(reqwest::Method::GET, &path)).await;
        assert!(answer.status.is_client_error(), "{team}: {}", answer.status);
    }
    let request = guest.request(reqwest::Method::POST, "/teams/guests/builds");
    let answer = Api::send(request.json(&plan(artifact, "cat in/a.txt"))).await;
    if answer.status.is_success() {
        let (status, log) = guest.ended(answer.json()["id"].as_i64().unwrap()).await;
        assert_eq!(status, "errored", "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
}
