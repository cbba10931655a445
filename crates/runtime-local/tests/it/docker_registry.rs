//! A registry as people run it, with a login.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use jb_model::VolumeHandle;
use jb_oci::{Credentials, Descriptor, Options, Registry};
use jb_runtime::{Image, ImageFetch};
use serde_json::json;

use crate::image::{Contents, Layer, request, shell};
use crate::machine::{Machine, root, spec};

const BINARY: &str = "/usr/bin/docker-registry";
/// The login `someone` with the password `s3cret`.
const HTPASSWD: &str = "someone:$2b$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts one with its data in `dir`; None when its port was taken meanwhile.
fn start(dir: &Path) -> Option<(Running, String)> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (data, users, file) = (dir.join("data"), dir.join("htpasswd"), dir.join("config.yml"));
    std::fs::write(&users, HTPASSWD).unwrap();
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
         auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
        data.display(),
        users.display()
    );
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(BINARY);
    command.arg("serve").arg(&file).env_remove("OTEL_TRACES_EXPORTER");
    let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    loop {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some((child, format!("127.0.0.1:{port}")));
        }
        if child.0.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_behind_a_login_runs() {
    if !root() {
        return;
    }
    if !Path::new(BINARY).exists() {
        eprintln!("SKIPPED: {BINARY} is not installed (Debian package docker-registry)");
        return;
    }
    let machine = Machine::new();
    let dir = tempfile::tempdir().unwrap();
    let (_running, host) = (0..5).find_map(|_| start(dir.path())).unwrap();
    let contents = Contents::default();
    let digest = contents.image(&[&shell().done(), &Layer::new().file("hello", "world").done()]);
    let login = Credentials { username: "someone".into(), password: "s3cret".into() };
    let options = Options { credentials: Some(login), ..Options::default() };
    let registry = Registry::connect(&host, options).await.unwrap();
    let mut blobs = contents.all();
    blobs.sort_by_key(|(_, _, is_manifest)| *is_manifest);
    for (blob, bytes, is_manifest) in blobs {
        if is_manifest {
            let kind = jb_oci::media_type::OCI_MANIFEST;
            registry.push_manifest("app", "x", kind, &bytes).await.unwrap();
        } else {
            let file = dir.path().join("blob");
            std::fs::write(&file, &bytes).unwrap();
            let blob = Descriptor::new("blob", blob, bytes.len() as u64);
            registry.push_blob("app", &blob, &file).await.unwrap();
        }
    }
    let repository = format!("{host}/app");
    for source in [json!({}), json!({"username": "someone", "password": "wrong-one"})] {
        let (outcome, log) = machine.fetch("image", request(&repository, &digest, source)).await;
        assert_eq!(outcome, ImageFetch::Failed);
        assert!(log.contains("denied access") && !log.contains("wrong-one"), "{log}");
    }
    let source = json!({"username": "someone", "password": "s3cret"});
    let (outcome, log) = machine.fetch("image", request(&repository, &digest, source)).await;
    assert!(matches!(outcome, ImageFetch::Fetched(_)), "{log}");
    machine.create(&spec("task", Image::Volume(VolumeHandle::new("image")))).await;
    assert_eq!(machine.ok("task", "cat /hello").await, "world");
    // Who has no login does not get it from here either.
    let (outcome, _) = machine.fetch("other", request(&repository, &digest, json!({}))).await;
    assert_eq!(outcome, ImageFetch::Failed);
}
