//! Lines on stderr for people.

use std::io::Write as _;
use std::time::Instant;

use jb_model::script::{Level, Line};

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
        self.line(Level::Info, message, &[]);
    }

    pub(crate) fn info_with(&self, message: &str, fields: &[(&str, &str)]) {
        self.line(Level::Info, message, fields);
    }

    pub(crate) fn warn(&self, message: &str) {
        self.line(Level::Warn, message, &[]);
    }

    /// The one line that says why the script fails.
    pub(crate) fn fatal(&self, message: &str) {
        self.line(Level::Fatal, message, &[]);
    }

    /// Says which keys have no meaning, so that a misspelled one is noticed; they do not stop the script.
    pub(crate) fn ignored_keys(&self, keys: &[String]) {
        if !keys.is_empty() {
            self.warn(&format!("ignoring unknown keys: {}", keys.join(", ")));
        }
    }

    fn line(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let seconds = self.started.elapsed().as_secs();
        let line = Line { level, seconds, message, fields }.rendered();
        // A closed stderr must not stop the script.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}
