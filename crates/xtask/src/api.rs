//! The few API calls the tasks need.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use serde_json::Value;

/// A logged-in client of one server.
pub(crate) struct Api {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Api {
    pub(crate) async fn login(url: &str, user: &str, password: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().build()?;
        let fly = base64::engine::general_purpose::STANDARD.encode("fly:Zmx5");
        let body = format!(
            "grant_type=password&username={user}&password={password}&scope=openid+profile+email+federated%3Aid+groups"
        );
        let answer = client
            .post(format!("{url}/sky/issuer/token"))
            .header("authorization", format!("Basic {fly}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await?;
        if !answer.status().is_success() {
            bail!("logging in as {user}: {}", answer.status());
        }
        let answer: Value = answer.json().await?;
        let token = answer["access_token"].as_str().context("no access token")?.to_owned();
        Ok(Self { client, url: url.to_owned(), token })
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}/api/v1{path}", self.url))
            .header("authorization", format!("bearer {}", self.token))
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        checked(self.request(reqwest::Method::GET, path)).await
    }

    pub(crate) async fn put(&self, path: &str) -> anyhow::Result<Value> {
        checked(self.request(reqwest::Method::PUT, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> anyhow::Result<Value> {
        let request = self.request(reqwest::Method::POST, path);
        checked(request.header("content-type", "application/json").body(body.to_owned())).await
    }

    pub(crate) async fn set_pipeline(&self, name: &str, yaml: &str) -> anyhow::Result<()> {
        let path = format!("/teams/main/pipelines/{name}/config");
        let request = self
            .request(reqwest::Method::PUT, &path)
            .header("content-type", "application/x-yaml")
            .body(yaml.to_owned());
        checked(request).await?;
        Ok(())
    }

    /// Reads a build's events as they come, until there are no more or `take` says that it is enough.
    pub(crate) async fn events(
        &self,
        build: i64,
        mut take: impl FnMut(&Value) -> bool,
    ) -> anyhow::Result<()> {
        read_events(self.open_events(build).await?, &mut take).await
    }

    /// Reads what a build's agents say and do as it comes, until there is no more.
    pub(crate) async fn transcript(
        &self,
        build: i64,
        mut take: impl FnMut(&Value),
    ) -> anyhow::Result<()> {
        let path = format!("/builds/{build}/transcript");
        let answer = self.request(reqwest::Method::GET, &path).send().await?.error_for_status()?;
        read_events(answer, &mut |entry| {
            take(entry);
            true
        })
        .await
    }

    /// The whole stream of a build's events, as it came. Read by hand, so that a client built
    /// without optimisation is not what is measured.
    pub(crate) async fn raw_events(&self, build: i64) -> anyhow::Result<Vec<u8>> {
        let address = self.url.trim_start_matches("http://").to_owned();
        let request = format!(
            "GET /api/v1/builds/{build}/events HTTP/1.0\r\nHost: {address}\r\nAuthorization: bearer {}\r\n\r\n",
            self.token
        );
        tokio::task::spawn_blocking(move || {
            let mut connection = std::net::TcpStream::connect(&address)?;
            connection.write_all(request.as_bytes())?;
            let mut all = Vec::with_capacity(256 << 20);
            let mut buffer = vec![0; 256 << 10];
            loop {
                let n = connection.read(&mut buffer)?;
                all.extend_from_slice(&buffer[..n]);
                if n == 0
                    || all[all.len().saturating_sub(64)..]
                        .windows(10)
                        .any(|part| part == b"event: end")
                {
                    return Ok(all);
                }
            }
        })
        .await?
    }

    async fn open_events(&self, build: i64) -> anyhow::Result<reqwest::Response> {
        let request = self.request(reqwest::Method::GET, &format!("/builds/{build}/events"));
        Ok(request.send().await?.error_for_status()?)
    }

    /// Follows a build's events to its end, printing its log as it comes; returns the final status.
    pub(crate) async fn follow(&self, build: i64) -> anyhow::Result<String> {
        let mut answer = self.open_events(build).await?;
        let mut pending = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
                let message: Vec<u8> = pending.drain(..end + 2).collect();
                if let Some(status) = show(&String::from_utf8_lossy(&message))? {
                    return Ok(status);
                }
            }
        }
        bail!("the event stream of build {build} ended before the build did")
    }
}

async fn checked(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let answer = request.send().await?;
    let (status, url) = (answer.status(), answer.url().clone());
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("{url}: {status}: {text}");
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// Prints what an event has to say; returns the status when it is the last.
fn show(message: &str) -> anyhow::Result<Option<String>> {
    let Some(data) = message.lines().find_map(|line| line.strip_prefix("data: ")) else {
        return Ok(None);
    };
    let event: Value = serde_json::from_str(data)?;
    let data = &event["data"];
    match event["event"].as_str().unwrap_or_default() {
        "log" => {
            print!("{}", data["payload"].as_str().unwrap_or_default());
            std::io::stdout().flush()?;
        }
        "error" => println!("error: {}", data["message"].as_str().unwrap_or_default()),
        "start-task" => println!("\x1b[1mrunning {}\x1b[0m", data["config"]["run"]["path"]),
        "status" => {
            let status = data["status"].as_str().unwrap_or_default();
            if status != "started" {
                return Ok(Some(status.to_owned()));
            }
        }
        _ => {}
    }
    Ok(None)
}

/// Reads a stream of events until it ends or `take` says that it is enough. One without data, as the last is, is none.
async fn read_events(
    mut answer: reqwest::Response,
    take: &mut impl FnMut(&Value) -> bool,
) -> anyhow::Result<()> {
    let mut pending = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        pending.extend_from_slice(&chunk);
        let whole = pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in pending[..whole].split(|byte| *byte == b'\n') {
            if line == b"event: end" {
                return Ok(());
            }
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            if !take(&serde_json::from_slice(data)?) {
                return Ok(());
            }
        }
        pending.drain(..whole);
    }
    Ok(())
}
