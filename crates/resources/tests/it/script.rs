//! Runs one script of a resource type in a private temporary directory.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_jb-resources");

/// A directory for one test: TMPDIR of the scripts, and room for what they make.
pub(crate) struct Scripts {
    pub(crate) dir: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The response of a script that must have succeeded.
    pub(crate) fn json(&self) -> Value {
        assert!(self.succeeded, "{}", self.stderr);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.stdout))
    }

    /// What a script that must have failed said last, without colours and level.
    pub(crate) fn failure(&self) -> String {
        assert!(!self.succeeded, "{}", self.stdout);
        assert_eq!(self.stdout, "");
        let last = self.stderr.lines().last().unwrap_or_default();
        let message = last.split_once("] ").map_or(last, |(_, message)| message);
        message.trim_end().to_owned()
    }
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn check(&self, kind: &str, request: &Value) -> Ended {
        self.run(&[kind, "check"], &request.to_string())
    }

    pub(crate) fn fetch(&self, kind: &str, dest: &Path, request: &Value) -> Ended {
        self.run(&[kind, "in", dest.to_str().unwrap()], &request.to_string())
    }

    pub(crate) fn push(&self, kind: &str, artifacts: &Path, request: &Value) -> Ended {
        self.run(&[kind, "out", artifacts.to_str().unwrap()], &request.to_string())
    }

    pub(crate) fn run(&self, args: &[&str], stdin: &str) -> Ended {
        self.run_as(Path::new(BINARY), args, stdin)
    }

    pub(crate) fn run_as(&self, program: &Path, args: &[&str], stdin: &str) -> Ended {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("TMPDIR", self.dir.path())
            .env_remove("MIRRORED_VERSION")
            .env_remove("JETBRIDGE_RESOURCE_TYPE")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A script may fail before it reads its request.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ended {
            succeeded: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
