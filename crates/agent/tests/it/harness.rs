//! Harnesses as a container runs them: one process, its task on stdin, its transcript on stdout.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use jb_agent_protocol::approval::Decision;
use jb_agent_protocol::command_line::{CLAUDE_CODE, CODEX, OPENCODE};
use jb_agent_protocol::{Api, CommandLine, Entry, Line, LoopSpec};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The directories with the command lines of others, as `cargo xtask test` installs them.
const INSTALLED: &str = "JETBRIDGE_HARNESSES";

/// A harness and the API its model is spoken to in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Harness {
    line: Option<CommandLine>,
    pub(crate) api: Api,
}

impl Harness {
    /// Those that are here. What is missing is said.
    pub(crate) fn all() -> Vec<Self> {
        let builtin = Self { line: None, api: Api::Messages };
        if std::env::var_os(INSTALLED).is_none() {
            eprintln!("SKIPPED: harnesses of others, as {INSTALLED} does not say where they are");
            return vec![builtin];
        }
        let others = [(CLAUDE_CODE, Api::Messages), (CODEX, Api::Responses), (OPENCODE, Api::Chat)];
        let others = others.map(|(line, api)| Self { line: Some(line), api });
        [builtin].into_iter().chain(others).collect()
    }

    pub(crate) fn of(line: CommandLine) -> Self {
        Self { line: Some(line), api: line.apis[0] }
    }

    pub(crate) fn name(self) -> &'static str {
        self.line.map_or("builtin", |line| line.name)
    }

    /// Starts it, with programs looked for in `programs` first.
    pub(crate) async fn start(self, spec: &LoopSpec, programs: &[PathBuf]) -> Running {
        self.start_in(spec, programs, &std::env::temp_dir()).await
    }

    /// The same with a directory for files that go.
    pub(crate) async fn start_in(
        self,
        spec: &LoopSpec,
        programs: &[PathBuf],
        tmp: &Path,
    ) -> Running {
        let own = std::env::var_os("PATH").unwrap();
        let path = programs.iter().cloned().chain(std::env::split_paths(&own));
        self.spawn(spec, std::env::join_paths(path).unwrap(), tmp).await
    }

    /// The same with programs looked for there alone.
    pub(crate) async fn start_only(self, spec: &LoopSpec, path: &Path) -> Running {
        self.spawn(spec, path.into(), &std::env::temp_dir()).await
    }

    async fn spawn(self, spec: &LoopSpec, path: OsString, tmp: &Path) -> Running {
        let verb = self.line.map_or("loop", |line| line.name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_jb-agent"));
        command.arg(verb).env("PATH", path).env("TMPDIR", tmp);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin
            .write_all(format!("{}\n", serde_json::to_string(spec).unwrap()).as_bytes())
            .await
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, stdin, lines, said: Vec::new() }
    }

    /// Runs it to its end.
    pub(crate) async fn run(self, spec: LoopSpec) -> Vec<Entry> {
        self.start(&spec, &installed()).await.end().await
    }
}

/// Where the command lines of others are.
pub(crate) fn installed() -> Vec<PathBuf> {
    let dirs = std::env::var_os(INSTALLED).unwrap_or_default();
    std::env::split_paths(&dirs).filter(|dir| dir.is_absolute()).collect()
}

pub(crate) struct Running {
    pub(crate) child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    said: Vec<Entry>,
}

impl Running {
    pub(crate) async fn next(&mut self) -> Option<Entry> {
        let line = self.lines.next_line().await.unwrap()?;
        let Line { entry, .. } = serde_json::from_str(&line).unwrap();
        self.said.push(entry.clone());
        Some(entry)
    }

    /// The next question to people: its id and what is to be called.
    pub(crate) async fn asked(&mut self) -> (String, Value) {
        loop {
            match self.next().await {
                Some(Entry::ApprovalAsked { id, input, .. }) => return (id, input),
                Some(_) => {}
                None => panic!("it ended without asking: {:?}", self.said),
            }
        }
    }

    /// Says what people decided.
    pub(crate) async fn decide(&mut self, id: &str, approved: bool, comment: &str) {
        let (id, by, comment) = (id.to_owned(), "ann".to_owned(), comment.to_owned());
        let decision = Decision { id, approved, by, comment };
        let line = format!("{}\n", serde_json::to_string(&decision).unwrap());
        self.stdin.write_all(line.as_bytes()).await.unwrap();
    }

    pub(crate) async fn end(mut self) -> Vec<Entry> {
        while self.next().await.is_some() {}
        self.child.wait().await.unwrap();
        self.said
    }
}
