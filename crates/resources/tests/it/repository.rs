//! A real repository to work against.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A bare repository with a work tree beside it, from which commits are pushed.
pub(crate) struct Repository {
    dir: tempfile::TempDir,
    clock: std::cell::Cell<u64>,
}

/// Runs git with a fixed identity and no configuration of the machine; returns what it prints.
pub(crate) fn git(dir: &Path, clock: u64, args: &[&str]) -> String {
    let date = format!("{} +0000", 1_700_000_000 + clock);
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "Some One")
            .env(format!("GIT_{who}_EMAIL"), "one@example.com");
        command.env(format!("GIT_{who}_DATE"), &date);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

impl Repository {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = Self { dir, clock: 0.into() };
        let root = repository.dir.path();
        git(root, 0, &["init", "--quiet", "--bare", "--initial-branch=master", "bare.git"]);
        git(&repository.bare(), 0, &["config", "uploadpack.allowFilter", "true"]);
        git(&repository.bare(), 0, &["config", "http.receivepack", "true"]);
        git(root, 0, &["init", "--quiet", "--initial-branch=master", "work"]);
        repository.git(&["remote", "add", "origin", "../bare.git"]);
        repository
    }

    /// One whose branch has `count` commits.
    pub(crate) fn with_commits(count: usize) -> (Self, Vec<String>) {
        let repository = Self::new();
        let commits =
            (0..count).map(|index| repository.commit(&format!("commit {index}"))).collect();
        (repository, commits)
    }

    pub(crate) fn bare(&self) -> PathBuf {
        self.dir.path().join("bare.git")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A local address that goes through the same protocol as a remote one.
    pub(crate) fn uri(&self) -> String {
        format!("file://{}", self.bare().display())
    }

    /// Git in the work tree; each call is a second later than the last.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        self.clock.set(self.clock.get() + 1);
        git(&self.work(), self.clock.get(), args)
    }

    pub(crate) fn in_bare(&self, args: &[&str]) -> String {
        git(&self.bare(), 0, args)
    }

    /// Commits a change to `some-file` and pushes everything.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.commit_to("some-file", message)
    }

    pub(crate) fn commit_to(&self, file: &str, message: &str) -> String {
        let path = self.work().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, format!("{content}{message}\n")).unwrap();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", message]);
        self.publish();
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn tag(&self, name: &str) {
        self.git(&["tag", "--force", "-a", "-m", name, name]);
        self.publish();
    }

    pub(crate) fn publish(&self) {
        self.git(&["push", "--quiet", "--force", "origin", "--all"]);
        self.git(&["push", "--quiet", "--force", "origin", "--tags"]);
    }
}
