//! `cargo xtask demo`: a server, a git repository and a pipeline between them.

mod agents;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use jb_git_http::GitServer;
use serde_json::Value;

use crate::api::Api;
use crate::server::Server;

#[derive(Args)]
pub(crate) struct Options {
    /// Show agents instead: one makes a change, another reviews it, and you are asked; needs no key
    #[arg(long)]
    agents: bool,
    /// End once all is green, with status 0, or when anything fails, with status 1
    #[arg(long)]
    exit: bool,
    /// The port to serve on
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Keep the server's state here instead of in a new temporary directory
    #[arg(long)]
    state: Option<PathBuf>,
}

const USER: &str = "test";
const PASSWORD: &str = "test";
/// Longest wait for any one thing to happen.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let binary = crate::server::build(false)?;
    // Every HTTPS-capable client needs a provider; the demo itself stays on this machine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Runtime::new()?.block_on(demo(&binary, options))
}

async fn demo(binary: &Path, options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    let dir = match &options.state {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("jetbridge-demo-{}", std::process::id())),
    };
    std::fs::create_dir_all(&dir)?;
    if options.agents {
        let server = match agents::run(binary, &dir, options).await {
            Ok(server) => server,
            Err(error) => return ended(options, &dir, &format!("{error:#}")),
        };
        if !options.exit {
            tokio::signal::ctrl_c().await?;
        }
        drop(server);
        return remove(options, &dir);
    }
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), options.port);
    let server = Server::start(binary, &dir.join("server"), address, &users()).await?;
    println!("jetbridge serves on {} (log: {})", server.url, server.log.display());

    let api = Api::login(&server.url, USER, PASSWORD).await?;
    let git = serve_repository(&dir, host_address(&api).await?).await?;
    let url = git.url("demo.git");
    println!("a git repository is served at {url}");

    api.set_pipeline("demo", &pipeline(&url)).await?;
    api.put("/teams/main/pipelines/demo/unpause").await?;
    println!("the pipeline `demo` is set; waiting for its first build\n");
    let build = first_build(&api, "test").await?;
    println!("== demo/test #1 (log after {} ms)", begin.elapsed().as_millis());
    let status = api.follow(build).await?;
    println!("== demo/test #1 {status}\n");
    if status != "succeeded" {
        return ended(options, &dir, "the first job did not succeed");
    }
    let build = first_build(&api, "release").await?;
    println!("== demo/release #1");
    let status = api.follow(build).await?;
    println!("== demo/release #1 {status} ({} ms in all)\n", begin.elapsed().as_millis());
    if status != "succeeded" {
        return ended(options, &dir, "the second job did not succeed");
    }
    if options.exit {
        drop(server);
        return remove(options, &dir);
    }
    explain(&server, &url, &dir);
    // Ctrl-C reaches the server, too: it ends, and what it leaves is removed after it.
    tokio::signal::ctrl_c().await?;
    drop(server);
    remove(options, &dir)
}

/// The flags that make the demo's user an owner.
fn users() -> [String; 4] {
    [
        "--add-local-user".to_owned(),
        format!("{USER}:{PASSWORD}"),
        "--main-team-local-user".to_owned(),
        USER.to_owned(),
    ]
}

/// Where containers reach this machine: what the worker says, loopback when they share its network.
async fn host_address(api: &Api) -> anyhow::Result<IpAddr> {
    let workers = api.get("/workers").await?;
    let address = workers[0]["addr"].as_str().unwrap_or_default();
    Ok(address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

/// Serves a git repository with a commit and a task, at an address of this machine.
pub(crate) async fn serve_repository(dir: &Path, host: IpAddr) -> anyhow::Result<GitServer> {
    let root = dir.join("git");
    std::fs::create_dir_all(&root)?;
    let bare = root.join("demo.git");
    let fresh = !bare.exists();
    if fresh {
        jb_git_http::create_repository(&bare, "main").await?;
    }
    let server = GitServer::start(&root, SocketAddr::new(host, 0)).await?;
    if fresh {
        let clone = jb_git_http::Clone::of(&server.url("demo.git"), &dir.join("clone")).await?;
        clone.commit("greeting.txt", "hello from the repository\n", "Say hello").await?;
        clone.commit("ci/test.yml", TASK, "Add the task that tests it").await?;
    }
    Ok(server)
}

/// Waits for the first build of a job of the pipeline.
pub(crate) async fn first_build(api: &Api, job: &str) -> anyhow::Result<i64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let builds = api.get(&format!("/teams/main/pipelines/demo/jobs/{job}/builds")).await?;
        let first = builds.as_array().and_then(|builds| builds.last());
        if let Some(id) = first.and_then(|build| build["id"].as_i64()) {
            return Ok(id);
        }
        if Instant::now() > deadline {
            let resources: Value = api.get("/teams/main/pipelines/demo/resources").await?;
            bail!("no build of `{job}` after {} s; resources: {resources}", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

fn ended(options: &Options, dir: &Path, why: &str) -> anyhow::Result<()> {
    if options.state.is_none() {
        println!("the server's state is kept in {}", dir.display());
    }
    bail!("{why}")
}

fn remove(options: &Options, dir: &Path) -> anyhow::Result<()> {
    if options.state.is_none() {
        std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(())
}

fn explain(server: &Server, repository: &str, dir: &Path) {
    let url = &server.url;
    let clone = dir.join("clone");
    println!("Both jobs are green. What to do next:");
    println!("  fly -t demo login -c {url} -u {USER} -p {PASSWORD}");
    println!("  fly -t demo watch -j demo/test");
    println!("Push a commit and watch it build by itself:");
    println!(
        "  cd {} && echo again >> greeting.txt && git commit -am again && git push",
        clone.display()
    );
    println!("  (the repository is {repository}; it is checked every second)");
    println!("The server runs as process {}; Ctrl-C ends it.", server.id());
}

const TASK: &str = "\
platform: linux
inputs: [{name: repo}]
outputs: [{name: tagged}]
run:
  path: sh
  args:
  - -ec
  - |
    echo \"the repository says: $(cat repo/greeting.txt)\"
    git clone -q repo tagged/repo
    echo \"v0.$(git -C repo rev-list --count HEAD)\" > tagged/name
    echo \"tests passed, tagging $(cat tagged/name)\"
";

/// A pipeline on the repository at `url`: `test` tags each commit, and `release` follows it.
pub(crate) fn pipeline(url: &str) -> String {
    format!(
        "\
resources:
- name: repo
  type: git
  icon: git
  check_every: 1s
  source: {{uri: {url}, branch: main}}
- name: tags
  type: git
  check_every: never
  source: {{uri: {url}, branch: main}}
jobs:
- name: test
  plan:
  - get: repo
    trigger: true
  - task: test
    file: repo/ci/test.yml
  - put: tags
    params: {{repository: tagged/repo, tag: tagged/name, only_tag: true}}
    no_get: true
- name: release
  plan:
  - get: repo
    passed: [test]
    trigger: true
  - task: announce
    config:
      platform: linux
      inputs: [{{name: repo}}]
      run:
        path: sh
        args: [-ec, 'git --no-pager -C repo log -1 --format=\"releasing %h: %s\"']
"
    )
}
