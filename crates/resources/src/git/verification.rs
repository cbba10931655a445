//! Whether a commit was signed by one of the source's keys.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::git::command::Git;
use crate::git::session::Session;
use crate::git::source::Verification;

const DEFAULT_KEYSERVER: &str = "hkp://keyserver.ubuntu.com/";

/// Imports the keys into a key ring of this session's own, which later git commands of the session use.
pub(super) fn prepare(session: &mut Session, wanted: &Verification) -> anyhow::Result<()> {
    if wanted.keys.is_empty() && wanted.key_ids.is_empty() {
        return Ok(());
    }
    let home = session.path("gnupg");
    fs::DirBuilder::new().mode(0o700).create(&home).context("failed to create a key ring")?;
    session.set("GNUPGHOME", home);
    for key in &wanted.keys {
        gpg(session, &["--import"], key.as_bytes())
            .context("invalid GPG key in source.commit_verification_keys")?;
    }
    let server = wanted.keyserver.as_deref().unwrap_or(DEFAULT_KEYSERVER);
    for id in &wanted.key_ids {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!("source.commit_verification_key_ids: {id:?} is not a key id");
        }
        gpg(session, &["--keyserver", server, "--recv-keys", id], b"")
            .with_context(|| format!("failed to receive key {id} from {server}"))?;
    }
    Ok(())
}

/// Fails unless `HEAD` carries a good signature of a known key.
pub(super) fn check_head(git: &Git<'_>, wanted: &Verification) -> anyhow::Result<()> {
    if wanted.keys.is_empty() && wanted.key_ids.is_empty() {
        return Ok(());
    }
    let commit = git.line(&["rev-parse", "--verify", "HEAD"])?;
    if !git.heard(&["verify-commit", &commit])?.0 {
        bail!("the commit {commit} is not signed by a key of source.commit_verification_keys");
    }
    Ok(())
}

fn gpg(session: &Session, args: &[&str], input: &[u8]) -> anyhow::Result<()> {
    let mut command = Command::new("gpg");
    command.args(["--batch", "--quiet"]).args(args).stdin(Stdio::piped()).stdout(Stdio::null());
    session.apply(&mut command);
    let mut child = command
        .spawn()
        .context("failed to run gpg: verifying commits needs gpg in this container")?;
    if let Some(mut stdin) = child.stdin.take() {
        // The exit status tells when gpg did not want it all.
        let _ = stdin.write_all(input);
    }
    let status = child.wait().context("failed to wait for gpg")?;
    if !status.success() {
        bail!("gpg failed ({status})");
    }
    Ok(())
}
