//! A step as the server would set it up: a gateway, a loop, and the directory between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use jb_agent::Output;
use jb_agent_protocol::network::Reach;
use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{
    Api, Entry, GatewayBudget, GatewaySpec, LoopSpec, Prices, Root, ToolGrant, Upstream,
};
use jb_scripted_model::{Script, ScriptedModel};
use serde_json::Value;

pub(crate) const KEY: &str = "sk-the-real-key";

pub(crate) struct Step {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) spec: LoopSpec,
    pub(crate) gateway: GatewaySpec,
    model: Option<ScriptedModel>,
}

/// What a step did.
pub(crate) struct Ran {
    pub(crate) transcript: Vec<Entry>,
    pub(crate) gateway: Vec<Entry>,
}

impl Ran {
    pub(crate) fn ending(&self) -> (Ending, String, Option<Value>) {
        match self.transcript.last() {
            Some(Entry::End { ending, message, result }) => {
                (*ending, message.clone(), result.clone())
            }
            other => panic!("the transcript ends with {other:?}"),
        }
    }
}

impl Step {
    pub(crate) async fn new(script: Script) -> Self {
        Self::speaking(Api::Messages, script).await
    }

    pub(crate) async fn speaking(api: Api, script: Script) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let model = ScriptedModel::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), script).await;
        let model = model.unwrap();
        let upstream = Upstream::Service { api, url: model.url(), key: KEY.to_owned() };
        Self { model: Some(model), ..Self::of(upstream) }
    }

    /// Answers from a recording.
    pub(crate) fn replaying(api: Api, recording: PathBuf) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::of(Upstream::Replay { api, path: recording.to_str().unwrap().to_owned() })
    }

    fn of(upstream: Upstream) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir(path("work")).unwrap();
        std::fs::create_dir(path("work/out")).unwrap();
        let spec = LoopSpec {
            name: "implement".into(),
            model: "m".into(),
            api: upstream.api(),
            prompt: "Do it.".into(),
            socket: path("gateway.sock"),
            working_dir: path("work"),
            roots: vec![Root { path: path("work/out"), writable: true, untrusted: None }],
            tools: vec![ToolGrant::Read, ToolGrant::Write, ToolGrant::Shell(vec!["echo*".into()])],
            mcp: vec![],
            network: Reach::Gateway,
            asked: Default::default(),
            suspension: None,
            result_schema: None,
            forbidden: vec![],
            retry_pause_ms: 1,
            context_tokens: 200_000,
        };
        let prices = Prices { input: 3_000_000, output: 15_000_000, ..Prices::default() };
        let gateway = GatewaySpec {
            socket: path("gateway.sock"),
            upstream,
            provider: "scripted".into(),
            models: [("m".to_owned(), prices)].into(),
            budget: GatewayBudget { turns: Some(20), ..GatewayBudget::default() },
            spent: Default::default(),
            over_again: false,
            mcp: vec![],
            proxy: None,
            recording: Some(path("recording.jsonl")),
            redact: vec!["hunter2".into()],
            idle_timeout_ms: 30_000,
            context_tokens: 200_000,
        };
        Self { dir, spec, gateway, model: None }
    }

    pub(crate) fn model(&self) -> &ScriptedModel {
        self.model.as_ref().unwrap()
    }

    pub(crate) fn recording(&self) -> PathBuf {
        self.dir.path().join("recording.jsonl")
    }

    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("work/out").join(name)
    }

    pub(crate) async fn run(&self) -> Ran {
        self.run_with(async |spec| {
            let (output, transcript) = Output::kept();
            jb_agent::builtin::run(spec, Default::default(), output).await;
            transcript.lock().unwrap().clone()
        })
        .await
    }

    /// Runs the harness that is given beside the gateway.
    pub(crate) async fn run_with(&self, harness: impl AsyncFnOnce(LoopSpec) -> Vec<Entry>) -> Ran {
        let received = || self.model.as_ref().map_or(0, |model| model.received().len());
        let before = received();
        let (output, said) = Output::kept();
        let gateway = tokio::spawn(jb_agent::gateway::run(self.gateway.clone(), output));
        while !self.dir.path().join("gateway.sock").exists() && !gateway.is_finished() {
            tokio::task::yield_now().await;
        }
        let transcript = harness(self.spec.clone()).await;
        // What it says of the last request may come after the answer. Only then is it complete.
        let requests = |said: &[Entry]| {
            said.iter().filter(|entry| matches!(entry, Entry::ModelCall { .. })).count()
        };
        let asked = received() - before;
        while requests(&said.lock().unwrap()) < asked {
            tokio::task::yield_now().await;
        }
        gateway.abort();
        let gateway = said.lock().unwrap().clone();
        Ran { transcript, gateway }
    }
}
