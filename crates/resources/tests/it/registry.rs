//! A real registry on a port of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const BINARY: &str = "/usr/bin/docker-registry";
const HTPASSWD: &str = "someone:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

pub(crate) struct Registry {
    dir: tempfile::TempDir,
    address: SocketAddr,
    child: Child,
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Registry {
    /// None, said loudly, where there is no registry to run.
    pub(crate) fn start() -> Option<Self> {
        Self::start_at(LOOPBACK, false)
    }

    /// One that wants the login `someone` with the password `s3cret`.
    pub(crate) fn start_with_login() -> Option<Self> {
        Self::start_at(LOOPBACK, true)
    }

    /// One at an address of this machine.
    pub(crate) fn start_at(host: IpAddr, wants_login: bool) -> Option<Self> {
        if !Path::new(BINARY).exists() {
            eprintln!("SKIPPED: {BINARY} is not installed (Debian package docker-registry)");
            return None;
        }
        // The port may be taken between finding and using it; another is tried then.
        let started = (0..5).find_map(|_| Self::try_start(host, wants_login));
        started.or_else(|| panic!("the registry did not start"))
    }

    fn try_start(host: IpAddr, wants_login: bool) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let address = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
        let (data, users) = (dir.path().join("data"), dir.path().join("htpasswd"));
        std::fs::write(&users, HTPASSWD).unwrap();
        let login = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", users.display());
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '{address}'}}\n{}",
            data.display(),
            if wants_login { &login } else { "" }
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
            if std::net::TcpStream::connect(address).is_ok() {
                return Some(Self { dir, address, child });
            }
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::yield_now();
        }
    }

    /// `host:port/name`.
    pub(crate) fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address)
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
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
