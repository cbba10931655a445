//! What the server does not take, and how it says so.

use reqwest::{Method, StatusCode};

use crate::api::Api;
use crate::server::{Server, containers_run, free_port, jetbridge};

/// How a server that gave up explains itself.
fn complaint(state: &std::path::Path, port: u16, options: &[&str]) -> String {
    let output = Server::refused(state, port, options);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let state = tempfile::tempdir().unwrap();
    let said = complaint(state.path(), port, &[]);
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    assert!(said.contains("--bind-port") && said.contains("in use"), "{said}");
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let state = tempfile::tempdir().unwrap();
    let database = state.path().join("jetbridge.db");
    std::fs::write(
        &database,
        "this is not a database, but it is long enough to be read\n".repeat(99),
    )
    .unwrap();
    let said = complaint(state.path(), free_port(), &[]);
    assert!(said.contains(database.to_str().unwrap()), "{said}");
    let kept = std::fs::read_to_string(&database).unwrap();
    assert!(kept.starts_with("this is not"), "what it was is left as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_encryption_key_is_refused_before_anything_is_served() {
    let right = "0123456789abcdef";
    let Some(mut server) = Server::with(&["--encryption-key", right]).await else { return };
    let api = server.login().await;
    let yaml = "resources: [{name: r, type: mock, source: {token: topsecret}}]\njobs: [{name: j, plan: [{get: r}]}]\n";
    let set = api.try_set_pipeline("p", yaml).await;
    assert!(set.status.is_success(), "{}", set.text());
    server.kill();
    for options in [&["--encryption-key", "fedcba9876543210"][..], &[]] {
        let said = complaint(server.state.path(), free_port(), options);
        assert!(said.contains("key"), "{said}");
        assert!(!said.contains("topsecret") && !said.contains(right), "{said}");
    }
    let mut on_disk = std::fs::read(server.state.path().join("jetbridge.db")).unwrap();
    on_disk.extend(std::fs::read(server.state.path().join("jetbridge.db-wal")).unwrap_or_default());
    assert!(!on_disk.windows(9).any(|part| part == b"topsecret"), "it is stored in the clear");
    server.start_again().await;
    let config = server.login().await.get("/teams/main/pipelines/p/config").await;
    assert_eq!(config["config"]["resources"][0]["source"]["token"], "topsecret");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_do_not_share_a_state() {
    let Some(server) = Server::start().await else { return };
    let said = complaint(server.state.path(), free_port(), &[]);
    assert!(said.contains(server.state.path().to_str().unwrap()), "{said}");
}

/// Pipelines that cannot be, with what is said of each: where it is, and what is wrong.
const WRONG: [(&str, &str); 10] = [
    ("jobs:\n- name: [unclosed\n", "3:1: "),
    ("jobs: {not: a list}\n", "jobs"),
    ("jobs:\n- name: j\n  serial: 7\n  plan: []\n", "serial"),
    ("jobs:\n- name: j\n  plan:\n  - {tsk: x}\n", "step"),
    ("jobs:\n- name: j\n  pln: []\n", "pln"),
    ("jobs:\n- name: j\n  plan:\n  - {get: nothing}\n", "nothing"),
    (
        "jobs:\n- name: j\n  name: k\n  plan: []\n",
        "3:3: key 'name' is already given at line 2, column 3",
    ),
    (
        "resources: [{name: r, type: mock, source: {}}]\njobs:\n\
         - {name: a, plan: [{get: r, passed: [b]}]}\n- {name: b, plan: [{get: r, passed: [a]}]}\n",
        "cycle",
    ),
    ("{}", "jobs"),
    ("", "jobs"),
];

const RIGHT: &str =
    "jobs: [{name: kept, plan: [{task: t, config: {platform: linux, run: {path: echo}}}]}]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_wrong_is_explained_and_changes_nothing() {
    let Some(server) = Server::start().await else { return };
    let api = server.login().await;
    api.set_pipeline("p", RIGHT).await;
    let before = api.get("/teams/main/pipelines/p/config").await;
    for (yaml, word) in WRONG {
        let answer = api.try_set_pipeline("p", yaml).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{yaml}: {}", answer.text());
        let errors = answer.json()["errors"].to_string();
        assert!(errors.contains(word), "{yaml}: {errors}");
    }
    let long = "#".repeat(11 << 20);
    let answer = api.try_set_pipeline("p", &long).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    assert!(answer.text().contains("longer than 10485760 bytes"), "{}", answer.text());
    let request = |body: Vec<u8>| {
        let put = api.request(Method::PUT, "/teams/main/pipelines/p/config");
        put.header("content-type", "application/x-yaml").body(body)
    };
    let answer = Api::send(request(b"jobs: [\xff]".to_vec())).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    assert!(answer.text().contains("malformed config: invalid utf-8"), "{}", answer.text());
    let answer = Api::send(request(vec![b'#'; 33 << 20])).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.text());

    assert_eq!(api.get("/teams/main/pipelines/p/config").await, before);
    let missing = api.request(Method::GET, "/teams/main/pipelines/q/config");
    assert_eq!(Api::send(missing).await.status, StatusCode::NOT_FOUND);
    let nobody =
        crate::api::client().get(format!("{}/api/v1/teams/main/pipelines/p/config", server.url));
    assert_eq!(Api::send(nobody).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_are_not_there_are_named_before_a_pipeline_is_saved() {
    let Some(server) = Server::start().await else { return };
    let api = server.login().await;
    let yaml = |var: &str| {
        format!(
            "var_sources: [{{name: vs, type: dummy, config: {{vars: {{known: {{deep: sesame}}}}}}}}]\n\
             resources: [{{name: r, type: mock, source: {{token: ((vs:{var}))}}}}]\n\
             jobs: [{{name: j, plan: [{{get: r}}]}}]\n"
        )
    };
    let set = |query: &str, var: &str| {
        let path = format!("/teams/main/pipelines/p/config{query}");
        let put = api.request(Method::PUT, &path).header("content-type", "application/x-yaml");
        Api::send(put.body(yaml(var)))
    };
    for (var, word) in
        [("nosuch", "undefined vars: vs:nosuch"), ("known.nosuch", "missing field 'nosuch'")]
    {
        let answer = set("?check_creds=", var).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
        let errors = answer.json()["errors"][0].as_str().unwrap().to_owned();
        assert!(errors.starts_with("credential validation failed"), "{errors}");
        assert!(errors.contains(word) && !errors.contains("sesame"), "{errors}");
    }
    let missing = api.request(Method::GET, "/teams/main/pipelines/p/config");
    assert_eq!(Api::send(missing).await.status, StatusCode::NOT_FOUND, "nothing was saved");
    let answer = set("?check_creds=", "known.deep").await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert!(!answer.text().contains("sesame"), "{}", answer.text());
}

#[test]
fn a_pipeline_that_is_wrong_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pipeline.yml");
    let said = |content: &[u8]| {
        std::fs::write(&file, content).unwrap();
        let run = jetbridge().arg("run").arg(&file).arg("--state-dir").arg(dir.path()).output();
        let output = run.unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(file.to_str().unwrap()), "the file is named: {said}");
        said
    };
    for (yaml, word) in WRONG {
        let said = said(yaml.as_bytes());
        assert!(said.contains(word), "{yaml}: {said}");
    }
    assert!(said(&vec![b'#'; 11 << 20]).contains("is larger than 10485760 bytes"));
    assert!(said(b"jobs: [\xff]").contains("valid UTF-8"));
    let kept: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(kept.len(), 1, "nothing was begun: {kept:?}");
}

