//! `cargo xtask bench --agents`: what an agent step and its gateway cost, beside a task and the model itself.
//!
//! The model is a script on this machine, so that what is measured is ours.

mod gateway;
mod steps;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use jb_scripted_model::{Reply, Rule, Said, Script, ScriptedModel, ToolUse, When};
use serde_json::{Value, json};

use super::figures::Figure;
use super::stage::{USER, local_flags};
use super::{Options, builds};
use crate::api::Api;
use crate::server::Server;

/// The key of the scripted model, which wants none.
const KEY: (&str, &str) = ("BENCH_MODEL_KEY", "no-key-at-all");
/// As the script and the gateway name the model.
const MODEL: &str = "scripted";
/// Agents at once.
const CROWD: usize = 20;
/// Turns of the agent whose transcript is watched. Its budget has room for them.
const TURNS: usize = 60;

/// A server whose agents ask a script.
struct Stage {
    // Ended first, as it asks the model.
    _server: Server,
    api: Api,
    model: ScriptedModel,
    state: PathBuf,
}

pub(super) async fn measure(
    binary: &Path,
    dir: &Path,
    options: &Options,
) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::set(binary, dir, options.port).await?;
    let mut figures = Vec::new();
    if options.wants("start") {
        figures.push(steps::first_request(&stage, options.samples).await?);
    }
    if options.wants("gateway") {
        figures.extend(gateway::beside_the_model(&stage, dir, options.samples).await?);
    }
    if options.wants("transcript") {
        figures.push(steps::transcript(&stage).await?);
    }
    if options.wants("crowd") {
        figures.push(steps::crowd(&stage).await?);
    }
    Ok(figures)
}

impl Stage {
    /// Only a server knows by which address its containers reach this machine, so a first one is asked and ended.
    async fn set(binary: &Path, dir: &Path, port: u16) -> anyhow::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let model = ScriptedModel::start(any, script()).await?;
        let (state, file) = (dir.join("server"), dir.join("models.yml"));
        std::fs::create_dir_all(dir)?;
        std::fs::write(&file, models(&model, IpAddr::V4(Ipv4Addr::LOCALHOST)))?;
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let mut flags = local_flags(port).to_vec();
        flags.extend(["--agent-models".to_owned(), file.display().to_string()]);
        let first = Server::start_with(binary, &state, address, &flags, &[KEY]).await?;
        let workers = Api::login(&first.url, USER, USER).await?.get("/workers").await?;
        drop(first);
        let host = workers[0]["addr"].as_str().and_then(|address| address.parse().ok());
        let host = host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        std::fs::write(&file, models(&model, host))?;
        let server = Server::start_with(binary, &state, address, &flags, &[KEY]).await?;
        let api = Api::login(&server.url, USER, USER).await?;
        api.set_pipeline("bench", &pipeline()).await?;
        api.put("/teams/main/pipelines/bench/unpause").await?;
        Ok(Self { _server: server, api, model, state })
    }

    /// Runs a job; its build and log.
    async fn run(&self, job: &str) -> anyhow::Result<(i64, String)> {
        let build = builds::trigger(&self.api, job).await?;
        Ok((build, builds::succeeded(&self.api, build, builds::PATIENCE, |_| {}).await?))
    }
}

/// The operator's file.
fn models(model: &ScriptedModel, host: IpAddr) -> String {
    let url = model.url();
    let port = url.rsplit(':').next().unwrap_or_default();
    let provider = json!({"url": format!("http://{host}:{port}"), "key_env": KEY.0});
    let name = format!("anthropic/{MODEL}");
    json!({
        "default": name,
        "providers": {"anthropic": provider},
        "models": {&name: {"input": 3, "output": 15}},
    })
    .to_string()
}

/// The agents that talk call a tool until their conversation is long; those that work sleep twice; all others are done.
fn script() -> Script {
    let rule = |when, reply| Rule { when, times: None, reply };
    let asks = |word: &str| When { anywhere: Some(word.to_owned()), ..When::default() };
    let at = |word: &str, messages| When { messages: Some(messages), ..asks(word) };
    let tool = |argv: &[&str]| {
        let tools = vec![ToolUse { name: "shell".to_owned(), input: json!({"argv": argv}) }];
        Reply::Say(Said { text: "I go on.".to_owned(), tools, ..Said::default() })
    };
    let done = || Reply::text(&"This is what came of it. ".repeat(8));
    let sleep = || tool(&["sleep", "1"]);
    let rules = vec![
        rule(at("Talk.", 2 * TURNS - 1), done()),
        rule(asks("Talk."), tool(&["echo", "something to read"])),
        rule(at("Work.", 1), sleep()),
        rule(at("Work.", 3), sleep()),
        rule(When::default(), done()),
    ];
    Script { rules }
}

fn pipeline() -> String {
    let config = json!({"platform": "linux"});
    let agent = |name: &str, prompt: &str| {
        let tools = json!([{"shell": ["echo *", "sleep *"]}]);
        json!({"agent": name, "prompt": prompt, "config": config, "tools": tools})
    };
    let stamp = json!({"platform": "linux", "run": {"path": "date", "args": ["+%s%N"]}});
    let crowd: Vec<Value> =
        (0..CROWD).map(|number| agent(&format!("one-of-many-{number}"), "Work.")).collect();
    json!({"jobs": [
        {"name": "task", "plan": [{"task": "stamp", "config": stamp}]},
        {"name": "agent", "plan": [agent("quick", "Say hello.")]},
        {"name": "talk", "plan": [agent("talker", "Talk.")]},
        {"name": "alone", "plan": [agent("one", "Work.")]},
        {"name": "crowd", "plan": [{"in_parallel": crowd}]},
    ]})
    .to_string()
}
