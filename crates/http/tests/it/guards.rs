//! Every route with every kind of caller, through the real router.

use axum::http::StatusCode;
use jb_authz::{
    Actor, Decision, Guard, PipelineView, ROUTES, Role, RoleOverrides, Route, Subject, Token,
    authorize,
};
use jb_http::Settings;
use serde_json::json;

use crate::server::{NOW, Server};

const CALLERS: [&str; 9] =
    ["nobody", "invalid", "viewer", "operator", "member", "owner", "other", "teamless", "test"];

/// A team `crew` with a member of each role, and one other team.
async fn server(change: impl FnOnce(&mut Settings)) -> Server {
    let server = Server::with(change).await;
    let only = |user: &str| json!({"users": [format!("local:{user}")], "groups": []});
    let crew = json!({
        "viewer": only("viewer"),
        "pipeline-operator": only("operator"),
        "member": only("member"),
        "owner": only("owner"),
    });
    server.store.save_team("crew", &crew, NOW).await.unwrap();
    server.store.save_team("away", &json!({"owner": only("other")}), NOW).await.unwrap();
    let pipeline = "resources: [{name: r, type: mock, source: {}}]\n\
                    jobs: [{name: j, plan: [{get: r}]}]\n";
    server.set_pipeline("crew", "p", pipeline).await;
    server
}

fn actor(caller: &str) -> Actor {
    let on = |team: &str, role| Actor {
        token: Token::Valid,
        teams: [(team.to_owned(), vec![role])].into(),
        ..Actor::default()
    };
    match caller {
        "nobody" => Actor::default(),
        "invalid" => Actor { token: Token::Invalid, ..Actor::default() },
        "viewer" => on("crew", Role::Viewer),
        "operator" => on("crew", Role::Operator),
        "member" => on("crew", Role::Member),
        "owner" => on("crew", Role::Owner),
        "other" => on("away", Role::Owner),
        "teamless" => Actor { token: Token::Valid, ..Actor::default() },
        _ => Actor { admin: true, ..on("main", Role::Owner) },
    }
}

fn subject(route: &Route) -> Subject<'static> {
    let hidden = Some(PipelineView { public: false, public_job: false });
    match route.guard {
        Guard::Team => Subject::Team("crew"),
        Guard::Pipeline => Subject::Pipeline { team: "crew", public: false },
        Guard::BuildRead | Guard::BuildReadPublicJob | Guard::BuildWrite => {
            Subject::Build { team: "crew", pipeline: hidden }
        }
        // Routes about all workers name none.
        Guard::Worker if !route.path.contains("{worker_name}") => Subject::Missing,
        Guard::Worker => Subject::Worker { team: Some("crew") },
        _ => Subject::Nothing,
    }
}

fn path(route: &Route, build: i64) -> String {
    [
        ("{team_name}", "crew"),
        ("{pipeline_name}", "p"),
        ("{job_name}", "j"),
        ("{resource_name}", "r"),
        ("{resource_type_name}", "none"),
        ("{prototype_name}", "none"),
        ("{resource_config_version_id}", "1"),
        ("{worker_name}", "mine"),
        ("{component_name}", "none"),
        ("{build_name}", "none"),
        ("{step_name}", "none"),
        ("{id}", "none"),
        ("{artifact_id}", "99"),
        ("{approval_id}", "99"),
        ("{build_id}", &build.to_string()),
    ]
    .iter()
    .fold(route.path.to_owned(), |path, (name, value)| path.replace(name, value))
}

/// What has to be asked last, or not at all with rights, as nothing is left afterwards.
fn destroys(route: &Route) -> bool {
    let names = [
        "DeletePipeline",
        "DestroyTeam",
        "ArchivePipeline",
        "RenamePipeline",
        "RenameTeam",
        "SetTeam",
        "BuildEvents",
        "BuildTranscript",
    ];
    names.contains(&route.action.name())
}

async fn walk(overrides: RoleOverrides) {
    let server = server(|settings| settings.role_overrides = overrides.clone()).await;
    let pipeline = server.store.find_pipeline("crew", "p", &Default::default()).await.unwrap();
    let job = server.store.job_by_name(pipeline.unwrap().id, "j").await.unwrap().unwrap();
    let build = server.store.create_job_build(job.id, None, NOW).await.unwrap().id.0;
    for caller in CALLERS {
        let token = match caller {
            "nobody" => None,
            "invalid" => Some("made-up".to_owned()),
            name => Some(server.login(name).await),
        };
        for route in &ROUTES {
            let expected = authorize(route, &overrides, &actor(caller), subject(route));
            if expected == Decision::Allow && destroys(route) {
                continue;
            }
            let mut call = server.call(route.method.as_str(), &path(route, build));
            if let Some(token) = &token {
                call = call.token(token);
            }
            let answer = call.send().await;
            let seen = match (answer.status, answer.body.as_slice()) {
                (StatusCode::UNAUTHORIZED, b"not authorized") => Decision::Unauthorized,
                (StatusCode::FORBIDDEN, b"forbidden") => Decision::Forbidden,
                (StatusCode::NOT_FOUND, b"") if expected == Decision::NotFound => {
                    Decision::NotFound
                }
                _ => Decision::Allow,
            };
            assert_eq!(seen, expected, "{} as {caller}: {}", route.action.name(), answer.status);
            assert_eq!(answer.header("x-concourse-version"), "8.2.5");
        }
    }
}

#[tokio::test]
async fn the_router_decides_as_the_table_says() {
    walk(RoleOverrides::default()).await;
}

#[tokio::test]
async fn roles_set_by_the_operator_count() {
    let overrides = RoleOverrides::new([
        ("viewer", vec!["CreateJobBuild", "PauseJob"]),
        ("owner", vec!["GetJob", "ListBuilds"]),
    ]);
    walk(overrides.unwrap()).await;
}

#[tokio::test]
async fn public_pipelines_can_be_read_by_anyone() {
    let server = server(|_| {}).await;
    let token = server.login("test").await;
    let p = "/api/v1/teams/crew/pipelines/p";
    let server = &server;
    let status = |path: String| async move { server.get(&path).send().await.status };
    assert_eq!(status(p.to_owned()).await, StatusCode::UNAUTHORIZED);
    server.put(&format!("{p}/expose")).token(&token).send().await;
    for path in ["", "/jobs", "/jobs/j", "/resources", "/resources/r", "/builds", "/badge"] {
        assert_eq!(status(format!("{p}{path}")).await, StatusCode::OK, "{path}");
    }
    // What a pipeline is made of stays with its team.
    assert_eq!(status(format!("{p}/config")).await, StatusCode::UNAUTHORIZED);
    let build = server.post(&format!("{p}/jobs/j/builds")).token(&token).send().await.json();
    let url = build["api_url"].as_str().unwrap();
    assert_eq!(status(url.to_owned()).await, StatusCode::OK);
    assert_eq!(status(format!("{url}/plan")).await, StatusCode::UNAUTHORIZED);
    let listed = server.get("/api/v1/pipelines").send().await.json();
    assert_eq!(listed[0]["name"], "p");
    server.put(&format!("{p}/hide")).token(&token).send().await;
    assert_eq!(server.get("/api/v1/pipelines").send().await.text(), "[]\n");
    assert_eq!(server.get("/api/v1/builds").send().await.text(), "[]\n");
    assert_eq!(server.get("/api/v1/teams").send().await.text(), "[]\n");
    assert_eq!(status(url.to_owned()).await, StatusCode::UNAUTHORIZED);
}
