//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use jb_runner_protocol::JOURNAL_BYTES_MAX;

use crate::journal::LIMIT_MIN;
use crate::serve::Lock;

#[cfg(test)]
mod tests;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Serve(Options),
    /// `announce` writes one zero byte to stdout once it is connected, before anything of the runner's.
    Connect {
        socket: PathBuf,
        announce: bool,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Where journals are kept; made when missing.
    pub(crate) journal: PathBuf,
    pub(crate) socket: Socket,
    /// A port of the loopback to listen on, too, and what its callers' key has to fit.
    pub(crate) door: Option<(u16, Lock)>,
    /// The process whose status the runner ends with.
    pub(crate) main: Option<String>,
    /// Ends the runner after the main process: once its journal is acknowledged, or this long after.
    pub(crate) linger: Option<Duration>,
    /// Copies the main process's output (every process's without one) to the runner's own stdout.
    pub(crate) echo: bool,
    /// How long processes may take to end by themselves when the runner is asked to terminate.
    pub(crate) grace: Duration,
    /// Directories to make.
    pub(crate) make: Vec<PathBuf>,
    /// The user whom directories are given to, by the container's own files.
    pub(crate) user: Option<String>,
    /// Those directories, with all that is in them, unless they are the user's already.
    pub(crate) own: Vec<PathBuf>,
    /// A process whose journal has more bytes than this is not read from until some are acknowledged.
    pub(crate) journal_limit: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    Path(PathBuf),
    /// A listening socket that was inherited.
    Inherited(i32),
}

const USAGE: &str =
    "usage: jb-runner serve --journal DIR (--socket PATH | --socket-fd N) [--main ID] \
[--linger SECONDS] [--grace SECONDS] [--port PORT --key SHA256] [--journal-limit BYTES] [--echo] [--make DIR...] [--user USER --own DIR...]
       jb-runner connect --socket PATH [--announce]";

pub(crate) fn parse(arguments: &[String]) -> Result<Command, String> {
    let mut words = arguments.iter();
    let command = words.next().map(String::as_str);
    let (mut journal, mut socket, mut main, mut linger) = (None, None, None, None);
    let (mut echo, mut grace) = (false, Duration::from_secs(10));
    let mut journal_limit = JOURNAL_BYTES_MAX;
    let mut announce = false;
    let (mut port, mut key) = (None, None);
    let (mut make, mut user, mut own) = (Vec::new(), None, Vec::new());
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value\n{USAGE}"));
        match word.as_str() {
            "--journal" => journal = Some(PathBuf::from(value()?)),
            "--socket" => socket = Some(Socket::Path(PathBuf::from(value()?))),
            "--socket-fd" => socket = Some(Socket::Inherited(number(word, value()?)?)),
            "--port" => port = Some(number(word, value()?)?),
            "--key" => key = Some(lock(value()?)?),
            "--main" => main = Some(value()?.clone()),
            "--linger" => linger = Some(Duration::from_secs(number(word, value()?)?)),
            "--grace" => grace = Duration::from_secs(number(word, value()?)?),
            "--journal-limit" => journal_limit = number(word, value()?)?,
            "--make" => make.push(PathBuf::from(value()?)),
            "--user" => user = Some(value()?.clone()),
            "--own" => own.push(PathBuf::from(value()?)),
            "--echo" => echo = true,
            "--announce" => announce = true,
            _ => return Err(format!("unknown argument `{word}`\n{USAGE}")),
        }
    }
    let missing = |name| format!("`{name}` is missing\n{USAGE}");
    match command {
        Some("serve") => {
            if journal_limit < LIMIT_MIN {
                return Err(format!("`--journal-limit` is at least {LIMIT_MIN}\n{USAGE}"));
            }
            if linger.is_some() && main.is_none() {
                return Err(format!("`--linger` needs `--main`\n{USAGE}"));
            }
            if port.is_some() != key.is_some() {
                return Err(format!("`--port` and `--key` need each other\n{USAGE}"));
            }
            Ok(Command::Serve(Options {
                journal: journal.ok_or_else(|| missing("--journal"))?,
                socket: socket.ok_or_else(|| missing("--socket"))?,
                door: port.zip(key),
                main,
                linger,
                echo,
                grace,
                make,
                user,
                own,
                journal_limit,
            }))
        }
        Some("connect") => match socket {
            Some(Socket::Path(socket)) => Ok(Command::Connect { socket, announce }),
            _ => Err(missing("--socket")),
        },
        _ => Err(USAGE.to_owned()),
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{name} {value}` is not a number\n{USAGE}"))
}

/// The digest of a key, in hexadecimal digits.
fn lock(text: &str) -> Result<Lock, String> {
    let bytes = text.as_bytes().chunks(2).map(|digits| {
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    let lock = bytes.and_then(|bytes| Lock::try_from(bytes).ok());
    lock.ok_or_else(|| format!("`--key {text}` is not a SHA-256 digest\n{USAGE}"))
}
