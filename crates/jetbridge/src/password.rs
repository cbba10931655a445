//! A password from where nobody else sees it: the environment, or the terminal.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use anyhow::{Context as _, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The variable that is looked at.
const VARIABLE: &str = "JETBRIDGE_PASSWORD";
/// The longest line that is read.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// The password of `name`: as given, or from the environment, or typed.
pub(crate) fn of(name: &str, given: Option<&str>) -> anyhow::Result<String> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    if let Some(password) = std::env::var(VARIABLE).ok().filter(|password| !password.is_empty()) {
        return Ok(password);
    }
    let Ok(terminal) = File::options().read(true).write(true).open("/dev/tty") else {
        bail!("there is no terminal to type the password of `{name}` at: give it in {VARIABLE}");
    };
    typed(&terminal, name).context("read the password from the terminal")
}

fn typed(terminal: &File, name: &str) -> anyhow::Result<String> {
    let silent = Silent::new(terminal)?;
    write!(&*terminal, "password of {name}: ")?;
    let mut line = String::new();
    BufReader::new(terminal.take(PASSWORD_BYTES_MAX)).read_line(&mut line)?;
    drop(silent);
    writeln!(&*terminal)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// A terminal that does not show what is typed, for as long as this lives.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(terminal: &'a File) -> anyhow::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Drain, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // Where it cannot be set back, the terminal is gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}
