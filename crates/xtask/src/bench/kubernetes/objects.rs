//! The API server, spoken to as kubectl does.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cluster::certificates::ADMIN;
use crate::cluster::place::Place;

/// The administrator's access to one namespace.
pub(super) struct Objects {
    client: reqwest::Client,
    server: String,
    pub(super) namespace: String,
}

impl Objects {
    pub(super) fn new(place: &Place, namespace: &str) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = place.pki(file);
            std::fs::read(&path).with_context(|| format!("read {path}"))
        };
        let mut identity = read(&format!("{ADMIN}.key"))?;
        identity.extend(read(&format!("{ADMIN}.crt"))?);
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&read("ca.crt")?)?])
            .identity(reqwest::Identity::from_pem(&identity)?)
            .no_proxy()
            .build()?;
        Ok(Self { client, server: place.server(), namespace: namespace.to_owned() })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    fn of_namespace(&self, path: &str) -> String {
        self.url(&format!("/api/v1/namespaces/{}/{path}", self.namespace))
    }

    pub(super) async fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        answer(self.client.post(self.url(path)).json(object)).await
    }

    pub(super) async fn create_pod(&self, pod: &Value) -> anyhow::Result<Value> {
        answer(self.client.post(self.of_namespace("pods")).json(pod)).await
    }

    pub(super) async fn log(&self, pod: &str) -> anyhow::Result<String> {
        let url = self.of_namespace(&format!("pods/{pod}/log"));
        Ok(self.client.get(url).send().await?.error_for_status()?.text().await?)
    }

    pub(super) async fn pods(&self) -> anyhow::Result<Vec<String>> {
        let list = answer(self.client.get(self.of_namespace("pods"))).await?;
        let items = list["items"].as_array().into_iter().flatten();
        let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
        Ok(items.filter_map(name).collect())
    }

    /// Deletes all pods at once.
    pub(super) async fn delete_pods(&self) -> anyhow::Result<()> {
        let url = self.of_namespace("pods?gracePeriodSeconds=0");
        answer(self.client.delete(url)).await.map(drop)
    }

    pub(super) async fn delete_namespace(&self) -> anyhow::Result<()> {
        let url = self.url(&format!("/api/v1/namespaces/{}", self.namespace));
        answer(self.client.delete(url)).await.map(drop)
    }

    /// Every state of every pod from now on, until `take` says that it is enough. It may be told a state twice: an API
    /// server that has just started ends watches, and another begins with what is there.
    pub(super) async fn watch_pods(
        &self,
        patience: Duration,
        mut take: impl FnMut(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let watch = async {
            while !self.watch_once(&mut take).await? {}
            Ok(())
        };
        tokio::time::timeout(patience, watch).await.context("pods take too long")?
    }

    /// Until the API server ends the watch; whether it was enough.
    async fn watch_once(&self, take: &mut impl FnMut(&Value) -> bool) -> anyhow::Result<bool> {
        let url = self.of_namespace("pods?watch=true");
        let mut answer = self.client.get(url).send().await?.error_for_status()?;
        let mut pending = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line)?;
                if !take(&event["object"]) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let answer = request.send().await?;
    let (status, url) = (answer.status(), answer.url().clone());
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("{url}: {status}: {text}");
    }
    Ok(serde_json::from_str(&text)?)
}
