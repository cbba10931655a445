//! Builds, jobs and resources beyond what was recorded.

use axum::http::StatusCode;
use jb_model::BuildId;
use jb_store::ResourceKind;
use serde_json::{Value, json};

use crate::server::{Answer, EXTERNAL_URL, NOW, Server};

const P: &str = "/api/v1/teams/main/pipelines/p";

async fn server(yaml: &str) -> (Server, String) {
    let server = Server::new().await;
    server.set_pipeline("main", "p", yaml).await;
    let token = server.login("test").await;
    (server, token)
}

fn links(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect()
}

#[tokio::test]
async fn lists_of_builds_have_pages() {
    let (server, token) = server("jobs: [{name: j, plan: []}]\n").await;
    for _ in 0..5 {
        server.post(&format!("{P}/jobs/j/builds")).token(&token).send().await;
    }
    let get = |path: String| {
        let call = server.get(&path).token(&token);
        async { call.send().await }
    };
    let names = |answer: &Answer| -> Vec<String> {
        let builds = answer.json();
        let names = builds.as_array().unwrap().iter();
        names.map(|build| build["name"].as_str().unwrap().to_owned()).collect()
    };
    for path in [
        "/api/v1/builds",
        "/api/v1/teams/main/builds",
        &format!("{P}/builds"),
        &format!("{P}/jobs/j/builds"),
    ] {
        let newest = get(format!("{path}?limit=2")).await;
        assert_eq!(names(&newest), ["5", "4"], "{path}");
        assert_eq!(links(&newest), [format!("<{EXTERNAL_URL}{path}?to=3&limit=2>; rel=\"next\"")]);
        let middle = get(format!("{path}?limit=2&to=3")).await;
        assert_eq!(names(&middle), ["3", "2"], "{path}");
        assert_eq!(
            links(&middle),
            [
                format!("<{EXTERNAL_URL}{path}?to=1&limit=2>; rel=\"next\""),
                format!("<{EXTERNAL_URL}{path}?from=4&limit=2>; rel=\"previous\""),
            ]
        );
        assert_eq!(names(&get(format!("{path}?limit=2&from=4")).await), ["5", "4"], "{path}");
        assert_eq!(links(&get(path.to_owned()).await), [""; 0], "{path}");
        let now = NOW.unix_seconds();
        let timed = get(format!("{path}?timestamps=true&from={now}")).await;
        assert_eq!(names(&timed), [""; 0], "no build of {path} has started");
    }
}

