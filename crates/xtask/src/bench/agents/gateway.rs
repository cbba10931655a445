//! A gateway by itself, as it runs in its container, beside the model that it asks.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::{KEY, MODEL, Stage};
use crate::bench::figures::{Bound, Figure, mib, millis, quantile};
use crate::server::memory;

/// Calls for each sample that was asked for: they are quick, and the hundredth part counts.
const CALLS: usize = 10;
const WARM_UP: usize = 20;
/// How long a gateway may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway that runs, ended when dropped.
struct Gateway {
    child: Child,
    socket: PathBuf,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) async fn beside_the_model(
    stage: &Stage,
    dir: &Path,
    samples: usize,
) -> anyhow::Result<[Figure; 3]> {
    let url = stage.model.url().replace("0.0.0.0", "127.0.0.1");
    let gateway = Gateway::start(&stage.state.join("bin/jb-agent"), dir, &url).await?;
    let direct = reqwest::Client::builder().build()?;
    let through = reqwest::Client::builder().unix_socket(gateway.socket.as_path()).build()?;
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for call in 0..samples * CALLS + WARM_UP {
        let alone = first_byte(&direct, &url).await?;
        let passed = first_byte(&through, "http://gateway").await?;
        if call >= WARM_UP {
            floor.push(millis(alone));
            ours.push(millis(passed));
        }
    }
    let used = memory(gateway.child.id())?;
    let added = |what, part, most| {
        let (ours, floor) = (quantile(&ours, part), quantile(&floor, part));
        Figure::new("gateway", what, "ms", ours - floor)
            .bound(Bound::AtMost(most))
            .more("through it", ours)
            .more("without it", floor)
    };
    Ok([
        added("gateway: added to the first byte of an answer, p50", 0.5, 2.0),
        added("gateway: added to the first byte of an answer, p99", 0.99, 10.0),
        Figure::new("gateway", "gateway: memory of one step's", "MiB", mib(used.resident))
            .bound(Bound::AtMost(15.0))
            .more("anonymous", mib(used.anonymous))
            .more("peak", mib(used.peak)),
    ])
}

impl Gateway {
    async fn start(program: &Path, dir: &Path, url: &str) -> anyhow::Result<Self> {
        let (socket, recording) = (dir.join("gateway.sock"), dir.join("recording.jsonl"));
        let told = json!({
            "socket": socket,
            "upstream": {"kind": "service", "api": "messages", "url": url, "key": KEY.1},
            "provider": "anthropic",
            "models": {MODEL: {"input": 3_000_000, "output": 15_000_000}},
            "budget": {},
            "recording": recording,
            "redact": ["hunter2"],
            "idle_timeout_ms": 60_000,
        });
        let mut child = Command::new(program)
            .arg("gateway")
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(dir.join("gateway.log"))?)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut stdin = child.stdin.take().context("the gateway has no stdin")?;
        let mut gateway = Self { child, socket };
        stdin.write_all(told.to_string().as_bytes())?;
        drop(stdin);
        let deadline = Instant::now() + PATIENCE;
        while !gateway.socket.exists() {
            if let Some(status) = gateway.child.try_wait()? {
                bail!("the gateway ended with {status}");
            }
            ensure!(Instant::now() < deadline, "the gateway does not listen");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(gateway)
    }
}

/// From the request to the first byte of the streamed answer, which is then read to its end.
async fn first_byte(client: &reqwest::Client, url: &str) -> anyhow::Result<Duration> {
    let content = json!([{"type": "text", "text": "Say hello."}]);
    let body: Value = json!({"model": MODEL, "max_tokens": 1_000, "stream": true,
        "messages": [{"role": "user", "content": content}]});
    let request = client.post(format!("{url}/v1/messages")).json(&body);
    let begin = Instant::now();
    let mut answer = request.send().await?.error_for_status()?;
    answer.chunk().await?.context("the answer is empty")?;
    let took = begin.elapsed();
    while answer.chunk().await?.is_some() {}
    Ok(took)
}
