//! A PostgreSQL server of a test's own, on a socket in a temporary directory.
//!
//! One server is shared by all tests of a process, and ends with it, whatever ends it. Without PostgreSQL's
//! binaries there is none, which is said aloud; with `JETBRIDGE_REQUIRE_POSTGRES=1` that is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "for tests"
)]

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// A server of our own on a socket in a temporary directory.
#[derive(Debug)]
pub struct Cluster {
    bin: PathBuf,
    dir: PathBuf,
    user: (u32, u32),
    /// A shell that ends the server, and removes its files, when our end of its standard input closes: at the
    /// end of this process, whatever ends it.
    _keeper: Child,
}

/// This process's server, started when first asked for.
///
/// # Panics
/// When it is required and missing, or cannot be started.
pub fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(start).as_ref();
    if cluster.is_none() {
        let required = std::env::var("JETBRIDGE_REQUIRE_POSTGRES").is_ok_and(|value| value == "1");
        assert!(!required, "PostgreSQL is required and its binaries were not found");
        eprintln!("skipped: no PostgreSQL binaries (initdb, postgres, psql) were found");
    }
    cluster
}

fn find_binaries() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| ["initdb", "postgres", "psql"].iter().all(|name| bin.join(name).exists()))
        .collect();
    found.sort();
    found.pop()
}

/// The user to run the server as: it refuses to run as root.
fn server_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata("/proc/self").ok()?;
    if own.uid() != 0 {
        return Some((own.uid(), own.gid()));
    }
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn start() -> Option<Cluster> {
    let bin = find_binaries()?;
    let user = server_user()?;
    let dir = tempfile::Builder::new().prefix("jb-postgres-").tempdir().unwrap().keep();
    std::os::unix::fs::chown(&dir, Some(user.0), Some(user.1)).unwrap();
    let init = as_user(&bin.join("initdb"), user)
        .args(["-N", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"])
        .arg(dir.join("data"))
        .output()
        .unwrap();
    assert!(init.status.success(), "initdb: {}", String::from_utf8_lossy(&init.stderr));
    let script = r#"
        "$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c full_page_writes=off \
            -c synchronous_commit=off -c max_connections=200 >"$2/log" 2>&1 &
        pid=$!
        tries=0
        until "$1/psql" -q -h "$2" -U postgres -c 'SELECT 1' >/dev/null 2>&1 || [ $tries -ge 300 ]; do
            tries=$((tries + 1)); sleep 0.1
        done
        echo ready
        cat >/dev/null
        kill -INT $pid
        wait $pid
        rm -rf "$2"
    "#;
    let mut keeper = as_user(Path::new("/bin/sh"), user)
        .args(["-c", script, "keeper"])
        .args([&bin, &dir])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    keeper.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let cluster = Cluster { bin, dir, user, _keeper: keeper };
    Some(cluster)
}

fn as_user(program: &Path, (uid, gid): (u32, u32)) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin");
    if std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt as _;
        own.uid() != uid
    }) {
        command.uid(uid).gid(gid);
    }
    command
}

impl Cluster {
    /// The address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        let socket = self.dir.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{database}")
    }

    /// The directory of its socket. The port is the usual one.
    pub fn socket(&self) -> &Path {
        &self.dir
    }

    /// Runs a statement as the user `postgres`, who needs no password.
    ///
    /// # Panics
    /// When the statement fails.
    pub fn psql(&self, sql: &str) {
        let done = as_user(&self.bin.join("psql"), self.user)
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
            .arg(&self.dir)
            .args(["-d", "postgres", "-c", sql])
            .output()
            .unwrap();
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    }
}
