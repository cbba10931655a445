//! Event streams: framing, following, resuming, and the end that keeps the line open.

use axum::body::BodyDataStream;
use axum::http::StatusCode;
use futures_util::{FutureExt as _, StreamExt as _};
use jb_model::{BuildId, BuildStatus};
use serde_json::{Value, json};

use crate::server::{NOW, Server};

/// A recorded stream as the events that the store would hold and the text that a client got.
fn recording(name: &str) -> (Vec<String>, String) {
    let path = format!("{}/tests/recordings/{name}.sse", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let stored = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| {
            let (event, _) = data.rsplit_once(",\"event_id\":").unwrap();
            format!("{event}}}")
        })
        .collect();
    (stored, text + "\n")
}

async fn started_build(server: &Server) -> BuildId {
    let team = server.store.team_by_name("main").await.unwrap().unwrap().id;
    let plan = json!({"id": "1", "do": []});
    server.store.create_started_build(team, None, &plan, None, NOW).await.unwrap().id
}

async fn append(server: &Server, build: BuildId, events: &[String]) {
    server.store.append_events(build, events, None, None).await.unwrap().unwrap();
}

async fn finish(server: &Server, build: BuildId) {
    server.store.finish_build(build, BuildStatus::Succeeded, None, NOW).await.unwrap();
}

async fn open(server: &Server, build: BuildId, last: Option<&str>) -> BodyDataStream {
    let token = server.login("test").await;
    let mut call = server.get(&format!("/api/v1/builds/{build}/events")).token(&token);
    if let Some(last) = last {
        call = call.header("Last-Event-ID", last);
    }
    let response = call.open().await;
    assert_eq!(response.status(), StatusCode::OK);
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    assert_eq!(header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(header("cache-control"), "no-cache, no-store, must-revalidate");
    assert_eq!(header("x-accel-buffering"), "no");
    assert_eq!(header("x-atc-stream-version"), "2.0");
    assert_eq!(header("x-concourse-version"), "8.2.5");
    response.into_body().into_data_stream()
}

/// Reads until the text ends with `end`.
async fn read_to(stream: &mut BodyDataStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.extend_from_slice(&stream.next().await.unwrap().unwrap());
    }
    String::from_utf8(text).unwrap()
}

const END: &str = "event: end\ndata\n\n";

#[tokio::test]
async fn streams_are_framed_as_recorded() {
    let server = Server::new().await;
    let mut seen = 0;
    let folder = format!("{}/tests/recordings", env!("CARGO_MANIFEST_DIR"));
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".sse") else { continue };
        let (events, text) = recording(name);
        let build = started_build(&server).await;
        append(&server, build, &events).await;
        finish(&server, build).await;
        let mut stream = open(&server, build, None).await;
        assert_eq!(read_to(&mut stream, END).await, text, "{name}");
        // The server does not hang up.
        assert!(stream.next().now_or_never().is_none(), "{name}");
        seen += 1;
    }
    assert!(seen >= 5);
}

