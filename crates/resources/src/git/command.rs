//! Running git: arguments as arrays, git's own talk on stderr, results captured.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::git::session::Session;

/// Results larger than this are refused: a history of six million commits fits.
const MAX_OUTPUT: u64 = 256 << 20;

/// Git in one directory with one session's environment.
#[derive(Debug)]
pub(super) struct Git<'s> {
    session: &'s Session,
    dir: PathBuf,
}

impl<'s> Git<'s> {
    pub(super) fn new(session: &'s Session, dir: impl Into<PathBuf>) -> Self {
        Self { session, dir: dir.into() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same directory with another session.
    pub(super) fn with_session<'t>(&self, session: &'t Session) -> Git<'t> {
        Git { session, dir: self.dir.clone() }
    }

    /// Runs with both outputs on stderr; a failure is an error.
    pub(super) fn run<S: AsRef<str>>(&self, args: &[S]) -> anyhow::Result<()> {
        let mut command = self.command(args);
        let stderr =
            std::io::stderr().as_fd().try_clone_to_owned().context("failed to use stderr")?;
        let status = command
            .stdout(stderr)
            .stdin(Stdio::null())
            .status()
            .with_context(|| cannot_run(args))?;
        if !status.success() {
            bail!("{} failed ({status})", shown(args));
        }
        Ok(())
    }

    /// Runs silently and tells whether it succeeded.
    pub(super) fn succeeds<S: AsRef<str>>(&self, args: &[S]) -> anyhow::Result<bool> {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status().with_context(|| cannot_run(args))?.success())
    }

    /// What it prints, as text with the last newline removed.
    pub(super) fn line<S: AsRef<str>>(&self, args: &[S]) -> anyhow::Result<String> {
        let bytes = self.output(args, b"")?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    /// The lines it prints.
    pub(super) fn lines<S: AsRef<str>>(&self, args: &[S]) -> anyhow::Result<Vec<String>> {
        self.lines_from(args, &[])
    }

    /// The lines it prints when given these lines on stdin.
    pub(super) fn lines_from<S: AsRef<str>>(
        &self,
        args: &[S],
        input: &[String],
    ) -> anyhow::Result<Vec<String>> {
        let mut text = input.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        let bytes = self.output(args, text.as_bytes())?;
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }

    /// What it prints; a failure is an error.
    pub(super) fn output<S: AsRef<str>>(
        &self,
        args: &[S],
        input: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| cannot_run(args))?;
        let output = exchange(&mut child, input)
            .with_context(|| format!("failed to talk to {}", shown(args)))?;
        let status = child.wait().with_context(|| cannot_run(args))?;
        if !status.success() {
            bail!("{} failed ({status})", shown(args));
        }
        Ok(output)
    }

    /// Whether it succeeded, and everything it said, which is passed on to stderr too.
    pub(super) fn heard<S: AsRef<str>>(&self, args: &[S]) -> anyhow::Result<(bool, String)> {
        let mut command = self.command(args);
        let output = command.stdin(Stdio::null()).output().with_context(|| cannot_run(args))?;
        let mut said = output.stdout;
        said.extend_from_slice(&output.stderr);
        let _ = std::io::stderr().lock().write_all(&said);
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.dir).args(args.iter().map(AsRef::as_ref));
        self.session.apply(&mut command);
        command
    }
}

/// Writes `input` on one thread while this one reads, so that neither side waits for the other.
fn exchange(child: &mut Child, input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // Git may have read enough; its exit status tells.
                let _ = stdin.write_all(input);
            }
        });
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output)?;
        }
        if output.len() as u64 > MAX_OUTPUT {
            bail!("it printed more than {MAX_OUTPUT} bytes");
        }
        Ok(output)
    })
}

fn cannot_run<S: AsRef<str>>(args: &[S]) -> String {
    format!("failed to run {}: is git installed in this container", shown(args))
}

/// The command line for an error, without the secrets an address may carry.
fn shown<S: AsRef<str>>(args: &[S]) -> String {
    let mut text = String::from("git");
    for arg in args.iter().map(AsRef::as_ref) {
        text.push(' ');
        text.push_str(&without_login(arg));
    }
    text
}

/// `https://user:password@host/x` becomes `https://host/x`.
pub(super) fn without_login(address: &str) -> String {
    if let Some((scheme, rest)) = address.split_once("://") {
        let authority_end = rest.find('/').unwrap_or(rest.len());
        if let Some(at) = rest[..authority_end].rfind('@')
            && rest[..at].contains(':')
        {
            return format!("{scheme}://{}", &rest[at + 1..]);
        }
    }
    address.to_owned()
}

#[cfg(test)]
mod tests;
