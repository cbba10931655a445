//! What `fly` 8.2.5 asked a Concourse 8.2.5, asked of this server: the same answers, but for numbers.
//!
//! [`SCRIPT`] brings the server from one state to the next. A recording is a file of exchanges in
//! `tests/recordings`; the ones that follow a build's events are left to `events`.

use jb_model::{
    BuildId, BuildStatus, Metadata, Object, PipelineId, Version, VersionId, VolumeHandle,
};
use jb_store::{BuildInput, NextInput, NextInputChoice, ResourceKind, ResourceRecord, Store};
use serde_json::{Value, json};

use crate::server::{Answer, NOW, Server};

enum Step {
    /// The answers are the same, field by field in the same order.
    Replay(&'static str),
    /// The answers hold the same data; free-form parts come in another order.
    Data(&'static str),
    /// Something happens that no client asked for.
    Happens(Event),
}

enum Event {
    OneOffBuildEnds,
    CheckFindsVersion,
    UnitRuns,
    RerunRuns,
    LongStarts,
}

use Event::{CheckFindsVersion, LongStarts, OneOffBuildEnds, RerunRuns, UnitRuns};
use Step::{Data, Happens, Replay};

const SCRIPT: &[Step] = &[
    Replay("get-info"),
    Replay("login-wrong"),
    Replay("userinfo"),
    Replay("status"),
    Replay("get-user"),
    Replay("set-team"),
    Replay("teams"),
    Replay("get-team"),
    Happens(OneOffBuildEnds),
    Replay("curl-404"),
    Replay("set-bad"),
    Replay("set-new"),
    Data("set-same"),
    Data("set-changed"),
    Data("get-pipeline-json"),
    Replay("pipelines"),
    Replay("get-teams-main-pipelines-rec-jobs-ship-inputs"),
    Replay("unpause"),
    Replay("expose"),
    Replay("order"),
    Replay("check"),
    Happens(CheckFindsVersion),
    Replay("get-teams-main-pipelines-rec-resources-src-versions-1-downstream"),
    Replay("get-teams-main-pipelines-rec-resources-src-versions-1-input_to"),
    Replay("trigger-unit"),
    Happens(UnitRuns),
    Replay("builds"),
    Replay("builds-job"),
    Replay("jobs-json"),
    Replay("resources"),
    Replay("get-teams-main-pipelines-rec-resources-src"),
    Replay("versions"),
    Replay("watch-ship"),
    Replay("get-teams-main-pipelines-rec-jobs-unit-builds-1"),
    Replay("rerun"),
    Happens(RerunRuns),
    Replay("get-teams-main-pipelines-rec-jobs-unit"),
    Replay("get-teams-main-pipelines-rec-jobs-unit-badge"),
    Replay("pin"),
    Replay("unpin"),
    Replay("disable"),
    Replay("enable"),
    Replay("pause-job"),
    Replay("unpause-job"),
    Replay("schedule-job"),
    Replay("clear-task-cache"),
    Data("get-teams-main-pipelines-rec-resource-types"),
    Replay("rename"),
    Replay("rename-back"),
    Replay("hide"),
    Replay("get-teams-main-pipelines-rec"),
    Happens(LongStarts),
    Replay("abort"),
    Replay("execute"),
    Replay("plan-build-12"),
    Data("execute-job"),
    Replay("set-wall"),
    Replay("clear-wall"),
    Replay("get-wall"),
    Replay("get-builds-1"),
    Replay("get-builds-1-preparation"),
    Replay("get-builds-1-resources"),
    Replay("get-builds-99999"),
    Replay("get-info-creds"),
    Replay("get-log-level"),
    Replay("get-nosuch"),
    Replay("get-teams-nosuch-pipelines"),
    Replay("destroy-missing"),
    Replay("destroy-team"),
];

struct Player {
    server: Server,
    token: String,
    /// Ids of the recording and of this server.
    builds: Vec<(i64, i64)>,
    version: i64,
}

#[tokio::test]
async fn the_answers_are_those_of_concourse() {
    let server = Server::with(|settings| settings.external_url = "http://127.0.0.1:8080".into());
    let server = server.await;
    let token = server.login("test").await;
    let mut player = Player { server, token, builds: Vec::new(), version: 0 };
    for step in SCRIPT {
        match step {
            Replay(name) => player.replay(name, true).await,
            Data(name) => player.replay(name, false).await,
            Happens(event) => player.happens(event).await,
        }
    }
}

impl Player {
    async fn replay(&mut self, name: &str, exactly: bool) {
        let path = format!("{}/tests/recordings/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            let exchange: Value = serde_json::from_str(line).unwrap();
            let path = exchange["request"]["path"].as_str().unwrap();
            let binary = |part: &str| {
                exchange[part]["body"].as_str().unwrap_or_default().contains("bytes of binary")
            };
            if path.ends_with("/events") || binary("request") || binary("response") {
                continue;
            }
            self.exchange(name, &exchange, exactly).await;
        }
    }

    async fn exchange(&mut self, name: &str, exchange: &Value, exactly: bool) {
        let request = &exchange["request"];
        let recorded = &exchange["response"];
        let answer = self.ask(request).await;
        let what = format!("{name}: {} {}", request["method"], request["path"]);
        assert_eq!(
            i64::from(answer.status.as_u16()),
            recorded["status"].as_i64().unwrap(),
            "{what}: {}",
            answer.text()
        );
        for header in recorded["headers"].as_array().unwrap() {
            let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
            assert_eq!(numberless(answer.header(name)), numberless(value), "{what}: {name}");
        }
        let body = recorded["body"].as_str().unwrap_or_default();
        if exactly {
            assert_eq!(numberless(&answer.text()), numberless(body), "{what}");
        } else {
            let (seen, wanted) = (numberless(&answer.text()), numberless(body));
            let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
            assert_eq!(parse(&seen), parse(&wanted), "{what}");
        }
        if let Some(id) = build_id(body) {
            self.builds.push((id, build_id(&answer.text()).unwrap()));
        }
    }

    async fn ask(&self, request: &Value) -> Answer {
        let mut path = request["path"].as_str().unwrap().to_owned();
        if let Some(rest) = path.strip_prefix("/api/v1/builds/") {
            let (id, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if let Ok(id) = id.parse::<i64>()
                && let Some((_, ours)) = self.builds.iter().find(|(recorded, _)| *recorded == id)
            {
                if rest == "/artifacts" {
                    self.publish(BuildId(*ours)).await;
                }
                path = format!("/api/v1/builds/{ours}{rest}");
            }
        }
        path = path.replace("/versions/2/", &format!("/versions/{}/", self.version));
        let mut call = self.server.call(request["method"].as_str().unwrap(), &path);
        for (name, value) in request["headers"].as_object().unwrap() {
            let value = value.as_str().unwrap().replace("TOKEN", &self.token);
            call = call.header(name, &value);
        }
        call.body(request["body"].as_str().unwrap_or_default().to_owned()).send().await
    }

    async fn happens(&mut self, event: &Event) {
        let store = &self.server.store;
        match event {
            OneOffBuildEnds => {
                let team = store.team_by_name("main").await.unwrap().unwrap();
                let plan = json!({"id": "1", "do": []});
                let build = store.create_started_build(team.id, None, &plan, None, NOW).await;
                let build = build.unwrap().id;
                finish(store, build, BuildStatus::Succeeded).await;
                self.builds.push((1, build.0));
            }
            CheckFindsVersion => self.check_finds_version().await,
            UnitRuns => self.unit_runs().await,
            RerunRuns => {
                let rerun = self.ours(10);
                let plan = json!({"id": "1", "do": []});
                assert!(store.start_build(rerun, &plan, &[], &[], NOW).await.unwrap());
                finish(store, rerun, BuildStatus::Succeeded).await;
                self.resolve(false).await;
            }
            LongStarts => {
                self.server.set_pipeline("main", "long", "jobs: [{name: long, plan: []}]\n").await;
                let trigger = "/api/v1/teams/main/pipelines/long/jobs/long/builds";
                let build = self.server.post(trigger).token(&self.token).send().await;
                let build = build_id(&build.text()).unwrap();
                let plan = json!({"id": "1", "do": []});
                let started = store.start_build(BuildId(build), &plan, &[], &[], NOW).await;
                assert!(started.unwrap());
                self.builds.push((14, build));
            }
        }
    }

    /// What the task of `fly execute -o got=...` does.
    async fn publish(&self, build: BuildId) {
        let store = &self.server.store;
        let team = store.team_by_name("main").await.unwrap().unwrap().id;
        let volume = VolumeHandle::new("got");
        store.create_artifact(team, Some(build), "got", &volume, NOW).await.unwrap();
    }

    fn ours(&self, recorded: i64) -> BuildId {
        BuildId(self.builds.iter().find(|(id, _)| *id == recorded).unwrap().1)
    }

    async fn pipeline(&self) -> PipelineId {
        let found = self.server.store.find_pipeline("main", "rec", &Object::new()).await;
        found.unwrap().unwrap().id
    }

    async fn job(&self, name: &str) -> jb_model::JobId {
        let pipeline = self.pipeline().await;
        self.server.store.job_by_name(pipeline, name).await.unwrap().unwrap().id
    }

    async fn resource(&self, name: &str) -> ResourceRecord {
        let pipeline = self.pipeline().await;
        let store = &self.server.store;
        let found = store.resource_by_name(pipeline, ResourceKind::Resource, name).await;
        found.unwrap().unwrap()
    }

    async fn check_finds_version(&mut self) {
        let store = &self.server.store;
        let build = self.ours(2);
        let src = self.resource("src").await.id;
        let (scope, _) = store.set_scope(src, "hash of src", false, NOW).await.unwrap();
        assert!(store.start_check(scope, Some(build), NOW, NOW).await.unwrap());
        let saved = store.save_versions(scope, &[v1()], NOW).await.unwrap();
        let metadata = [Metadata { name: "author".into(), value: "someone".into() }];
        store.save_metadata(scope, &v1(), &metadata).await.unwrap();
        store.finish_check(scope, true, None, NOW).await.unwrap();
        finish(store, build, BuildStatus::Succeeded).await;
        self.version = saved.ids[0].0;
    }

    async fn unit_runs(&mut self) {
        let store = &self.server.store;
        let (build, src) = (self.ours(3), self.resource("src").await);
        let input = BuildInput {
            name: "src".into(),
            resource: src.id,
            resource_name: "src".into(),
            pipeline: src.pipeline.id,
            version_id: VersionId(self.version),
            version: v1(),
            first_occurrence: true,
        };
        let plan = json!({"id": "1", "do": []});
        assert!(store.start_build(build, &plan, &[input], &[], NOW).await.unwrap());
        finish(store, build, BuildStatus::Succeeded).await;
        self.resolve(true).await;
    }

    /// Finds the inputs of the next build of `unit`.
    async fn resolve(&self, has_new_inputs: bool) {
        let next = NextInput {
            name: "src".into(),
            resource: Some(self.resource("src").await.id),
            choice: NextInputChoice::Version {
                version: VersionId(self.version),
                first_occurrence: false,
            },
        };
        let job = self.job("unit").await;
        let store = &self.server.store;
        store.save_next_inputs(job, &[next], &[], true, has_new_inputs).await.unwrap();
    }
}

async fn finish(store: &Store, build: BuildId, status: BuildStatus) {
    assert!(store.finish_build(build, status, None, NOW).await.unwrap());
}

fn v1() -> Version {
    [("version".to_owned(), "v1".to_owned())].into()
}

/// The id of an answer that is a build.
fn build_id(body: &str) -> Option<i64> {
    let build: Value = serde_json::from_str(body).ok()?;
    build.get("api_url")?;
    build["id"].as_i64()
}

/// A JSON text or header with every number, and every name of a plan node, replaced by 0.
fn numberless(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\"id\":\"") {
            plain.push_str("\"id\":\"0\"");
            rest = after.split_once('"').map_or("", |(_, rest)| rest);
        } else if letter == '"' {
            let end = end_of_string(rest);
            let string = &rest[..end];
            let url = string.starts_with("\"/api/v1/");
            plain.push_str(&if url { without_digits(string) } else { string.to_owned() });
            rest = &rest[end..];
        } else {
            let end = rest.find('"').unwrap_or(rest.len());
            plain.push_str(&without_digits(&rest[..end]));
            rest = &rest[end..];
        }
    }
    plain
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn without_digits(text: &str) -> String {
    let mut plain = String::new();
    let mut digits = false;
    for letter in text.chars() {
        if !letter.is_ascii_digit() {
            plain.push(letter);
        } else if !digits {
            plain.push('0');
        }
        digits = letter.is_ascii_digit();
    }
    plain
}