#[tokio::test]
async fn a_stream_follows_its_build() {
    let server = Server::new().await;
    let (events, text) = recording("events-01-one-off--1-succeeded");
    let build = started_build(&server).await;
    let mut stream = open(&server, build, None).await;
    let mut seen = String::new();
    let (last, before) = events.split_last().unwrap();
    for event in before {
        append(&server, build, std::slice::from_ref(event)).await;
        seen += &read_to(&mut stream, "\n\n").await;
    }
    // Who reads how the build ended finds it ended.
    append(&server, build, std::slice::from_ref(last)).await;
    let read = async {
        let text = read_to(&mut stream, "\n\n").await;
        let record = server.store.build(build).await.unwrap().unwrap();
        assert!(record.status.is_final(), "{text}");
        text
    };
    let (text_of_last, ()) = tokio::join!(read, finish(&server, build));
    seen += &text_of_last;
    seen += &read_to(&mut stream, END).await;
    assert_eq!(seen, text);
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_event() {
    let server = Server::new().await;
    let (events, text) = recording("events-01-one-off--1-succeeded");
    let build = started_build(&server).await;
    append(&server, build, &events).await;
    finish(&server, build).await;
    let rest = text.find("id: 6\n").unwrap();
    let mut stream = open(&server, build, Some("5")).await;
    assert_eq!(read_to(&mut stream, END).await, text[rest..]);
    let token = server.login("test").await;
    let path = format!("/api/v1/builds/{build}/events");
    let call = server.get(&path).token(&token).header("Last-Event-ID", "five");
    assert_eq!(call.send().await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn packed_streams_are_flushed_as_they_grow() {
    let server = Server::new().await;
    let (events, text) = recording("events-01-one-off--1-succeeded");
    let build = started_build(&server).await;
    append(&server, build, &events[..3]).await;
    let token = server.login("test").await;
    let response = server
        .get(&format!("/api/v1/builds/{build}/events"))
        .token(&token)
        .header("Accept-Encoding", "gzip")
        .open()
        .await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut stream = response.into_body().into_data_stream();
    let mut packed = Vec::new();
    let first = text.find("id: 3\n").unwrap();
    packed.extend_from_slice(&stream.next().await.unwrap().unwrap());
    assert_eq!(unpacked(&packed), text[..first]);
    append(&server, build, &events[3..4]).await;
    packed.extend_from_slice(&stream.next().await.unwrap().unwrap());
    let second = text.find("id: 4\n").unwrap();
    assert_eq!(unpacked(&packed), text[..second]);
}

/// All that can be read of a gzip stream so far.
fn unpacked(packed: &[u8]) -> String {
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    std::io::Write::write_all(&mut decoder, packed).unwrap();
    std::io::Write::flush(&mut decoder).unwrap();
    String::from_utf8(decoder.get_ref().clone()).unwrap()
}

#[tokio::test]
async fn long_logs_come_in_bounded_pieces() {
    let server = Server::new().await;
    let build = started_build(&server).await;
    let line = |number: u32| {
        let payload = Value::from(format!("line {number} {}\n", "x".repeat(80)));
        format!(
            "{{\"data\":{{\"time\":1,\"origin\":{{\"id\":\"1\",\"source\":\"stdout\"}},\"payload\":{payload}}},\"event\":\"log\",\"version\":\"5.1\"}}"
        )
    };
    for start in (0..20_000).step_by(1000) {
        let events: Vec<String> = (start..start + 1000).map(line).collect();
        append(&server, build, &events).await;
    }
    finish(&server, build).await;
    let mut stream = open(&server, build, None).await;
    let (mut events, mut longest, mut last) = (0, 0, Vec::new());
    while !last.ends_with(END.as_bytes()) {
        last = stream.next().await.unwrap().unwrap().to_vec();
        longest = longest.max(last.len());
        events += last.windows(13).filter(|part| part == b"event: event\n").count();
    }
    assert_eq!(events, 20_000);
    assert!(longest < 1 << 20, "{longest}");
}

#[tokio::test]
async fn transcripts_follow_their_build_on_a_stream_of_their_own() {
    let server = Server::new().await;
    let build = started_build(&server).await;
    let append = async |entries: &[&str], from, upto| {
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        let position = jb_store::Position { key: "agent", from, upto };
        let said = jb_store::Transcribed { entries: &entries, ..Default::default() };
        server.store.append_transcript(build, said, None, position).await.unwrap();
    };
    append(&[r#"{"type":"prompt"}"#, r#"{"type":"text"}"#], 0, 2).await;
    let token = server.login("test").await;
    let open = async |last: Option<&str>| {
        let path = format!("/api/v1/builds/{build}/transcript");
        let mut call = server.get(&path).token(&token);
        if let Some(last) = last {
            call = call.header("Last-Event-ID", last);
        }
        call.open().await.into_body().into_data_stream()
    };
    let mut all = open(None).await;
    let first = "id: 0\nevent: transcript\ndata: {\"type\":\"prompt\"}\n\n";
    let second = "id: 1\nevent: transcript\ndata: {\"type\":\"text\"}\n\n";
    assert_eq!(read_to(&mut all, second).await, format!("{first}{second}"));
    let mut resumed = open(Some("0")).await;
    assert_eq!(read_to(&mut resumed, second).await, second);
    append(&[r#"{"type":"end"}"#], 2, 3).await;
    let third = "id: 2\nevent: transcript\ndata: {\"type\":\"end\"}\n\n";
    assert_eq!(read_to(&mut resumed, third).await, third);
    finish(&server, build).await;
    let end = "id: 3\nevent: end\ndata\n\n";
    assert_eq!(read_to(&mut resumed, end).await, end);
}
