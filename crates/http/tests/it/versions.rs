//! What a version led to and came from, and the dump of versions.

use axum::http::StatusCode;
use jb_model::{BuildId, BuildStatus, Object, ResourceId, Version, VersionId};
use jb_store::{BuildInput, ResourceKind, ResourceRecord};
use serde_json::{Value, json};

use crate::server::{NOW, Server};

const P: &str = "/api/v1/teams/main/pipelines/p";
const PIPELINE: &str = "
resources:
- {name: src, type: mock, source: {}}
- {name: tool, type: mock, source: {}}
- {name: out, type: mock, source: {}}
jobs:
- {name: make, plan: [{get: src}, {get: tool}, {put: out}]}
- {name: use, plan: [{get: out}]}
";

fn version(text: &str) -> Version {
    [("v".to_owned(), text.to_owned())].into()
}

/// A server on which `make` made a version of `out` from versions of `src` and `tool`, and `use` used it.
struct Made {
    server: Server,
    token: String,
    src: (ResourceId, VersionId),
    tool: (ResourceId, VersionId),
    out: (ResourceId, VersionId),
    make: BuildId,
    used: BuildId,
}

async fn resource(server: &Server, name: &str) -> ResourceRecord {
    let pipeline = server.store.find_pipeline("main", "p", &Object::new()).await.unwrap().unwrap();
    let kind = ResourceKind::Resource;
    server.store.resource_by_name(pipeline.id, kind, name).await.unwrap().unwrap()
}

async fn checked(server: &Server, name: &str) -> (ResourceId, VersionId) {
    let id = resource(server, name).await.id;
    let (scope, _) = server.store.set_scope(id, name, false, NOW).await.unwrap();
    let saved = server.store.save_versions(scope, &[version("1")], NOW).await.unwrap();
    (id, saved.ids[0])
}

async fn build(
    server: &Server,
    token: &str,
    job: &str,
    used: &[(&str, (ResourceId, VersionId))],
) -> BuildId {
    let answer = server.post(&format!("{P}/jobs/{job}/builds")).token(token).send().await;
    let build = BuildId(answer.json()["id"].as_i64().unwrap());
    let input = |(name, of): &(&str, (ResourceId, VersionId))| BuildInput {
        name: (*name).to_owned(),
        resource: of.0,
        resource_name: (*name).to_owned(),
        pipeline: jb_model::PipelineId(0),
        version_id: of.1,
        version: Version::new(),
        first_occurrence: true,
    };
    let inputs: Vec<_> = used.iter().map(input).collect();
    let plan = json!({"id": "1", "do": []});
    assert!(server.store.start_build(build, &plan, &inputs, &[], NOW).await.unwrap());
    build
}

async fn made() -> Made {
    let server = Server::new().await;
    server.set_pipeline("main", "p", PIPELINE).await;
    let token = server.login("test").await;
    let (src, tool) = (checked(&server, "src").await, checked(&server, "tool").await);
    let out = checked(&server, "out").await;
    let make = build(&server, &token, "make", &[("src", src), ("tool", tool)]).await;
    server.store.save_build_output(make, "out", out.0, out.1).await.unwrap();
    server.store.finish_build(make, BuildStatus::Succeeded, None, NOW).await.unwrap();
    let used = build(&server, &token, "use", &[("out", out)]).await;
    server.store.finish_build(used, BuildStatus::Failed, None, NOW).await.unwrap();
    Made { server, token, src, tool, out, make, used }
}

impl Made {
    async fn get(&self, path: &str) -> Value {
        let answer = self.server.get(&format!("{P}{path}")).token(&self.token).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        answer.json()
    }
}

