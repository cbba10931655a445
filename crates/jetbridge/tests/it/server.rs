//! A server of its own for a test, with its state in a temporary directory.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::api::Api;

/// The longest wait for anything; only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn jetbridge() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetbridge"));
    command.stdin(Stdio::null());
    command
}

/// Whether containers run on this machine. Where they do not, tests that need one end here.
pub fn containers_run() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| {
        let state = tempfile::tempdir().unwrap();
        let output = jetbridge().arg("doctor").arg("--state-dir").arg(state.path()).output();
        let output = output.unwrap();
        if !output.status.success() {
            eprintln!(
                "SKIPPED: containers cannot run here\n{}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
        output.status.success()
    })
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub struct Server {
    child: Child,
    port: u16,
    options: Vec<String>,
    env: Vec<(String, String)>,
    /// Whether containers are on this machine.
    local: bool,
    pub url: String,
    /// Unmounted before its directory is removed.
    _disk: Option<Disk>,
    pub state: tempfile::TempDir,
}

/// A file system of its own on a directory, in memory.
struct Disk(PathBuf);

impl Disk {
    fn mount(directory: &Path, size: &str) -> Self {
        let options = format!("size={size},mode=755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "jetbridge-it"])
            .arg(directory)
            .status();
        assert!(mounted.unwrap().success(), "mount {}", directory.display());
        Self(directory.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(
            std::thread::panicking() || unmounted.is_ok_and(|status| status.success()),
            "{} is left mounted",
            self.0.display()
        );
    }
}

impl Server {
    /// None, said loudly, where containers cannot run.
    pub async fn start() -> Option<Self> {
        Self::with(&[]).await
    }

    pub async fn with(options: &[&str]) -> Option<Self> {
        Self::with_env(options, &[]).await
    }

    pub async fn with_env(options: &[&str], env: &[(&str, &str)]) -> Option<Self> {
        if !containers_run() {
            return None;
        }
        Some(Self::begin(options, env, true, None).await)
    }

    /// With its state on a file system of this size, as `mount` takes it, that nothing else uses.
    pub async fn on_disk_of(size: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can mount a file system to fill");
            return None;
        }
        if !containers_run() {
            return None;
        }
        Some(Self::begin(&[], &[], true, Some(size)).await)
    }

    /// One whose steps run elsewhere, as the options say.
    pub async fn launch(options: &[&str], env: &[(&str, &str)], local: bool) -> Self {
        Self::begin(options, env, local, None).await
    }

    async fn begin(
        options: &[&str],
        env: &[(&str, &str)],
        local: bool,
        size: Option<&str>,
    ) -> Self {
        let state = tempfile::Builder::new().prefix("jetbridge-it-").tempdir().unwrap();
        let disk = size.map(|size| Disk::mount(state.path(), size));
        let port = free_port();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let env: Vec<(String, String)> =
            env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let child = command(state.path(), port, &options).envs(env.clone()).spawn().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let mut server = Self { child, port, options, env, url, _disk: disk, state, local };
        server.ready().await;
        server
    }

    /// On a database of its own of a real PostgreSQL, reached by its socket.
    pub async fn on_postgres(database: &str) -> Option<Self> {
        let cluster = jb_test_postgres::cluster()?;
        cluster.psql(&format!("CREATE DATABASE {database} TEMPLATE template0"));
        let socket = cluster.socket().to_str().unwrap();
        let options = ["--postgres-socket", socket, "--postgres-user", "postgres"];
        Self::with(&[&options[..], &["--postgres-database", database]].concat()).await
    }

    async fn ready(&mut self) {
        let url = format!("{}/readyz", self.url);
        let client = crate::api::client();
        until("the server is ready", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}");
            }
            let answer = client.get(&url).send().await;
            answer.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
    }

    pub async fn login(&self) -> Api {
        Api::login(&self.url, "test", "test").await
    }

    /// The most memory it has taken since it was started.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Ends the server without any chance to put things in order.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same state and port.
    pub async fn start_again(&mut self) {
        let mut command = command(self.state.path(), self.port, &self.options);
        self.child = command.envs(self.env.clone()).spawn().unwrap();
        self.ready().await;
    }

    /// Runs a server that is expected to give up by itself.
    pub fn refused(state: &Path, port: u16, options: &[&str]) -> Output {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let mut child = command(state, port, &options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if std::time::Instant::now() > deadline {
                child.kill().unwrap();
                panic!("the server did not give up");
            }
            std::thread::yield_now();
        }
        child.wait_with_output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !self.local {
            return;
        }
        let state = self.state.path();
        let cleaned = jetbridge().arg("clean").arg("--state-dir").arg(state).status();
        assert!(
            std::thread::panicking() || cleaned.is_ok_and(|status| status.success()),
            "containers of {} are left behind",
            state.display()
        );
    }
}

fn command(state: &Path, port: u16, options: &[String]) -> Command {
    let mut command = jetbridge();
    command
        .args(["web", "--bind-ip", "127.0.0.1", "--bind-port", &port.to_string()])
        .arg("--state-dir")
        .arg(state)
        .args(["--add-local-user", "test:test", "--main-team-local-user", "test"])
        .args(["--log-level", "warn"])
        .args(options);
    command
}

/// Asks again and again, as nothing tells a client of these things, until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answered = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    answered.unwrap_or_else(|_| panic!("{what}: not after {PATIENCE:?}"))
}
