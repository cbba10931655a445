//! Metrics as Prometheus reads them, after builds whose facts are known.

use std::collections::BTreeMap;

use crate::server::{Server, free_port, until};

const PIPELINE: &str = r#"
resources:
- name: source
  type: mock
  source: {initial_version: "1"}
jobs:
- name: good
  plan:
  - get: source
  - task: do
    config:
      platform: linux
      inputs: [{name: source}]
      outputs: [{name: made}]
      run: {path: sh, args: [-ec, "echo 1 > made/it"]}
- name: bad
  plan:
  - task: fail
    config: {platform: linux, run: {path: "false"}}
"#;

/// Values by the names and labels of their series.
pub struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    pub async fn of(url: &str) -> Self {
        let answer = crate::api::client().get(url).send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        let text = answer.error_for_status().unwrap().text().await.unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self(series.collect())
    }

    /// Zero for what was never counted.
    pub fn value(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    #[track_caller]
    pub fn is(&self, series: &str, value: f64) {
        let near: Vec<_> = self.0.iter().filter(|(name, _)| same_metric(name, series)).collect();
        assert_eq!(self.0.get(series), Some(&value), "{series}; there is {near:?}");
    }

    /// The sum over all series of a metric whose labels hold these.
    pub fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        let all = self.0.iter().filter(|(name, _)| same_metric(name, metric));
        let all = all.filter(|(name, _)| labels.iter().all(|label| name.contains(label)));
        all.map(|(_, value)| value).sum()
    }
}

fn same_metric(one: &str, other: &str) -> bool {
    let name = |series: &str| series.split('{').next().unwrap_or_default().to_owned();
    name(one) == name(other)
}

/// Flags that have metrics served, and where.
pub fn served() -> ([String; 4], String) {
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}/metrics");
    let flags = ["--prometheus-bind-ip", "127.0.0.1", "--prometheus-bind-port", &port];
    (flags.map(str::to_owned), url)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_is_what_is_counted() {
    let (flags, url) = served();
    let Some(server) = Server::with(&flags.each_ref().map(String::as_str)).await else { return };
    let api = server.login().await;
    api.set_pipeline("p", PIPELINE).await;
    for _ in 0..2 {
        api.succeeded(api.trigger("p", "good").await).await;
    }
    let (status, log) = api.ended(api.trigger("p", "bad").await).await;
    assert_eq!(status, "failed", "{log}");
    // The end of a build is told before its driver is done with it.
    let scrape = until("no build runs", async || {
        let scrape = Scrape::of(&url).await;
        let running = scrape.value("concourse_builds_running")
            + scrape.value("concourse_builds_check_running");
        (running == 0.0 && scrape.value("concourse_builds_finished_total") == 3.0).then_some(scrape)
    });
    let scrape = scrape.await;
    let job = |job: &str| format!(r#"job="{job}",pipeline="p""#);
    scrape.is("concourse_builds_started_total", 3.0);
    scrape.is("concourse_builds_succeeded_total", 2.0);
    scrape.is("concourse_builds_failed_total", 1.0);
    scrape.is("concourse_builds_errored_total", 0.0);
    let finished =
        format!(r#"concourse_builds_finished{{{},status="succeeded",team="main"}}"#, job("good"));
    scrape.is(&finished, 2.0);
    let count = format!(r#"concourse_builds_duration_seconds_count{{{},team="main"}}"#, job("bad"));
    scrape.is(&count, 1.0);
    let latest = r#"concourse_builds_latest_completed_build_status{jobName="bad",pipelineName="p",teamName="main"}"#;
    scrape.is(latest, 1.0);
    // The second build's version was there already.
    scrape.is("concourse_caches_get_step_cache_hits", 1.0);
    let checks = scrape.value("concourse_builds_check_started_total");
    assert!(checks >= 1.0, "{checks}");
    scrape.is("concourse_builds_check_finished_total", checks);
    let well = scrape.value(r#"concourse_lidar_checks_finished_total{status="success"}"#);
    assert!(well >= 1.0 && well <= checks, "{well} of {checks}");
    let waits = |kind: &str| {
        let labels = [format!(r#"type="{kind}""#), r#"teamName="main""#.to_owned()];
        let labels = labels.each_ref().map(String::as_str);
        scrape.sum("concourse_steps_wait_duration_count", &labels)
    };
    assert_eq!((waits("task"), waits("get")), (3.0, 1.0));
    assert_eq!(scrape.sum("concourse_steps_waiting", &[]), 0.0);
    assert!(scrape.value("concourse_jobs_scheduled_total") >= 3.0);
    scrape.is("concourse_jobs_scheduling", 0.0);
    let triggers = r#"concourse_http_responses_duration_seconds_count{method="POST",route="CreateJobBuild",status="200"}"#;
    scrape.is(triggers, 3.0);
    assert_eq!(
        scrape.sum("concourse_http_responses_duration_seconds_count", &["BuildEvents"]),
        0.0
    );
    assert!(scrape.value("concourse_db_queries_total") > 50.0);
    assert!(scrape.sum("concourse_db_connections", &[]) >= 1.0);
    assert_eq!(scrape.sum("concourse_workers_registered", &[r#"state="running""#]), 1.0);
    assert!(scrape.sum("concourse_workers_volumes", &[]) >= 1.0);
    let created = [r#"operation="create""#, r#"result="ok""#];
    assert!(scrape.sum("jetbridge_container_operations_seconds_count", &created) >= 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_on_their_own_port_only() {
    let (flags, url) = served();
    let server = Server::launch(&flags.each_ref().map(String::as_str), &[], true).await;
    assert!(Scrape::of(&url).await.value("concourse_db_queries_total") > 0.0);
    let client = crate::api::client();
    let status = client.get(format!("{}/metrics", server.url)).send().await.unwrap().status();
    assert_eq!(status, reqwest::StatusCode::NOT_FOUND);
}
