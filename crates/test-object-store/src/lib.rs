//! An S3-compatible object store of a test's own: the program `versitygw`, over a temporary directory.
//!
//! `cargo xtask test` builds it and names it in `JETBRIDGE_TEST_OBJECT_STORE`; else it is looked for on `PATH`. Without
//! it there is none, which is said aloud; with `JETBRIDGE_REQUIRE_OBJECT_STORE=1` that is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "for tests"
)]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who may do everything in it.
pub const KEY: &str = "jetbridge-tests";
pub const SECRET: &str = "a secret of tests";
/// The bucket it has from the beginning.
pub const BUCKET: &str = "artifacts";

/// How long a store may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// A store. It ends with this.
#[derive(Debug)]
pub struct TestStore {
    program: PathBuf,
    dir: tempfile::TempDir,
    address: SocketAddr,
    /// A shell that ends the store when our end of its standard input closes, whatever ends this process.
    keeper: Option<Child>,
}

impl TestStore {
    /// Starts one that pods of the tests' cluster reach. `None`, aloud, where there is none or no way.
    pub fn reached_by_pods() -> Option<Self> {
        let Ok(host) = std::env::var("JETBRIDGE_CLUSTER_HOST") else {
            eprintln!(
                "skipped: pods need a way to this machine; `cargo xtask cluster env` says where it is"
            );
            return None;
        };
        Self::start(host.parse().expect("JETBRIDGE_CLUSTER_HOST is an address"))
    }

    /// Starts one that listens at `host`.
    ///
    /// # Panics
    /// When it is required and missing, or cannot be started.
    pub fn start(host: IpAddr) -> Option<Self> {
        let Some(program) = find() else {
            let required =
                std::env::var("JETBRIDGE_REQUIRE_OBJECT_STORE").is_ok_and(|it| it == "1");
            assert!(!required, "an object store is required and `versitygw` was not found");
            eprintln!("skipped: no object store; `cargo xtask test` builds `versitygw`");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("jb-object-store-").tempdir().unwrap();
        for name in [&format!("data/{BUCKET}"), "attributes"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        // Free a moment ago, and the store says so if it is not any more.
        let address = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
        let mut store = Self { program, dir, address, keeper: None };
        store.resume();
        Some(store)
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it; what it holds stays.
    pub fn stop(&mut self) {
        let Some(mut keeper) = self.keeper.take() else { return };
        drop(keeper.stdin.take());
        keeper.wait().unwrap();
    }

    /// Starts it again where it was, and waits until it answers.
    pub fn resume(&mut self) {
        let script = r#"
            "$1" --access "$2" --secret "$3" --port "$4" --quiet --health /health posix --sidecar "$5/attributes" \
                "$5/data" >>"$5/log" 2>&1 &
            pid=$!
            cat >/dev/null
            kill -KILL $pid
            wait $pid
        "#;
        let keeper = Command::new("/bin/sh")
            .args(["-c", script, "keeper"])
            .arg(&self.program)
            .args([KEY, SECRET, &self.address.to_string()])
            .arg(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        self.keeper = Some(keeper);
        let begin = Instant::now();
        while !self.answers() {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(begin.elapsed() < PATIENCE, "the object store does not answer: {}", log());
            std::thread::sleep(PAUSE);
        }
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            Ok(answer.ends_with(b" 200"))
        };
        ask().unwrap_or(false)
    }

    /// The files that objects are, by their keys, and parts of uploads that are not finished.
    pub fn files(&self) -> Vec<String> {
        let root = self.dir.path().join("data").join(BUCKET);
        let mut files = Vec::new();
        walk(&root, &root, &mut files);
        files.sort();
        files
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        self.stop();
    }
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, files);
        } else {
            files.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}

fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("JETBRIDGE_TEST_OBJECT_STORE") {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("versitygw")).find(|program| program.is_file())
}
