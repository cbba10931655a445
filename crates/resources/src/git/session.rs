//! Private files and environment with which git and ssh are run: one directory, removed at the end.
//!
//! Passwords and passphrases are in a file of mode 0600 that only our own askpass reads; a login is given to the host
//! it is meant for and to no other.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::git::askpass::{CREDENTIALS_VARIABLE, Credentials, HostLogin, host_of};
use crate::git::source::{Access, PrivateKey};
use crate::git::ssh::CONFIG_VARIABLE;
use crate::invocation::{ASKPASS_NAME, SSH_NAME};

/// Git's own variables that would aim our commands at something else.
const CLEARED: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_CEILING_DIRECTORIES",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_SSH_COMMAND",
    "GIT_EXTERNAL_DIFF",
    "SSH_AUTH_SOCK",
];

/// The environment of every git command of one script run.
#[derive(Debug)]
pub(super) struct Session {
    dir: tempfile::TempDir,
    environment: Vec<(&'static str, OsString)>,
}

impl Session {
    /// `uri` is the repository to whose host the source's login belongs.
    pub(super) fn open(access: &Access, uri: &str) -> anyhow::Result<Self> {
        let mut session = Self { dir: private_dir()?, environment: Vec::new() };
        let home = session.path("home");
        fs::DirBuilder::new().mode(0o700).create(&home).with_context(|| unable(&home))?;
        let config = session.path("gitconfig");
        write_private(&config, b"")?;
        let this = std::env::current_exe().context("failed to find this program's own file")?;
        for name in [ASKPASS_NAME, SSH_NAME] {
            let link = session.path(name);
            std::os::unix::fs::symlink(&this, &link).with_context(|| unable(&link))?;
        }
        let mut logins: Vec<HostLogin> = Vec::new();
        for (host, login) in &access.submodule_logins {
            logins.push(HostLogin::new(host, login));
        }
        if let (Some(host), Some(login)) = (host_of(uri), &access.login) {
            logins.push(HostLogin::new(&host, login));
        }
        session.environment = vec![
            ("HOME", home.into()),
            ("GIT_CONFIG_GLOBAL", config.clone().into()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
            ("GIT_ASKPASS", session.path(ASKPASS_NAME).into()),
            ("SSH_ASKPASS", session.path(ASKPASS_NAME).into()),
            ("SSH_ASKPASS_REQUIRE", "force".into()),
            ("GIT_SSH", session.path(SSH_NAME).into()),
            ("GIT_SSH_VARIANT", "ssh".into()),
            // Messages are searched for reasons of refusal.
            ("LC_ALL", "C".into()),
        ];
        session.write_credentials(logins, access.private_key.as_ref())?;
        session
            .write_ssh_config(access.private_key.as_ref(), access.private_key_user.as_deref())?;
        if access.skip_ssl_verification {
            session.environment.push(("GIT_SSL_NO_VERIFY", "true".into()));
        }
        if access.debug {
            for name in ["GIT_TRACE", "GIT_TRACE_PACKFILE", "GIT_CURL_VERBOSE"] {
                session.environment.push((name, "1".into()));
            }
        }
        write_private(&config, config_text(&access.git_config).as_bytes())?;
        Ok(session)
    }

    /// The same session with another ssh key, for a submodule that has its own.
    pub(super) fn with_key(access: &Access, uri: &str, key: &PrivateKey) -> anyhow::Result<Self> {
        let mut session = Self::open(access, uri)?;
        session.write_credentials(Vec::new(), Some(key))?;
        session.write_ssh_config(Some(key), access.private_key_user.as_deref())?;
        Ok(session)
    }

    /// A file or directory of this name in the private directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.environment.retain(|(existing, _)| *existing != name);
        self.environment.push((name, value.into()));
    }

    pub(super) fn apply(&self, command: &mut std::process::Command) {
        for name in CLEARED {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    fn write_credentials(
        &mut self,
        logins: Vec<HostLogin>,
        key: Option<&PrivateKey>,
    ) -> anyhow::Result<()> {
        let passphrase = key.and_then(|key| key.passphrase.clone());
        let credentials = Credentials { logins, passphrase };
        let path = self.path("credentials.json");
        let text = serde_json::to_vec(&credentials).context("failed to encode credentials")?;
        write_private(&path, &text)?;
        self.set(CREDENTIALS_VARIABLE, path);
        Ok(())
    }

    fn write_ssh_config(
        &mut self,
        key: Option<&PrivateKey>,
        user: Option<&str>,
    ) -> anyhow::Result<()> {
        // Host keys are not known in a fresh container, and upstream's resource does not check them either.
        let mut config = String::from(
            "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n",
        );
        if let Some(key) = key {
            let file = self.path("private-key");
            let newline = if key.pem.ends_with('\n') { "" } else { "\n" };
            write_private(&file, format!("{}{newline}", key.pem).as_bytes())?;
            config.push_str(&format!("IdentityFile \"{}\"\nIdentitiesOnly yes\n", file.display()));
        }
        if let Some(user) = user {
            config.push_str(&format!("User \"{user}\"\n"));
        }
        let path = self.path("ssh-config");
        write_private(&path, config.as_bytes())?;
        self.set(CONFIG_VARIABLE, path);
        Ok(())
    }
}

fn private_dir() -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("git-resource-")
        .tempdir()
        .context("failed to create a private directory")
}

fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).and_then(|mut file| file.write_all(content)).with_context(|| unable(path))
}

fn unable(path: &Path) -> String {
    format!("failed to create {}", path.display())
}

/// Git's settings: what the resource needs, then the source's own.
fn config_text(settings: &[(String, String)]) -> String {
    let defaults = [
        ("user.email", "git@localhost"),
        ("user.name", "git"),
        ("pull.rebase", "false"),
        ("advice.detachedHead", "false"),
        // Repositories come from other steps, whose user may be another.
        ("safe.directory", "*"),
        // Submodules beside a repository on the same disk or volume.
        ("protocol.file.allow", "always"),
    ];
    let mut text = String::new();
    let own = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in defaults.into_iter().chain(own) {
        // section[.subsection].key: the subsection is everything between the first and the last dot.
        let Some((section, rest)) = name.split_once('.') else { continue };
        let header = match rest.rsplit_once('.') {
            Some((subsection, _)) => format!("[{section} {}]", quoted(subsection)),
            None => format!("[{section}]"),
        };
        let key = rest.rsplit_once('.').map_or(rest, |(_, key)| key);
        text.push_str(&format!("{header}\n\t{key} = {}\n", quoted(value)));
    }
    text
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
