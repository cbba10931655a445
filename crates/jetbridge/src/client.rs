//! A client of a server: the address and token that `fly login` saved, or a local user's name and password.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::cli::ServerOptions;
use crate::password;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The public client of Concourse's command line, which has no secret.
const FLY: (&str, &str) = ("fly", "Zmx5");

pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// A target of `fly`, as it saves them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Target {
    api: String,
    token: String,
    insecure: bool,
    ca_cert: String,
}

impl Client {
    pub(crate) async fn connect(options: &ServerOptions) -> anyhow::Result<Self> {
        if let (Some(url), Some(name)) = (&options.url, &options.username) {
            let password = password::of(name, options.password.as_deref())?;
            let http = http(&Target::default())?;
            let url = url.trim_end_matches('/').to_owned();
            let token = login(&http, &url, name, &password).await?;
            return Ok(Self { http, url, token });
        }
        let Some(name) = &options.target else {
            bail!("say which server: -t TARGET as with fly, or --url and --username");
        };
        let path = flyrc()?;
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("read {}; log in with `fly -t {name} login` first", path.display())
        })?;
        let target = target(&text, name).with_context(|| path.display().to_string())?;
        let (http, url) = (http(&target)?, target.api.trim_end_matches('/').to_owned());
        Ok(Self { http, url, token: target.token })
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(&self.token)
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await.with_context(|| format!("ask {}", self.url))?;
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            bail!("{} does not know you: log in again", self.url);
        }
        let text = body(answer).await?;
        if !status.is_success() {
            let problem: Value = serde_json::from_str(&text).unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or_else(|| text.trim());
            bail!("{} refuses: {status}: {detail}", self.url);
        }
        serde_json::from_str(&text).with_context(|| format!("{} answers no JSON", self.url))
    }
}

async fn body(answer: Response) -> anyhow::Result<String> {
    answer.text().await.context("read the server's answer")
}

fn http(target: &Target) -> anyhow::Result<reqwest::Client> {
    let mut builder =
        reqwest::Client::builder().timeout(PATIENCE).danger_accept_invalid_certs(target.insecure);
    if !target.ca_cert.is_empty() {
        let certificate = Certificate::from_pem(target.ca_cert.as_bytes());
        builder = builder.add_root_certificate(certificate.context("the target's ca_cert")?);
    }
    builder.build().context("prepare to speak HTTP")
}

async fn login(
    http: &reqwest::Client,
    url: &str,
    name: &str,
    password: &str,
) -> anyhow::Result<String> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "password")
        .append_pair("username", name)
        .append_pair("password", password)
        .append_pair("scope", "openid profile email federated:id groups");
    let request = http
        .post(format!("{url}/sky/issuer/token"))
        .basic_auth(FLY.0, Some(FLY.1))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.finish());
    let answer = request.send().await.with_context(|| format!("log in at {url}"))?;
    let status = answer.status();
    let answer: Value = serde_json::from_str(&body(answer).await?).unwrap_or(Value::Null);
    match answer["access_token"].as_str() {
        Some(token) => Ok(token.to_owned()),
        None => bail!("{url} does not let `{name}` in ({status}): check the name and password"),
    }
}

/// Where `fly` keeps its targets.
fn flyrc() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("FLY_HOME").or_else(|| std::env::var_os("HOME"));
    let home = home.context("neither FLY_HOME nor HOME says where .flyrc is")?;
    Ok(PathBuf::from(home).join(".flyrc"))
}

fn target(text: &str, name: &str) -> anyhow::Result<Target> {
    let file = jb_yaml::parse(text).map_err(|error| anyhow::anyhow!("{error}"))?.to_json();
    let target = &file["targets"][name];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = Target {
        api: text(&target["api"]),
        token: text(&target["token"]["value"]),
        insecure: target["insecure"].as_bool().unwrap_or(false),
        ca_cert: text(&target["ca_cert"]),
    };
    if found.api.is_empty() {
        bail!("there is no target `{name}`: log in with `fly -t {name} login -c URL`");
    }
    if found.token.is_empty() {
        bail!("the target `{name}` is not logged in: `fly -t {name} login`");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn targets_are_read_as_fly_saves_them() {
        let text = "targets:\n  ci:\n    api: https://ci.example\n    team: main\n    \
                    token:\n      type: bearer\n      value: abc\n  out:\n    api: http://x\n";
        let expected = Target {
            api: "https://ci.example".to_owned(),
            token: "abc".to_owned(),
            ..Target::default()
        };
        assert_eq!(target(text, "ci").unwrap(), expected);
        assert!(target(text, "out").unwrap_err().to_string().contains("not logged in"));
        assert!(target(text, "none").unwrap_err().to_string().contains("no target `none`"));
    }
}