#[test]
fn an_input_that_no_step_gets_is_refused_and_nothing_is_left_behind() {
    if !containers_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, state) = (dir.path().join("pipeline.yml"), dir.path().join("state"));
    std::fs::write(&file, RIGHT).unwrap();
    let mut run = jetbridge();
    run.arg("run").arg(&file).arg("--state-dir").arg(&state);
    let output = run.args(["-i", "nosuch=."]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("-i nosuch: the job `kept` has no get step of that name"), "{said}");
    let kept: Vec<_> = std::fs::read_dir(&state).unwrap().collect();
    assert!(kept.is_empty(), "left behind: {kept:?}");
}

#[test]
fn output_that_is_no_text_is_shown_as_far_as_it_is() {
    if !containers_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pipeline.yml");
    let yaml = r"jobs: [{name: j, plan: [{task: t, config: {platform: linux,
        run: {path: sh, args: [-c, 'printf \'a\377b\n\'; printf \'\303\'']}}}]}]";
    std::fs::write(&file, yaml.replace("\\'", "''")).unwrap();
    let output = jetbridge().arg("run").arg(&file).arg("--state-dir").arg(dir.path()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(log.contains("a\u{fffd}b") && log.contains("\n\u{fffd}"), "{log:?}");
}

#[test]
fn a_flag_that_cannot_be_is_refused_with_its_name() {
    let state = tempfile::tempdir().unwrap();
    let wrong_roles = state.path().join("rbac.yml");
    std::fs::write(&wrong_roles, "viewer: PauseJob\n").unwrap();
    for (options, word) in [
        (["--encryption-key", "tooshort"], "16"),
        (["--auth-duration", "soon"], "--auth-duration"),
        (["--add-local-user", "nopassword"], "--add-local-user"),
        (["--auth-duration", "0s"], "at least 1s"),
        (["--resource-checking-interval", "10ms"], "at least 1s"),
        (["--external-url", "ci.example.com"], "--external-url `ci.example.com`"),
        (["--concurrent-request-limit", "ListJobs:3"], "ListAllJobs:N"),
        (["--config-rbac", "/no/such/file"], "/no/such/file"),
        (["--config-rbac", wrong_roles.to_str().unwrap()], "map of roles to lists of actions"),
        (["--base-resource-type-defaults", "/no/such/file"], "--base-resource-type-defaults: read"),
    ] {
        let said = complaint(state.path(), free_port(), &options);
        assert!(said.contains(word), "{options:?}: {said}");
    }
}

#[test]
fn a_log_that_nobody_watches_has_no_colours() {
    let state = tempfile::tempdir().unwrap();
    let mut command = jetbridge();
    command.args(["web", "--bind-ip", "127.0.0.1", "--bind-port", &free_port().to_string()]);
    command.arg("--state-dir").arg(state.path()).args(["--auth-duration", "soon"]);
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("applying migration") && !said.contains('\x1b'), "{said:?}");
}
