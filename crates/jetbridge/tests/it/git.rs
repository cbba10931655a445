//! A commit is pushed, and everything else happens by itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use jb_git_http::{Clone, GitServer, create_repository};

use crate::api::Api;
use crate::server::Server;

fn pipeline(url: &str) -> String {
    format!(
        r#"
resources:
- {{name: repo, type: git, check_every: 1s, source: {{uri: {url}, branch: main}}}}
- {{name: tags, type: git, check_every: never, source: {{uri: {url}, branch: main}}}}
jobs:
- name: test
  plan:
  - {{get: repo, trigger: true}}
  - {{task: test, file: repo/ci/test.yml}}
  - put: tags
    params: {{repository: tagged/repo, tag: tagged/name, only_tag: true}}
    no_get: true
- name: release
  plan:
  - {{get: repo, passed: [test], trigger: true}}
  - task: announce
    config:
      platform: linux
      inputs: [{{name: repo}}]
      run: {{path: git, args: [--no-pager, -C, repo, log, "-1", "--format=releasing %s"]}}
"#
    )
}

const TASK: &str = r#"
platform: linux
inputs: [{name: repo}]
outputs: [{name: tagged}]
run:
  path: sh
  args:
  - -ec
  - |
    cat repo/greeting.txt
    git clone -q repo tagged/repo
    echo "v0.$(git -C repo rev-list --count HEAD)" > tagged/name
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_built_tagged_and_passed_on() {
    let Some(server) = Server::start().await else { return };
    let api = server.login().await;
    // Containers reach this machine where the worker says; by loopback if they share its network.
    let workers = api.get("/workers").await;
    let host: IpAddr = workers[0]["addr"]
        .as_str()
        .and_then(|address| address.parse().ok())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    pushes_are_built_tagged_and_passed_on(&api, host).await;
}

/// The same wherever containers run; they reach this machine at `host`.
pub(crate) async fn pushes_are_built_tagged_and_passed_on(api: &Api, host: IpAddr) {
    let dir = tempfile::tempdir().unwrap();
    let bare = dir.path().join("served/demo.git");
    std::fs::create_dir_all(bare.parent().unwrap()).unwrap();
    create_repository(&bare, "main").await.unwrap();
    let git = GitServer::start(bare.parent().unwrap(), SocketAddr::new(host, 0)).await.unwrap();
    let url = git.url("demo.git");
    let clone = Clone::of(&url, &dir.path().join("clone")).await.unwrap();
    clone.commit("greeting.txt", "hello\n", "Say hello").await.unwrap();
    clone.commit("ci/test.yml", TASK, "Test it").await.unwrap();

    api.set_pipeline("demo", &pipeline(&url)).await;
    let first = api.build("demo", "test", "1").await;
    assert!(api.succeeded(first).await.contains("hello\r\n"));
    let release = api.build("demo", "release", "1").await;
    let log = api.succeeded(release).await;
    assert!(log.contains("releasing Test it\r\n"), "{log}");

    clone.commit("greeting.txt", "hello again\n", "Say it again").await.unwrap();
    let second = api.build("demo", "test", "2").await;
    assert!(api.succeeded(second).await.contains("hello again\r\n"));
    let release = api.build("demo", "release", "2").await;
    assert!(api.succeeded(release).await.contains("releasing Say it again\r\n"));
    let tags = std::process::Command::new("git")
        .args(["tag", "--list"])
        .current_dir(&bare)
        .output()
        .unwrap();
    let tags = String::from_utf8(tags.stdout).unwrap();
    let tags: Vec<&str> = tags.lines().collect();
    assert_eq!(tags.len(), 2, "{tags:?}");

    // The version names its commit, and the builds that took it.
    let versions = api.get("/teams/main/pipelines/demo/resources/repo/versions").await;
    let head = versions[0]["version"]["ref"].as_str().unwrap();
    assert_eq!(head.len(), 40, "{versions}");
    let id = &versions[0]["id"];
    let path = format!("/teams/main/pipelines/demo/resources/repo/versions/{id}/input_to");
    let builds = api.get(&path).await;
    assert_eq!(builds.as_array().unwrap().len(), 2, "{builds}");
    // The checks that the server makes by itself are in no list.
    let listed = api.get("/builds?limit=100").await;
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|build| &build["name"]).collect();
    assert!(names.iter().all(|name| **name != "check"), "{names:?}");
}
