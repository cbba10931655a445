//! Builds `jetbridge` and runs it as a child process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs this, at the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds the server; returns its path.
pub(crate) fn build(release: bool) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", "jetbridge"]);
    if release {
        command.arg("--release");
    }
    if !command.status().context("start cargo")?.success() {
        bail!("building jetbridge failed");
    }
    Ok(binary(release))
}

/// Where cargo puts the server.
pub(crate) fn binary(release: bool) -> PathBuf {
    target().join(if release { "release" } else { "debug" }).join("jetbridge")
}

/// A running server; ended with its children when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) log: PathBuf,
    /// The time from the program's start until it answered as ready.
    pub(crate) ready_after: Duration,
    /// Removes what the server leaves on the machine, once it has ended.
    clean: Command,
}

impl Server {
    /// Starts `jetbridge web` with its state in `state` and waits until it is ready.
    pub(crate) async fn start(
        binary: &Path,
        state: &Path,
        address: SocketAddr,
        extra: &[String],
    ) -> anyhow::Result<Self> {
        Self::start_with(binary, state, address, extra, &[]).await
    }

    /// The same with more in its environment.
    pub(crate) async fn start_with(
        binary: &Path,
        state: &Path,
        address: SocketAddr,
        extra: &[String],
        env: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(state).with_context(|| format!("create {}", state.display()))?;
        let log = state.join("server.log");
        // Another server there would answer in this one's place.
        drop(std::net::TcpListener::bind(address).with_context(|| format!("listen on {address}"))?);
        let output = std::fs::File::create(&log)?;
        let client = reqwest::Client::new();
        let begin = Instant::now();
        let mut child = Command::new(binary)
            .arg("web")
            .args(["--bind-ip", &address.ip().to_string()])
            .args(["--bind-port", &address.port().to_string()])
            .arg("--state-dir")
            .arg(state)
            .args(extra)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let url = format!("http://{address}");
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = child.try_wait()? {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("the server ended with {status}:\n{said}");
            }
            let answer = client.get(format!("{url}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                let ready_after = begin.elapsed();
                let mut clean = Command::new(binary);
                clean.arg("clean").arg("--state-dir").arg(state);
                return Ok(Self { child, url, log, ready_after, clean });
            }
            if Instant::now() > deadline {
                child.kill()?;
                bail!("the server is not ready after 30 s; its log is {}", log.display());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The server's process id, for messages.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        // What cannot be removed is a leftover on the machine, and said by the command itself.
        let _ = self.clean.status();
    }
}

impl Server {
    fn end(&mut self) {
        // Ask first, so that containers are left in order; insist after five seconds.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process's memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// The part that is not backed by a file, such as its program.
    pub(crate) anonymous: u64,
    /// The most that was resident.
    pub(crate) peak: u64,
}

pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let bytes = |field: &str| -> anyhow::Result<u64> {
        let line = status.lines().find(|line| line.starts_with(field));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)).context(path.clone())?;
        Ok(kib.parse::<u64>()? * 1024)
    };
    Ok(Memory { resident: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")?, peak: bytes("VmHWM:")? })
}

/// The processor time a process has used, with the threads that have ended; in steps of 10 ms.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name may hold anything; what follows its closing parenthesis does not.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut ticks = 0;
    for field in fields.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>().with_context(|| format!("`{field}` in {path}"))?;
    }
    Ok(Duration::from_millis(ticks * 10))
}
