//! Lines on stderr for people, in the form Concourse's own resources print: `INFO[0000] message   key=value`.

use std::io::Write as _;
use std::time::Instant;

/// Width to which a message is padded, as in the logs people know.
const MESSAGE_WIDTH: usize = 44;
const RED: u8 = 31;
const YELLOW: u8 = 33;
const BLUE: u8 = 36;

/// The process's log; the number in brackets counts the whole seconds since it was started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    started: Instant,
}

impl Log {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn info(&self, message: &str) {
        self.line("INFO", BLUE, message, &[]);
    }

    pub(crate) fn info_with(&self, message: &str, fields: &[(&str, &str)]) {
        self.line("INFO", BLUE, message, fields);
    }

    pub(crate) fn warn(&self, message: &str) {
        self.line("WARN", YELLOW, message, &[]);
    }

    /// The one line that says why the script fails.
    pub(crate) fn fatal(&self, message: &str) {
        self.line("FATA", RED, message, &[]);
    }

    /// Says which keys have no meaning, so that a misspelled one is noticed; they do not stop the script.
    pub(crate) fn ignored_keys(&self, keys: &[String]) {
        if !keys.is_empty() {
            self.warn(&format!("ignoring unknown keys: {}", keys.join(", ")));
        }
    }

    fn line(&self, level: &str, colour: u8, message: &str, fields: &[(&str, &str)]) {
        let line = formatted(level, colour, self.started.elapsed().as_secs(), message, fields);
        // A closed stderr must not stop the script.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

fn formatted(
    level: &str,
    colour: u8,
    seconds: u64,
    message: &str,
    fields: &[(&str, &str)],
) -> String {
    let mut line = format!("\x1b[{colour}m{level}\x1b[0m[{seconds:04}] {message:<MESSAGE_WIDTH$} ");
    for (key, value) in fields {
        line.push_str(&format!(" \x1b[{colour}m{key}\x1b[0m={value}"));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests;
