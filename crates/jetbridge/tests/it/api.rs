//! The API as `fly` calls it.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::server::{PATIENCE, until};

pub fn client() -> reqwest::Client {
    // A second installation is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().build().unwrap()
}

/// A logged-in client.
pub struct Api {
    client: reqwest::Client,
    pub url: String,
    pub token: String,
}

/// A whole answer.
pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl Api {
    pub async fn login(url: &str, user: &str, password: &str) -> Self {
        let client = client();
        let scope = "openid+profile+email+federated%3Aid+groups";
        let answer = client
            .post(format!("{url}/sky/issuer/token"))
            .header("authorization", format!("Basic {}", STANDARD.encode("fly:Zmx5")))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("grant_type=password&password={password}&scope={scope}&username={user}"))
            .send()
            .await
            .unwrap();
        let answer: Value = answer.error_for_status().unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        Self { client, url: url.to_owned(), token }
    }

    /// A client that logged in before, with connections of its own.
    pub fn with_token(url: &str, token: &str) -> Self {
        Self { client: client(), url: url.to_owned(), token: token.to_owned() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}/api/v1{path}", self.url))
            .header("authorization", format!("Bearer {}", self.token))
    }

    pub async fn send(request: RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        Answer { status, body: answer.bytes().await.unwrap().to_vec() }
    }

    async fn good(request: RequestBuilder) -> Answer {
        let answer = Self::send(request).await;
        assert!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        answer
    }

    pub async fn get(&self, path: &str) -> Value {
        Self::good(self.request(Method::GET, path)).await.json()
    }

    pub async fn put(&self, path: &str) -> Answer {
        Self::good(self.request(Method::PUT, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Self::good(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Value {
        Self::good(self.request(Method::POST, path).json(body)).await.json()
    }

    /// Sets a pipeline, from the version before if there is one.
    pub async fn try_set_pipeline(&self, name: &str, yaml: &str) -> Answer {
        let path = format!("/teams/main/pipelines/{name}/config");
        let request = self.request(Method::PUT, &path).header("content-type", "application/x-yaml");
        Self::send(request.body(yaml.to_owned())).await
    }

    /// Sets a new pipeline and lets it run.
    pub async fn set_pipeline(&self, name: &str, yaml: &str) {
        let answer = self.try_set_pipeline(name, yaml).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        self.put(&format!("/teams/main/pipelines/{name}/unpause")).await;
    }

    pub async fn trigger(&self, pipeline: &str, job: &str) -> i64 {
        let path = format!("/teams/main/pipelines/{pipeline}/jobs/{job}/builds");
        self.post(&path, &Value::Null).await["id"].as_i64().unwrap()
    }

    /// The build of that name once the server made it by itself.
    pub async fn build(&self, pipeline: &str, job: &str, name: &str) -> i64 {
        let path = format!("/teams/main/pipelines/{pipeline}/jobs/{job}/builds");
        until(&format!("build {name} of {job}"), async || {
            let builds = self.get(&path).await;
            let found = builds.as_array().unwrap().iter().find(|build| build["name"] == name);
            found.and_then(|build| build["id"].as_i64())
        })
        .await
    }

    /// Everything a build says from an event on, until it ends or `enough` was said.
    pub async fn events_until(
        &self,
        build: i64,
        after: Option<u64>,
        mut enough: impl FnMut(&str) -> bool,
    ) -> String {
        self.read_stream(build, "events", after, Some(&mut enough)).await
    }

    /// The transcript of a build that ends.
    pub async fn transcript(&self, build: i64) -> String {
        self.read_stream(build, "transcript", None, None).await
    }

    async fn read_stream(
        &self,
        build: i64,
        which: &str,
        after: Option<u64>,
        mut enough: Option<&mut dyn FnMut(&str) -> bool>,
    ) -> String {
        let mut request = self.request(Method::GET, &format!("/builds/{build}/{which}"));
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let mut answer = request.send().await.unwrap().error_for_status().unwrap();
        let mut stream = Vec::new();
        let read = async {
            while let Ok(Some(chunk)) = answer.chunk().await {
                stream.extend_from_slice(&chunk);
                // The server keeps the stream open after the end; clients leave.
                let ended = stream.ends_with(b"event: end\ndata\n\n");
                // A long stream is not read anew with each of its pieces unless somebody wants it.
                let mut is_enough = || {
                    enough.as_mut().is_some_and(|enough| enough(&String::from_utf8_lossy(&stream)))
                };
                if ended || is_enough() {
                    return;
                }
            }
        };
        let read = tokio::time::timeout(PATIENCE, read).await;
        assert!(read.is_ok(), "build {build} did not end: {}", String::from_utf8_lossy(&stream));
        String::from_utf8(stream).unwrap()
    }

    /// The whole stream of a build's events.
    pub async fn stream(&self, build: i64) -> String {
        self.read_stream(build, "events", None, None).await
    }

    /// The status a build ended with, and its log.
    pub async fn ended(&self, build: i64) -> (String, String) {
        let log = log_of(&events_of(&self.stream(build).await));
        let build = self.get(&format!("/builds/{build}")).await;
        (build["status"].as_str().unwrap().to_owned(), log)
    }

    pub async fn succeeded(&self, build: i64) -> String {
        let (status, log) = self.ended(build).await;
        assert_eq!(status, "succeeded", "{log}");
        log
    }

    /// Uploads files as `fly execute` does; returns the artifact's id.
    pub async fn upload(&self, files: &[(&str, &str)]) -> i64 {
        let mut archive = tar::Builder::new(gzip());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            archive.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        let body = archive.into_inner().unwrap().finish().unwrap();
        let answer = self.upload_archive(body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        answer.json()["id"].as_i64().unwrap()
    }

    pub async fn upload_archive(&self, body: Vec<u8>) -> Answer {
        let request = self.request(Method::POST, "/teams/main/artifacts?platform=linux");
        Self::send(request.header("content-type", "application/octet-stream").body(body)).await
    }

    /// The files of an artifact with their contents, by name.
    pub async fn download(&self, artifact: i64) -> Vec<(String, String)> {
        let request = self.request(Method::GET, &format!("/teams/main/artifacts/{artifact}"));
        let body = Self::good(request).await.body;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(body.as_slice()));
        let mut files = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.header().entry_type().is_file() {
                let name = entry.path().unwrap().to_string_lossy().into_owned();
                let mut content = String::new();
                entry.read_to_string(&mut content).unwrap();
                files.push((name.trim_start_matches("./").to_owned(), content));
            }
        }
        files.sort();
        files
    }
}

pub fn gzip() -> flate2::write::GzEncoder<Vec<u8>> {
    flate2::write::GzEncoder::new(Vec::new(), Compression::fast())
}

pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = gzip();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The events of a stream, without its end.
pub fn events_of(stream: &str) -> Vec<Value> {
    stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

pub fn log_of(events: &[Value]) -> String {
    events
        .iter()
        .filter(|event| event["event"] == "log" || event["event"] == "error")
        .map(|event| {
            let data = &event["data"];
            data["payload"].as_str().or_else(|| data["message"].as_str()).unwrap_or_default()
        })
        .collect()
}
