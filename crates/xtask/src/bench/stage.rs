//! A running server with an image in a git repository, for the measures that need one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use jb_git_http::{Clone, GitServer};
use serde_json::Value;

use super::builds;
use super::runc::Runc;
use crate::api::Api;
use crate::server::Server;

pub(super) use builds::PATIENCE;

pub(super) const USER: &str = "test";
const METADATA: &str = r#"{"env": ["PATH=/bin"], "user": "root"}"#;

/// A server with the pipeline `bench`.
pub(super) struct Stage {
    pub(super) server: Server,
    pub(super) api: Api,
    pub(super) dir: PathBuf,
    /// Runs the image without the server; an explanation where runc does not work.
    pub(super) runc: Result<Runc, String>,
    _git: GitServer,
}

impl Stage {
    pub(super) async fn set(binary: &Path, dir: &Path, port: u16) -> anyhow::Result<Self> {
        let server = serve(binary, dir, port).await?;
        let api = Api::login(&server.url, USER, USER).await?;
        let workers = api.get("/workers").await?;
        let host = workers[0]["addr"].as_str().unwrap_or_default();
        let host: IpAddr = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let root = dir.join("git");
        std::fs::create_dir_all(&root)?;
        jb_git_http::create_repository(&root.join("image.git"), "main").await?;
        let git = GitServer::start(&root, SocketAddr::new(host, 0)).await?;
        let image = Clone::of(&git.url("image.git"), &dir.join("image")).await?;
        root_file_system(&image.dir().join("rootfs"))?;
        image.commit("metadata.json", METADATA, "Add an image").await?;
        let runc = Runc::new(&dir.join("bundle"), &image.dir().join("rootfs"));
        if let Err(why) = &runc {
            println!("runc does not run here, so its figures are missing: {why}");
        }
        let commit = Command::new("git")
            .args(["rev-parse", "HEAD"])
            .current_dir(image.dir())
            .output()
            .context("run git")?;
        let commit = String::from_utf8_lossy(&commit.stdout).trim().to_owned();
        let pipeline = pipeline(&git.url("image.git"), &commit);
        api.set_pipeline("bench", &pipeline).await?;
        api.put("/teams/main/pipelines/bench/unpause").await?;
        let stage = Self { server, api, dir: dir.to_owned(), runc, _git: git };
        for resource in ["image", "unpinned", "news"] {
            let check = builds::check(&stage.api, resource).await?;
            stage.succeeded(check).await?;
        }
        Ok(stage)
    }

    pub(super) async fn trigger(&self, job: &str) -> anyhow::Result<i64> {
        builds::trigger(&self.api, job).await
    }

    /// Waits for a build to end well; its log.
    pub(super) async fn succeeded(&self, build: i64) -> anyhow::Result<String> {
        builds::succeeded(&self.api, build, PATIENCE, |_| {}).await
    }

    /// The newest build of a job, if it has any.
    pub(super) async fn newest(&self, job: &str) -> anyhow::Result<Option<Value>> {
        let path = format!("/teams/main/pipelines/bench/jobs/{job}/builds?limit=1");
        Ok(self.api.get(&path).await?.get(0).cloned())
    }
}

/// A server that knows the user `test`.
pub(super) async fn serve(binary: &Path, dir: &Path, port: u16) -> anyhow::Result<Server> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    Server::start(binary, &dir.join("server"), address, &local_flags(port)).await
}

/// The user, and a network of the server's own.
pub(super) fn local_flags(port: u16) -> [String; 6] {
    let pool = format!("10.{}.0.0/16", 100 + port % 100);
    let user = format!("{USER}:{USER}");
    ["--add-local-user", &user, "--main-team-local-user", USER, "--local-network-pool", &pool]
        .map(str::to_owned)
}

/// Busybox, and a `date` that knows nanoseconds, which that of busybox often does not.
fn root_file_system(root: &Path) -> anyhow::Result<()> {
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::copy("/bin/busybox", bin.join("busybox"))
        .context("copy /bin/busybox; install busybox-static")?;
    for name in ["sh", "seq", "true", "cat"] {
        std::os::unix::fs::symlink("busybox", bin.join(name))?;
    }
    std::fs::copy("/bin/date", bin.join("date")).context("copy /bin/date")?;
    let libraries = Command::new("ldd").arg("/bin/date").output().context("run ldd")?;
    for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
        let Some(inside) = word.strip_prefix('/') else { continue };
        let to = root.join(inside);
        std::fs::create_dir_all(to.parent().unwrap_or(root))?;
        std::fs::copy(word, &to).with_context(|| format!("copy {word}"))?;
    }
    Ok(())
}

/// Milliseconds from `begin` to what a process printed as `date +%s%N`.
pub(super) fn until(begin: SystemTime, printed: &str) -> anyhow::Result<f64> {
    let nanos: u64 =
        printed.trim().parse().with_context(|| format!("`{printed}` is no time in nanoseconds"))?;
    let then = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
    Ok(super::figures::millis(then.duration_since(begin).context("the clock went back")?))
}

/// Asks again until there is an answer.
pub(super) async fn eventually<T>(
    what: &str,
    pause: Duration,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("{what} did not happen within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(pause).await;
    }
}

/// The image is pinned: builds that people ask for wait for a check of what is not. Every check of
/// the news finds some.
fn pipeline(image: &str, commit: &str) -> String {
    let stamp = "config: {platform: linux, run: {path: /bin/date, args: ['+%s%N']}}";
    let ten: String =
        (0..10).map(|step| format!("  - {{task: step-{step}, image: image, {stamp}}}\n")).collect();
    format!(
        "\
resources:
- name: image
  type: git
  check_every: never
  source: {{uri: {image}, branch: main}}
  version: {{ref: {commit}}}
- name: unpinned
  type: git
  check_every: never
  source: {{uri: {image}, branch: main}}
- name: news
  type: time
  check_every: never
  webhook_token: hush
  source: {{interval: 1ms}}
jobs:
- name: one
  plan:
  - get: image
  - {{task: stamp, image: image, {stamp}}}
- name: checked
  plan:
  - get: unpinned
  - {{task: stamp, image: unpinned, {stamp}}}
- name: ten
  plan:
  - get: image
{ten}- name: follow
  plan:
  - {{get: news, trigger: true}}
- name: lines
  plan:
  - task: print
    config:
      platform: linux
      run: {{path: sh, args: [-ec, 'date +%s%N; exec {lines}']}}
",
        lines = super::log::COMMAND,
    )
}
