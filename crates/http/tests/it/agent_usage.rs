//! What agents used, as its readers see it.

use axum::http::StatusCode;
use jb_model::{BuildId, PlanId};
use jb_store::{AgentUsage, AgentUse, Position, Transcribed};
use serde_json::json;

use crate::server::{NOW, Server};

async fn use_model(server: &Server, build: BuildId, cost_micros: u64) {
    let usage = AgentUsage { turns: 1, input_tokens: 100, cost_micros, ..AgentUsage::default() };
    let (plan, model) = (PlanId::new("2"), "anthropic/m".to_owned());
    let used = AgentUse { plan: &plan, name: "implement", model, usage, at: NOW };
    let said = Transcribed { used: &[used], ..Transcribed::default() };
    let position = Position { key: "gateway", from: 0, upto: 1 };
    server.store.append_transcript(build, said, None, position).await.unwrap();
}

#[tokio::test]
async fn tokens_and_cost_are_there_by_step_build_job_and_team() {
    let server = Server::new().await;
    server.set_pipeline("main", "p", "jobs: [{name: j, plan: []}]\n").await;
    let token = server.login("test").await;
    let job = "/api/v1/teams/main/pipelines/p/jobs/j";
    let build = server.post(&format!("{job}/builds")).token(&token).send().await.json();
    let build = build["id"].as_i64().unwrap();
    use_model(&server, BuildId(build), 30).await;
    let get = async |path: &str| server.get(path).token(&token).send().await.json();

    let used = |name: &str| {
        let mut usage = json!({"turns": 1, "input_tokens": 100, "output_tokens": 0,
            "cache_read_tokens": 0, "cache_write_tokens": 0, "cost_micros": 30});
        if name == "step" {
            usage["plan_id"] = "2".into();
            usage["name"] = "implement".into();
            usage["model"] = "anthropic/m".into();
        }
        usage
    };
    let of_build = get(&format!("/api/v1/builds/{build}/agent-usage")).await;
    assert_eq!(of_build, json!({"total": used(""), "steps": [used("step")]}));
    let of_job = get(&format!("{job}/agent-usage")).await;
    assert_eq!(of_job["total"], used(""));
    assert_eq!(of_job["builds"][0]["build_id"], build);
    let of_team = get("/api/v1/teams/main/agent-usage").await;
    assert_eq!(of_team["total"]["cost_micros"], 30);
    assert_eq!(of_team["jobs"][0]["job_name"], "j");

    let now = NOW.unix_seconds();
    for (query, cost) in [
        (format!("since={now}"), 30),
        (format!("since={}", now + 1), 0),
        (format!("until={now}"), 0),
        (format!("since={now}&until={}", now + 1), 30),
    ] {
        let found = get(&format!("/api/v1/teams/main/agent-usage?{query}")).await;
        assert_eq!(found["total"]["cost_micros"], cost, "{query}");
    }
    let wrong = server.get("/api/v1/teams/main/agent-usage?since=monday").token(&token).send();
    let wrong = wrong.await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().contains("`since` is `monday`"), "{}", wrong.text());
    let nobody = server.get("/api/v1/teams/main/agent-usage").send().await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
}
