//! The program that is driven: found, asked for its version, started, ended.

use std::collections::VecDeque;
use std::os::unix::fs::DirBuilderExt as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jb_agent_protocol::LoopSpec;
use jb_agent_protocol::command_line::CommandLine;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::Launch;
use crate::output::cut;
use crate::process::{Group, how_ended};
use crate::step::End;
use crate::tools::search_path;

/// How long a program may take to say its version.
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest line of a program; it holds a whole message of the conversation.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Bytes from the end of what a program writes to stderr.
const STDERR_BYTES: usize = 2 << 10;
/// What a program may say after its stdout ended, it is waited for this long.
const AFTER_END: Duration = Duration::from_secs(5);

/// A directory that a program may keep its files in. Nothing else is in it, and it goes with the run.
pub(super) struct Home(String);

impl Home {
    pub(super) fn new() -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("jetbridge-harness-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| format!("make the harness's directory {}: {error}", path.display()))?;
        path.to_str()
            .map(|path| Self(path.to_owned()))
            .ok_or_else(|| format!("the harness's directory {} has no UTF-8 name", path.display()))
    }

    pub(super) fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The container goes soon anyway.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program's file in the image.
pub(super) fn find(line: &CommandLine, spec: &LoopSpec) -> Result<String, String> {
    let path = search_path(spec);
    crate::tools::find(&path, line.program).ok_or_else(|| {
        format!(
            "the harness `{}` needs the program `{}` {} in the step's image; there is none in {}",
            line.name,
            line.program,
            line.version,
            path.join(":")
        )
    })
}

/// Asks the program for its version, as protocols change with it.
pub(super) async fn probe(line: &CommandLine, file: &str, home: &Home) -> Result<(), String> {
    let mut command = command(file, home);
    command.arg("--version").stdin(Stdio::null());
    let failed = |why: String| format!("ask `{file}` for its version: {why}");
    let output = match tokio::time::timeout(PROBE_TIMEOUT, command.output()).await {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_) => {
            return Err(failed(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())));
        }
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let found = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    match found {
        Some(version) if version == line.version => Ok(()),
        Some(version) => Err(format!(
            "`{file}` has version {}; this driver of {} knows {}: use an image with that one",
            cut(version, 100),
            line.name,
            line.version
        )),
        None => Err(failed(format!("it said `{}`", cut(said.trim(), 200)))),
    }
}

/// A command that sees nothing of the step's environment but where programs are.
fn command(file: &str, home: &Home) -> Command {
    let mut command = Command::new(file);
    command.env_clear().env("HOME", home.path()).env("TMPDIR", home.path());
    if let Ok(path) = std::env::var("PATH") {
        command.env("PATH", path);
    }
    command.env("LANG", "C.UTF-8").kill_on_drop(true).process_group(0);
    command
}

pub(super) struct Program {
    name: &'static str,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// A line whose end is still to come.
    partial: Vec<u8>,
    /// So far no line ends in it.
    searched: usize,
    stderr: Option<ChildStderr>,
    complaints: VecDeque<u8>,
    /// Ends what the program started.
    _group: Group,
}

impl Program {
    pub(super) fn start(
        line: &CommandLine,
        file: &str,
        launch: Launch,
        home: &Home,
        dir: &str,
    ) -> Result<Self, String> {
        let mut command = command(file, home);
        command.args(launch.args).envs(launch.env).current_dir(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |why: &str| format!("start `{file}`: {why}");
        for dir in launch.dirs {
            std::fs::create_dir_all(&dir)
                .map_err(|error| failed(&format!("make {dir}: {error}")))?;
        }
        let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
        let group = Group::of(&child);
        let stdin = child.stdin.take().ok_or_else(|| failed("it has no stdin"))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("it has no stdout"))?;
        Ok(Self {
            name: line.name,
            stdin,
            stdout: BufReader::new(stdout),
            partial: Vec::new(),
            searched: 0,
            stderr: child.stderr.take(),
            complaints: VecDeque::new(),
            child,
            _group: group,
        })
    }

    pub(super) async fn tell(&mut self, line: &Value) {
        let mut text = line.to_string();
        text.push('\n');
        // Its output is read meanwhile by nobody, so it may not wait for ever.
        let Self { stdin, stdout, partial, .. } = self;
        let written = async {
            stdin.write_all(text.as_bytes()).await?;
            stdin.flush().await
        };
        tokio::pin!(written);
        loop {
            tokio::select! {
                biased;
                _ = &mut written => return,
                filled = stdout.fill_buf() => {
                    let Ok(bytes) = filled else { return };
                    let length = bytes.len();
                    if length == 0 {
                        return;
                    }
                    partial.extend_from_slice(bytes);
                    stdout.consume(length);
                }
            }
        }
    }

    /// The next line; none when there will be no more. Nothing is lost when this is dropped half-way.
    pub(super) async fn line(&mut self) -> Option<String> {
        let mut buffer = [0; 1 << 10];
        loop {
            let new = &self.partial[self.searched..];
            let end = new.iter().position(|byte| *byte == b'\n').map(|end| self.searched + end);
            self.searched = self.partial.len();
            if let Some(end) = end {
                let rest = self.partial.split_off(end + 1);
                let line = std::mem::replace(&mut self.partial, rest);
                self.searched = 0;
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if line.is_empty() {
                    continue;
                }
                return Some(line);
            }
            if self.partial.len() > LINE_BYTES_MAX {
                self.searched = 0;
                return Some(String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into());
            }
            tokio::select! {
                filled = self.stdout.fill_buf() => {
                    let bytes = filled.unwrap_or_default();
                    let length = bytes.len();
                    if length == 0 {
                        return None;
                    }
                    self.partial.extend_from_slice(bytes);
                    self.stdout.consume(length);
                }
                read = complaint(&mut self.stderr, &mut buffer) => self.keep(&buffer[..read]),
            }
        }
    }

    fn keep(&mut self, complaint: &[u8]) {
        self.complaints.extend(complaint);
        let extra = self.complaints.len().saturating_sub(STDERR_BYTES);
        self.complaints.drain(..extra);
    }

    /// How the run ends when the program did before its work was done.
    pub(super) async fn ended(mut self) -> End {
        let mut buffer = [0; 1 << 10];
        let status = tokio::time::timeout(AFTER_END, async {
            while self.stderr.is_some() {
                let read = complaint(&mut self.stderr, &mut buffer).await;
                self.keep(&buffer[..read]);
            }
            self.child.wait().await
        });
        let how = match status.await {
            Ok(Ok(status)) => how_ended(status),
            Ok(Err(_)) | Err(_) => "fell silent".to_owned(),
        };
        End::failed(format!("{} {how} before its work was done{}", self.name, self.said()))
    }

    /// How the run ends when the program says what is no word of its protocol.
    pub(super) fn nonsense(&self, line: &str) -> End {
        End::failed(format!("{} said what is not its protocol: {line}", self.name))
    }

    fn said(&self) -> String {
        let said: Vec<u8> = self.complaints.iter().copied().collect();
        let said = String::from_utf8_lossy(&said);
        if said.trim().is_empty() { String::new() } else { format!(": {}", said.trim()) }
    }
}

/// Reads what there is; forgets a stream that ended, and never returns without one.
async fn complaint(stderr: &mut Option<ChildStderr>, buffer: &mut [u8]) -> usize {
    let Some(open) = stderr else { return std::future::pending().await };
    match open.read(buffer).await {
        Ok(read) if read > 0 => read,
        _ => {
            *stderr = None;
            0
        }
    }
}
