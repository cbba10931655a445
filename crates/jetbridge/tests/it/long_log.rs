//! A step that says more than its runner keeps: the server may die in between, and all of it comes, once.

use reqwest::Method;
use serde_json::Value;

use crate::api::Api;
use crate::server::{PATIENCE, Server};

/// What the server may take in all, in KiB: a fraction of what goes through it.
const PEAK_KIB_MAX: u64 = 150 << 10;
/// What a journal may take at the end of a step, in MiB: its bound and what was read in one turn.
const JOURNAL_MIB_MAX: u64 = 70;

/// Lines of 100 bytes that are numbers, and what has come of them.
struct Lines {
    expected: usize,
    come: usize,
    /// The beginning of a line whose rest has not come.
    rest: String,
    journal_mib: Option<u64>,
    last_event: Option<String>,
}

impl Lines {
    fn take(&mut self, text: &str) {
        self.rest.push_str(text);
        let whole = self.rest.rfind('\n').map_or(0, |end| end + 1);
        for line in self.rest[..whole].lines() {
            if let Some(size) = line.strip_prefix("journal ") {
                self.journal_mib = Some(size.trim().parse().unwrap());
                continue;
            }
            self.come += 1;
            assert_eq!(line.trim_start_matches('0').trim_end().parse(), Ok(self.come));
        }
        self.rest.drain(..whole);
    }

    /// Follows a build's events from the last that came. False at the end of the build.
    async fn follow(&mut self, api: &Api, build: i64, until: usize) -> bool {
        let mut request = api.request(Method::GET, &format!("/builds/{build}/events"));
        if let Some(last) = &self.last_event {
            request = request.header("last-event-id", last);
        }
        let mut answer = request.send().await.unwrap().error_for_status().unwrap();
        let mut pending = Vec::new();
        while self.come < until {
            let Ok(Some(chunk)) = answer.chunk().await else { return true };
            pending.extend_from_slice(&chunk);
            let Some(end) = pending.windows(2).rposition(|end| end == b"\n\n") else { continue };
            let events = String::from_utf8(pending.drain(..end + 2).collect()).unwrap();
            for event in events.split_terminator("\n\n") {
                if event.lines().any(|line| line == "event: end") {
                    return false;
                }
                for field in event.lines() {
                    if let Some(data) = field.strip_prefix("data: ") {
                        let data: Value = serde_json::from_str(data).unwrap();
                        if data["event"] == "log" {
                            self.take(data["data"]["payload"].as_str().unwrap());
                        }
                    } else if let Some(id) = field.strip_prefix("id: ") {
                        self.last_event = Some(id.to_owned());
                    }
                }
            }
        }
        true
    }
}

/// More lines than a journal keeps; how many may be said by `JETBRIDGE_TEST_LOG_LINES`.
fn lines() -> usize {
    let told = std::env::var("JETBRIDGE_TEST_LOG_LINES").ok();
    told.map_or(800_000, |lines| lines.parse().unwrap())
}

/// Runs a step that says many lines, and kills the server when a third of them have come.
pub async fn comes_whole(server: &mut Server, journal: &str) {
    let lines = lines();
    let api = server.login().await;
    let script = format!("seq -f %099.0f {lines}; echo journal $(du -sm {journal} | cut -f1)");
    let run = format!("{{path: sh, args: [-ec, '{script}']}}");
    let pipeline = format!(
        "jobs: [{{name: j, plan: [{{task: t, config: {{platform: linux, run: {run}}}}}]}}]"
    );
    api.set_pipeline("p", &pipeline).await;
    let build = api.trigger("p", "j").await;
    let mut log = Lines {
        expected: lines,
        come: 0,
        rest: String::new(),
        journal_mib: None,
        last_event: None,
    };
    assert!(log.follow(&api, build, lines / 3).await);
    server.kill();
    server.start_again().await;
    let api = Api::with_token(&server.url, &api.token);
    let rest = async { while log.follow(&api, build, usize::MAX).await {} };
    tokio::time::timeout(5 * PATIENCE, rest).await.expect("the build does not end");
    assert_eq!((log.come, log.rest.as_str()), (log.expected, ""));
    let journal = log.journal_mib.unwrap();
    assert!(journal <= JOURNAL_MIB_MAX, "the journal took {journal} MiB");
    let peak = server.peak_kib();
    assert!(peak < PEAK_KIB_MAX, "the server took {peak} KiB");
    assert_eq!(api.get(&format!("/builds/{build}")).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_journal_holds_comes_whole() {
    let Some(mut server) = Server::start().await else { return };
    comes_whole(&mut server, "/.jetbridge/journal/task").await;
}
