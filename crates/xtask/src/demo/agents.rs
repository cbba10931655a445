//! `cargo xtask demo --agents`: the pipeline of `examples/agents`, whose model is a script, so that it needs no key.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jb_git_http::{GitServer, create_repository};
use jb_scripted_model::{Script, ScriptedModel};
use serde_json::{Value, json};

use super::{Options, PASSWORD, USER, host_address};
use crate::api::Api;
use crate::server::{Server, root};

/// The agent's key of the demo, which opens nothing.
const KEY: (&str, &str) = ("DEMO_MODEL_KEY", "no-key-at-all");
/// Between two looks at whether the build asks.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(binary: &Path, dir: &Path, options: &Options) -> anyhow::Result<Server> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let script = serde_json::from_value::<Script>(example("change.model.yml")?)?;
    let model = ScriptedModel::start(any, script).await?;
    let (server, host) = server(binary, dir, options, &model).await?;
    println!("jetbridge serves on {} (log: {})", server.url, server.log.display());
    println!("the agents' model is a script: examples/agents/change.model.yml");
    let api = Api::login(&server.url, USER, PASSWORD).await?;
    let git = serve_repository(dir, host).await?;
    let url = git.url("demo.git");
    println!("a git repository is served at {url}; its test fails");

    let pipeline = text("change.yml")?.replace("((repository))", &url);
    api.set_pipeline("change", &pipeline).await?;
    api.put("/teams/main/pipelines/change/unpause").await?;
    let build = api.post("/teams/main/pipelines/change/jobs/change/builds", "").await?;
    let build = build["id"].as_i64().context("the build has no number")?;
    println!("\n== change/change #1");
    let answered = answer(binary, &server.url, &api, build, options.exit);
    let (status, answered) = tokio::join!(api.follow(build), answered);
    let status = status?;
    println!("== change/change #1 {status}\n");
    answered?;
    if status == "succeeded" {
        pushed(&dir.join("git/demo.git"))?;
    } else if options.exit {
        bail!("the build did not succeed");
    }
    if !options.exit {
        println!("\nSee what the agents said and did, entry by entry:");
        println!("  {}/api/v1/builds/{build}/transcript", server.url);
        println!("The server runs as process {}; Ctrl-C ends it.", server.id());
    }
    Ok(server)
}

/// A server whose agents may use the model. Only a server knows by which address its containers reach this machine, so
/// the first one is asked and ended.
async fn server(
    binary: &Path,
    dir: &Path,
    options: &Options,
    model: &ScriptedModel,
) -> anyhow::Result<(Server, IpAddr)> {
    let port = model.url().rsplit(':').next().unwrap_or_default().to_owned();
    let file = dir.join("models.yml");
    let models = |host: IpAddr| {
        let provider = json!({"url": format!("http://{host}:{port}"), "key_env": KEY.0});
        let prices = json!({"input": 3, "output": 15});
        let models = json!({
            "default": "anthropic/scripted",
            "providers": {"anthropic": provider},
            "models": {"anthropic/scripted": prices},
        });
        std::fs::write(&file, models.to_string())
    };
    models(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), options.port);
    let mut flags = super::users().to_vec();
    flags.extend(["--agent-models".to_owned(), file.display().to_string()]);
    let state = dir.join("server");
    let first = Server::start_with(binary, &state, address, &flags, &[KEY]).await?;
    let host = host_address(&Api::login(&first.url, USER, PASSWORD).await?).await?;
    drop(first);
    models(host)?;
    Ok((Server::start_with(binary, &state, address, &flags, &[KEY]).await?, host))
}

fn text(name: &str) -> anyhow::Result<String> {
    let path = root().join("examples/agents").join(name);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

fn example(name: &str) -> anyhow::Result<Value> {
    let node = jb_yaml::parse(&text(name)?).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    Ok(node.to_json())
}

/// A repository with a program that does not do what its test says.
async fn serve_repository(dir: &Path, host: IpAddr) -> anyhow::Result<GitServer> {
    let git = dir.join("git");
    std::fs::create_dir_all(&git)?;
    create_repository(&git.join("demo.git"), "main").await?;
    let server = GitServer::start(&git, SocketAddr::new(host, 0)).await?;
    let clone = jb_git_http::Clone::of(&server.url("demo.git"), &dir.join("clone")).await?;
    clone.commit("greet.sh", "echo \"Helo, $1\"\n", "Greet").await?;
    let test = "test \"$(sh greet.sh you)\" = \"Hello, you\" && echo the test passes\n";
    clone.commit("test.sh", test, "Say what it must do").await?;
    Ok(server)
}

/// Answers what the build asks, at the terminal, or by itself.
async fn answer(
    binary: &Path,
    url: &str,
    api: &Api,
    build: i64,
    by_itself: bool,
) -> anyhow::Result<()> {
    let Some(id) = question(api, build).await? else { return Ok(()) };
    let said = if by_itself {
        true
    } else {
        println!("\n-- approve, here or elsewhere? Type yes or no:");
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        });
        line.await??.trim().starts_with(['y', 'Y'])
    };
    let word = if said { "approve" } else { "deny" };
    let mut command = Command::new(binary);
    command.args([word, &id, "--url", url, "--username", USER]);
    command.env("JETBRIDGE_PASSWORD", PASSWORD);
    println!(
        "-- JETBRIDGE_PASSWORD={PASSWORD} jetbridge {word} {id} --url {url} --username {USER}"
    );
    // Someone else may have been faster; the command says so.
    command.status().context("start jetbridge")?;
    Ok(())
}

/// Waits until the build asks; none when it ended without.
async fn question(api: &Api, build: i64) -> anyhow::Result<Option<String>> {
    loop {
        let asked = api.get(&format!("/builds/{build}/approvals")).await?;
        if asked[0]["status"] == "waiting" {
            return Ok(Some(asked[0]["id"].to_string()));
        }
        let status = api.get(&format!("/builds/{build}")).await?["status"].clone();
        if !matches!(status.as_str(), Some("pending" | "started")) {
            return Ok(None);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn pushed(bare: &Path) -> anyhow::Result<()> {
    println!("The branch agent/fix was pushed:");
    let shown = Command::new("git")
        .args(["--no-pager", "-C"])
        .arg(bare)
        .args(["show", "--format=%h %an: %s", "agent/fix"])
        .status();
    if !shown.context("start git")?.success() {
        bail!("the branch agent/fix is not there");
    }
    Ok(())
}
