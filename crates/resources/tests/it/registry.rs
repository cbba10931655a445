//! A real registry on a loopback port of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const BINARY: &str = "/usr/bin/docker-registry";
/// The login `someone` with the password `s3cret`.
const HTPASSWD: &str = "someone:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

pub(crate) struct Registry {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Registry {
    /// None, said loudly, where there is no registry to run.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    pub(crate) fn start_with_login() -> Option<Self> {
        Self::start_with("auth: {htpasswd: {realm: test, path: HTPASSWD}}\n")
    }

    fn start_with(more: &str) -> Option<Self> {
        if !Path::new(BINARY).exists() {
            eprintln!("SKIPPED: {BINARY} is not installed (Debian package docker-registry)");
            return None;
        }
        // The port may be taken between finding and using it; another is tried then.
        (0..5).find_map(|_| Self::try_start(more)).or_else(|| panic!("the registry did not start"))
    }

    fn try_start(more: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (data, users) = (dir.path().join("data"), dir.path().join("htpasswd"));
        std::fs::write(&users, HTPASSWD).unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n{}",
            data.display(),
            more.replace("HTPASSWD", users.to_str().unwrap())
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(BINARY)
            .arg("serve")
            .arg(&file)
            .env_remove("OTEL_TRACES_EXPORTER")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        loop {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(Self { dir, port, child });
            }
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::yield_now();
        }
    }

    /// `host:port/name`.
    pub(crate) fn name(&self, repository: &str) -> String {
        format!("127.0.0.1:{}/{repository}", self.port)
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