#[tokio::test]
async fn a_pending_build_tells_what_it_waits_for() {
    let (server, token) = server(
        "resources: [{name: r, type: mock, source: {}}]\n\
         jobs: [{name: j, max_in_flight: 1, plan: [{get: r}]}]\n",
    )
    .await;
    let trigger = || server.post(&format!("{P}/jobs/j/builds")).token(&token);
    let build = trigger().send().await.json();
    let url = format!("{}/preparation", build["api_url"].as_str().unwrap());
    let get = || server.get(&url).token(&token);
    assert_eq!(
        get().send().await.json(),
        json!({
            "build_id": build["id"],
            "paused_pipeline": "not_blocking",
            "paused_job": "not_blocking",
            "max_running_builds": "not_blocking",
            "inputs": {"r": "unknown"},
            "inputs_satisfied": "blocking",
            "missing_input_reasons": {},
        })
    );
    server.put(&format!("{P}/jobs/j/pause")).token(&token).send().await;
    server.put(&format!("{P}/pause")).token(&token).send().await;
    let paused = get().send().await.json();
    assert_eq!(
        (&paused["paused_job"], &paused["paused_pipeline"]),
        (&json!("blocking"), &json!("blocking"))
    );
    let job = server.get(&format!("{P}/jobs/j")).token(&token).send().await.json();
    assert_eq!(job["paused_by"], "test");
    assert_eq!(job["next_build"]["id"], build["id"]);
    assert_eq!(job["finished_build"], Value::Null);
    let inputs = server.get(&format!("{P}/jobs/j/inputs")).token(&token).send().await;
    assert_eq!(inputs.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn jobs_may_refuse_to_be_triggered_or_rerun() {
    let (server, token) = server(
        "jobs:\n- {name: j, disable_manual_trigger: true, plan: []}\n\
         - {name: k, disable_reruns: true, plan: []}\n- {name: l, plan: []}\n",
    )
    .await;
    let post = |path: &str| server.post(&format!("{P}/jobs/{path}")).token(&token);
    assert_eq!(post("j/builds").send().await.status, StatusCode::CONFLICT);
    assert_eq!(post("k/builds").send().await.status, StatusCode::OK);
    assert_eq!(post("k/builds/1").send().await.status, StatusCode::CONFLICT);
    assert_eq!(post("l/builds/1").send().await.status, StatusCode::NOT_FOUND);
    post("l/builds").send().await;
    // It has not started, so there are no inputs to use again.
    assert_eq!(post("l/builds/1").send().await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn comments_are_for_those_with_a_role() {
    let (server, token) = server("jobs: [{name: j, plan: []}]\n").await;
    let build = server.post(&format!("{P}/jobs/j/builds")).token(&token).send().await.json();
    let url = build["api_url"].as_str().unwrap();
    let comment = json!({"comment": "flaky"});
    let set = server.put(&format!("{url}/comment")).token(&token).json(&comment).send().await;
    assert_eq!((set.status, set.text()), (StatusCode::OK, String::new()));
    let garbage = server.put(&format!("{url}/comment")).token(&token).body("{").send().await;
    assert_eq!(garbage.status, StatusCode::BAD_REQUEST);
    let mine = server.get(url).token(&token).send().await.json();
    assert_eq!(mine["comment"], "flaky");
    let listed = server.get("/api/v1/builds").token(&token).send().await.json();
    assert!(listed[0].get("comment").is_none());
    server.put(&format!("{P}/expose")).token(&token).send().await;
    assert!(server.get(url).send().await.json().get("comment").is_none());
}

#[tokio::test]
async fn builds_are_aborted_through_the_engine() {
    let (server, token) = server("jobs: [{name: j, plan: []}]\n").await;
    let build = server.post(&format!("{P}/jobs/j/builds")).token(&token).send().await.json();
    let url = build["api_url"].as_str().unwrap();
    for (query, force) in [("", false), ("?force", true)] {
        let aborted = server.put(&format!("{url}/abort{query}")).token(&token).send().await;
        assert_eq!(aborted.status, StatusCode::NO_CONTENT);
        let id = BuildId(build["id"].as_i64().unwrap());
        assert_eq!(server.engine.aborted.lock().unwrap().pop(), Some((id, force)));
        assert!(server.store.build(id).await.unwrap().unwrap().aborted);
    }
    let bad = server.get("/api/v1/builds/one").token(&token).send().await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    let plan = server.get(&format!("{url}/plan")).token(&token).send().await;
    assert_eq!((plan.status, plan.text()), (StatusCode::NOT_FOUND, String::new()));
}

#[tokio::test]
async fn what_is_no_plan_starts_no_build() {
    let server = Server::new().await;
    let token = server.login("test").await;
    for plan in [json!({}), json!({"id": "1"}), json!({"id": "1", "nosuch": {}}), json!([])] {
        let answer =
            server.post("/api/v1/teams/main/builds").token(&token).json(&plan).send().await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{plan}");
    }
    assert_eq!(server.get("/api/v1/builds").token(&token).send().await.text(), "[]\n");
}

#[tokio::test]
async fn forges_check_with_the_token_of_the_resource() {
    let (server, token) = server(
        "resources:\n- {name: r, type: mock, source: {}, webhook_token: hook}\n\
         - {name: s, type: mock, source: {}, webhook_token: ((token))}\n\
         - {name: t, type: mock, source: {}}\n\
         jobs: [{name: j, plan: [{get: r}, {get: s}, {get: t}]}]\n",
    )
    .await;
    let hook = |resource: &str, query: &str| {
        server.post(&format!("{P}/resources/{resource}/check/webhook{query}"))
    };
    assert_eq!(hook("r", "").send().await.status, StatusCode::BAD_REQUEST);
    assert_eq!(hook("r", "?webhook_token=guess").send().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(hook("t", "?webhook_token=x").send().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(hook("n", "?webhook_token=hook").send().await.status, StatusCode::NOT_FOUND);
    let checked = hook("r", "?webhook_token=hook").send().await;
    assert_eq!(checked.status, StatusCode::CREATED);
    assert_eq!(checked.json()["name"], "check");
    let checked = hook("s", "?webhook_token=evaluated").send().await;
    assert_eq!(checked.status, StatusCode::CREATED);
    let from = json!({"from": {"version": "v1"}, "shallow": true});
    let check = |path: &str| server.post(&format!("{P}/{path}/check")).token(&token);
    assert_eq!(check("resources/t").json(&from).send().await.status, StatusCode::CREATED);
    let (target, options) = server.engine.checks.lock().unwrap().pop().unwrap();
    assert_eq!((target.kind, target.name.as_str()), (ResourceKind::Resource, "t"));
    assert_eq!(options.from.unwrap()["version"], "v1");
    assert!(options.shallow);
    assert_eq!(check("resources/t").body("").send().await.status, StatusCode::BAD_REQUEST);
    for path in ["resource-types/n", "prototypes/n"] {
        assert_eq!(check(path).json(&from).send().await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_version_pinned_in_the_file_stays() {
    let (server, token) = server(
        "resources: [{name: r, type: mock, source: {}, version: {v: one}}]\n\
         jobs: [{name: j, plan: [{get: r}]}]\n",
    )
    .await;
    let resource = server.get(&format!("{P}/resources/r")).token(&token).send().await.json();
    assert_eq!(resource["pinned_version"], json!({"v": "one"}));
    assert_eq!(resource["pinned_in_config"], true);
    let put = |path: &str| server.put(&format!("{P}/resources/r/{path}")).token(&token);
    let pinned = put("versions/1/pin").send().await;
    assert_eq!(pinned.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(put("versions/one/pin").send().await.status, StatusCode::BAD_REQUEST);
    assert_eq!(put("versions/1/enable").send().await.status, StatusCode::NOT_FOUND);
    let delete = |path: &str| server.call("DELETE", &format!("{P}/{path}")).token(&token);
    let cleared = delete("resources/r/cache").send().await;
    assert_eq!(cleared.text(), "{\"caches_removed\":0}\n");
    let missing = delete("resources/n/cache").send().await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json()["errors"][0]["detail"], "Resource with name 'n' not found.");
    let missing = delete("jobs/n/tasks/t/cache").send().await;
    assert_eq!(missing.json()["errors"][0]["detail"], "Job with name 'n' not found.");
    let shared = server.get(&format!("{P}/resources/r/shared")).token(&token).send().await;
    assert_eq!(shared.text(), "{\"resources\":[],\"resource_types\":[]}\n");
}

#[tokio::test]
async fn monitors_read_cc_xml() {
    let (server, token) = server("jobs: [{name: j, plan: []}, {name: k, plan: []}]\n").await;
    let build = server.post(&format!("{P}/jobs/j/builds")).token(&token).send().await.json();
    let id = BuildId(build["id"].as_i64().unwrap());
    let plan = json!({"id": "1", "do": []});
    server.store.start_build(id, &plan, &[], &[], NOW).await.unwrap();
    server.store.finish_build(id, jb_model::BuildStatus::Failed, None, NOW).await.unwrap();
    let feed = server.get("/api/v1/teams/main/cc.xml").token(&token).send().await;
    assert_eq!(feed.header("content-type"), "application/xml");
    assert_eq!(
        feed.text(),
        "<Projects><Project activity=\"Sleeping\" lastBuildLabel=\"1\" lastBuildStatus=\"Failure\" lastBuildTime=\"2026-11-21T02:26:40Z\" name=\"p/j\" webUrl=\"http://ci.example/teams/main/pipelines/p/jobs/j\"></Project></Projects>"
    );
    let hidden = server.get("/api/v1/teams/main/cc.xml").send().await;
    assert_eq!(hidden.text(), "<Projects></Projects>");
    let badge = server.get(&format!("{P}/badge")).token(&token).send().await;
    assert!(badge.text().contains("failing"));
}
