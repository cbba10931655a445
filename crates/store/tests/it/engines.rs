//! Fresh stores on each engine.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use jb_model::Timestamp;
use jb_store::{Options, Store};

/// Runs a future to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(future)
}

pub(crate) async fn open(url: &str) -> Store {
    Store::open(url, Options::default(), Timestamp(0)).await.unwrap()
}

/// Server tasks are spawned, so whatever uses the store has to be `Send`.
fn run<F: Future<Output = ()> + Send + 'static>(url: &str, test: impl FnOnce(Store) -> F) {
    block_on(async {
        let store = open(url).await;
        let task = tokio::spawn(test(store.clone()));
        let outcome = task.await;
        store.close().await;
        if let Err(error) = outcome {
            std::panic::resume_unwind(error.into_panic());
        }
    });
}

pub(crate) fn on_memory<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Store) -> F) {
    run("sqlite::memory:", test);
}

pub(crate) fn on_file<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Store) -> F) {
    let dir = tempfile::tempdir().unwrap();
    run(&format!("sqlite:{}", dir.path().join("store.db").display()), test);
}

pub(crate) fn on_postgres<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Store) -> F) {
    if let Some(url) = postgres_url() {
        run(&url, test);
    }
}

/// The address of a new database that has the schema already.
pub(crate) fn postgres_url() -> Option<String> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let cluster = cluster()?;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    cluster.psql(&format!("CREATE DATABASE {name} TEMPLATE schema_made"));
    Some(cluster.url(&name))
}

/// The address of a new database without any schema.
pub(crate) fn empty_postgres_url() -> Option<String> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let cluster = cluster()?;
    let name = format!("empty_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    cluster.psql(&format!("CREATE DATABASE {name} TEMPLATE template0"));
    Some(cluster.url(&name))
}

/// A server of our own on a socket in a temporary directory.
struct Cluster {
    bin: PathBuf,
    dir: PathBuf,
    user: (u32, u32),
    /// A shell that ends the server, and removes its files, when our end of its standard input closes: at the
    /// end of this process, whatever ends it.
    _keeper: Child,
}

fn cluster() -> Option<&'static Cluster> {
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
    let dir = tempfile::Builder::new().prefix("jb-store-").tempdir().unwrap().keep();
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
    cluster.psql("CREATE DATABASE schema_made TEMPLATE template0");
    let url = cluster.url("schema_made");
    // In a thread of its own, as the caller may be inside a runtime.
    let made = std::thread::spawn(move || block_on(async { open(&url).await.close().await }));
    made.join().unwrap();
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
    fn url(&self, database: &str) -> String {
        let socket = self.dir.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{database}")
    }

    fn psql(&self, sql: &str) {
        let done = as_user(&self.bin.join("psql"), self.user)
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
            .arg(&self.dir)
            .args(["-d", "postgres", "-c", sql])
            .output()
            .unwrap();
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    }
}
