//! A runtime on a state directory of its own, and ways to run things in its containers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use jb_model::config::ContainerLimits;
use jb_model::{ContainerHandle, VolumeHandle};
use jb_runtime::{ContainerKind, ContainerSpec, Image, Mount, MountSource, Network, Runtime, User};
use jb_runtime_local::{LocalRuntime, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::image::header;

/// Whether these tests can run; says why not.
pub(crate) fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: tests of the local runtime need root");
    }
    root
}

/// The stand-in for the runner, built once.
pub(crate) fn runner() -> &'static Path {
    static RUNNER: OnceLock<PathBuf> = OnceLock::new();
    RUNNER.get_or_init(|| {
        if let Some(path) = std::env::var_os("JB_TEST_RUNNER") {
            return path.into();
        }
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = directory.join("standin");
        let new = directory.join(format!("standin-{}", std::process::id()));
        let status = Command::new("rustc")
            .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"])
            .arg(&new)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/standin.rs"))
            .status()
            .unwrap();
        assert!(status.success());
        // Tests of another process may use it at this moment.
        std::fs::rename(&new, &path).unwrap();
        path
    })
}

pub(crate) struct Machine {
    pub runtime: Option<LocalRuntime>,
    pub dir: tempfile::TempDir,
    runner: PathBuf,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self::with_runner(runner().to_owned())
    }

    pub(crate) fn with_runner(runner: PathBuf) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("jb-local-")
            .tempdir_in(
                std::env::var_os("JB_TEST_DIR")
                    .unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into()),
            )
            .unwrap();
        let mut machine = Self { runtime: None, dir, runner };
        machine.restart();
        machine
    }

    pub(crate) fn settings(&self) -> Settings {
        let program = self.dir.path().join("jb-resources");
        std::fs::write(&program, "#!/bin/sh\nbasename $0; cat $(dirname $0)/type\n").unwrap();
        let shim = vec![env!("CARGO_BIN_EXE_jb-shim").into()];
        Settings::new(self.dir.path().join("state"), shim, &self.runner, program)
    }

    /// Drops the runtime as a server's death would, and opens it anew.
    pub(crate) fn restart(&mut self) {
        self.runtime = None;
        self.runtime = Some(LocalRuntime::new(self.settings()).unwrap());
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn runtime(&self) -> &LocalRuntime {
        self.runtime.as_ref().unwrap()
    }

    /// Runs a script in a container; exit code and output.
    pub(crate) async fn sh(&self, handle: &str, script: &str) -> (i32, String) {
        let mut stream = self.runtime().connect(&ContainerHandle::new(handle)).await.unwrap();
        stream.write_all(script.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        let reply = String::from_utf8_lossy(&reply).into_owned();
        let (code, output) = reply.split_once('\n').unwrap();
        (code.parse().unwrap(), output.to_owned())
    }

    /// Runs a script that must succeed; its trimmed output.
    pub(crate) async fn ok(&self, handle: &str, script: &str) -> String {
        let (code, output) = self.sh(handle, script).await;
        assert_eq!(code, 0, "`{script}` said {output}");
        output.trim().to_owned()
    }

    pub(crate) async fn create(&self, spec: &ContainerSpec) {
        self.runtime().create(spec).await.unwrap();
    }

    /// Makes a volume from files, given as path and content.
    pub(crate) async fn volume(&self, name: &str, files: &[(&str, &str)]) -> VolumeHandle {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = header();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        let bytes = builder.into_inner().unwrap();
        let volume = VolumeHandle::new(name);
        self.runtime().create_volume(&volume).await.unwrap();
        let stream = Box::new(std::io::Cursor::new(bytes));
        self.runtime().stream_in(&volume, ".", stream).await.unwrap();
        volume
    }

    /// A volume with busybox as an image.
    pub(crate) async fn busybox(&self, name: &str, metadata: &str) -> VolumeHandle {
        let mut builder = tar::Builder::new(Vec::new());
        let mut append = |path: &str, content: &[u8], mode: u32| {
            let mut header = header();
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            builder.append_data(&mut header, path, content).unwrap();
        };
        append("metadata.json", metadata.as_bytes(), 0o644);
        append("rootfs/bin/busybox", &std::fs::read("/bin/busybox").unwrap(), 0o755);
        let passwd =
            b"root:x:0:0::/:/bin/sh\nbob:x:1234:1235::/:/bin/sh\nnobody:x:65534:65534::/:\n";
        append("rootfs/etc/passwd", passwd, 0o644);
        append("rootfs/etc/group", b"root:x:0:\ncrew:x:77:\n", 0o644);
        for tool in [
            "sh", "cat", "rm", "mkdir", "sleep", "test", "ls", "id", "ip", "ping", "mount", "stat",
            "hostname", "wc",
        ] {
            let mut header = header();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            builder.append_link(&mut header, format!("rootfs/bin/{tool}"), "busybox").unwrap();
        }
        let bytes = builder.into_inner().unwrap();
        let volume = VolumeHandle::new(name);
        self.runtime().create_volume(&volume).await.unwrap();
        let stream = Box::new(std::io::Cursor::new(bytes));
        self.runtime().stream_in(&volume, ".", stream).await.unwrap();
        volume
    }

    /// The names and contents of a volume's regular files and links.
    pub(crate) async fn files(&self, volume: &VolumeHandle) -> Vec<(String, String)> {
        let mut stream = self.runtime().stream_out(volume, ".").await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut files = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = String::new();
            std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
            if let Some(link) = entry.link_name().unwrap() {
                content = format!("-> {}", link.display());
            }
            if !entry.header().entry_type().is_dir() {
                files.push((path.trim_start_matches("./").to_owned(), content));
            }
        }
        files.sort();
        files
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.runtime.is_none() {
            self.restart();
        }
        let released = self.runtime().release();
        if !std::thread::panicking() {
            released.unwrap();
        }
    }
}

pub(crate) fn spec(handle: &str, image: Image) -> ContainerSpec {
    ContainerSpec {
        handle: ContainerHandle::new(handle),
        kind: ContainerKind::Task,
        image,
        hostname: "tester".into(),
        working_dir: "/tmp/build/1".into(),
        mounts: Vec::new(),
        limits: ContainerLimits::default(),
        privileged: false,
        network: Network::Outbound,
        user: User::Image,
        source: None,
        coordinates: Default::default(),
    }
}

pub(crate) fn input(path: &str, volume: &VolumeHandle) -> Mount {
    Mount { path: path.into(), source: MountSource::Input { volume: volume.clone(), copy: None } }
}

pub(crate) fn output(path: &str, volume: &VolumeHandle) -> Mount {
    Mount { path: path.into(), source: MountSource::Output(volume.clone()) }
}

pub(crate) fn cache(path: &str, volume: &VolumeHandle) -> Mount {
    Mount { path: path.into(), source: MountSource::Cache(volume.clone()) }
}

pub(crate) fn handle(name: &str) -> ContainerHandle {
    ContainerHandle::new(name)
}
