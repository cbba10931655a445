//! Lines for people, in the form Concourse's own resources print: `INFO[0000] message   key=value`.

/// Width to which a message is padded, as in the logs people know.
const MESSAGE_WIDTH: usize = 44;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    /// Why the script fails.
    Fatal,
}

/// One line of a script's log.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    pub level: Level,
    /// Whole seconds since the script was started.
    pub seconds: u64,
    pub message: &'a str,
    pub fields: &'a [(&'a str, &'a str)],
}

impl Line<'_> {
    /// The line with its colours and its end.
    pub fn rendered(&self) -> String {
        let (name, colour) = match self.level {
            Level::Info => ("INFO", 36),
            Level::Warn => ("WARN", 33),
            Level::Fatal => ("FATA", 31),
        };
        let (seconds, message) = (self.seconds, self.message);
        let mut line =
            format!("\x1b[{colour}m{name}\x1b[0m[{seconds:04}] {message:<MESSAGE_WIDTH$} ");
        for (key, value) in self.fields {
            line.push_str(&format!(" \x1b[{colour}m{key}\x1b[0m={value}"));
        }
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests;
