//! Answers to the questions git and ssh ask for credentials; both run this binary as their askpass program.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::git::source::Login;

/// Names the private file with the answers.
pub(super) const CREDENTIALS_VARIABLE: &str = "JETBRIDGE_GIT_CREDENTIALS";

/// What may be answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Credentials {
    pub(super) logins: Vec<HostLogin>,
    pub(super) passphrase: Option<String>,
}

/// A login for one host (with its port, where the address has one).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HostLogin {
    host: String,
    username: String,
    password: String,
}

impl HostLogin {
    pub(super) fn new(host: &str, login: &Login) -> Self {
        Self {
            host: host.to_ascii_lowercase(),
            username: login.username.clone(),
            password: login.password.clone(),
        }
    }
}

/// `host[:port]` of an HTTP address.
pub(super) fn host_of(uri: &str) -> Option<String> {
    let url = url::Url::parse(uri).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let host = url.host_str()?.to_ascii_lowercase();
    Some(url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
}

/// Prints the answer to `prompt`, or fails, which git and ssh take as a refusal.
pub(crate) fn answer(prompt: &str) -> anyhow::Result<()> {
    let path = std::env::var_os(CREDENTIALS_VARIABLE).context("no credentials to answer with")?;
    let text = std::fs::read(&path).context("failed to read the credentials")?;
    let credentials: Credentials =
        serde_json::from_slice(&text).context("failed to read the credentials")?;
    let answer = choose(&credentials, prompt)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{answer}").context("failed to answer")
}

/// Prompts are `Username for 'https://host': `, `Password for 'https://user@host': ` and `Enter passphrase for …`.
fn choose<'a>(credentials: &'a Credentials, prompt: &str) -> anyhow::Result<&'a str> {
    if prompt.contains("passphrase") {
        return credentials
            .passphrase
            .as_deref()
            .context("Private key has a passphrase but private_key_passphrase has not been set.");
    }
    let address = prompt.split('\'').nth(1).unwrap_or_default();
    let host = host_of(address);
    let login = host.and_then(|host| credentials.logins.iter().find(|login| login.host == host));
    let Some(login) = login else { bail!("no credentials in the source for {address:?}") };
    if prompt.starts_with("Username") { Ok(&login.username) } else { Ok(&login.password) }
}

#[cfg(test)]
mod tests;