#[tokio::test]
async fn a_version_tells_what_it_led_to() {
    let made = made().await;
    let path = format!("/resources/src/versions/{}/downstream", made.src.1);
    let graph = made.get(&path).await;
    let (make, used) = (made.make.0, made.used.0);
    let (of_make, of_use) = (graph["jobs"][0]["id"].clone(), graph["jobs"][1]["id"].clone());
    assert_eq!(
        graph,
        json!({
            "jobs": [
                {"id": of_make, "name": "make", "build_ids": [make]},
                {"id": of_use, "name": "use", "build_ids": [used]},
            ],
            "builds": [
                {"id": make, "name": "1", "job_id": of_make, "status": "succeeded",
                 "resource_version_ids": [made.out.1.0]},
                {"id": used, "name": "1", "job_id": of_use, "status": "failed"},
            ],
            // `tool` only stands beside the way.
            "resources": [
                {"id": made.out.0.0, "name": "out", "version_ids": [made.out.1.0]},
                {"id": made.src.0.0, "name": "src", "version_ids": [made.src.1.0]},
            ],
            "resource_versions": [
                {"id": made.out.1.0, "resource_id": made.out.0.0, "version": {"v": "1"},
                 "build_ids": [used]},
                {"id": made.src.1.0, "resource_id": made.src.0.0, "version": {"v": "1"},
                 "build_ids": [make]},
            ],
        })
    );
}

#[tokio::test]
async fn a_version_tells_what_it_came_from() {
    let made = made().await;
    let graph = made.get(&format!("/resources/out/versions/{}/upstream", made.out.1)).await;
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&graph["jobs"]), ["make"]);
    assert_eq!(names(&graph["resources"]), ["out", "src", "tool"]);
    let build = &graph["builds"][0];
    assert_eq!(build["resource_version_ids"], json!([made.src.1.0, made.tool.1.0]));
    let versions = graph["resource_versions"].as_array().unwrap();
    let of_out = versions.iter().find(|found| found["id"] == made.out.1.0).unwrap();
    assert_eq!(of_out["build_ids"], json!([made.make.0]));
}

#[tokio::test]
async fn causality_is_refused_where_it_is_off_or_nothing_is_known() {
    let made = made().await;
    for path in ["resources/src/versions/9999", "resources/none/versions/1"] {
        let path = format!("{P}/{path}/upstream");
        let answer = made.server.get(&path).token(&made.token).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let off = Server::with(|settings| settings.features.resource_causality = false).await;
    off.set_pipeline("main", "p", PIPELINE).await;
    let token = off.login("test").await;
    let path = format!("{P}/resources/src/versions/1/downstream");
    let answer = off.get(&path).token(&token).send().await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_versions_db_is_dumped_as_concourse_dumps_it() {
    let made = made().await;
    let dump = made.get("/versions-db").await;
    let version = |of: (ResourceId, VersionId), scope: &Value| json!({"VersionID": of.1.0, "ResourceID": of.0.0, "CheckOrder": 1, "ScopeID": scope});
    let scope = |name: &str| {
        let resources = dump["Resources"].as_array().unwrap();
        resources.iter().find(|found| found["Name"] == name).unwrap()["ScopeID"].clone()
    };
    let used = |of, scope: &Value, build: BuildId, job: &Value, input: Option<&str>| {
        let mut used = version(of, scope);
        used["BuildID"] = json!(build.0);
        used["JobID"] = job.clone();
        if let Some(input) = input {
            used["InputName"] = json!(input);
        }
        used
    };
    let (make, uses) = (&dump["Jobs"][0]["ID"], &dump["Jobs"][1]["ID"]);
    let (src, tool, out) = (scope("src"), scope("tool"), scope("out"));
    assert_eq!(dump["Jobs"][0]["Name"], "make");
    assert_eq!(
        dump["BuildInputs"],
        json!([
            used(made.src, &src, made.make, make, Some("src")),
            used(made.tool, &tool, made.make, make, Some("tool")),
            used(made.out, &out, made.used, uses, Some("out")),
        ])
    );
    // What a succeeded build used counts as made by it; what a failed one used does not.
    assert_eq!(
        dump["BuildOutputs"],
        json!([
            used(made.out, &out, made.make, make, None),
            used(made.src, &src, made.make, make, None),
            used(made.tool, &tool, made.make, make, None),
        ])
    );
    let versions =
        json!([version(made.out, &out), version(made.src, &src), version(made.tool, &tool)]);
    assert_eq!(dump["ResourceVersions"], versions);
    assert_eq!(dump["BuildReruns"], json!([]));
}
