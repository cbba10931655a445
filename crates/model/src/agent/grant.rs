//! Which programs an agent may start. A grant is matched word by word against the arguments a program is started
//! with, never against a command line: there is no shell between them whose quoting could be escaped.

/// A pattern such as `cargo test*` or `git log --oneline *`.
///
/// The first word is the program, as it is searched in `PATH`; it holds no `*`. Each further word matches one argument,
/// `*` in it any characters. A `*` at the very end stands for any further arguments: `git diff*` and `git diff *`
/// allow `git diff` and `git diff --stat`, but not `git difftool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellGrant {
    words: Vec<String>,
    /// Whether further arguments may follow.
    open: bool,
    written: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantError {
    Empty,
    /// The program is not named: it has a `*`.
    AnyProgram,
    /// The text looks like a command line for a shell.
    ShellSyntax(char),
}

impl std::fmt::Display for GrantError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("a shell grant names a program"),
            Self::AnyProgram => f.write_str("a shell grant names its program without '*'"),
            Self::ShellSyntax(c) => write!(
                f,
                "{c:?} means nothing in a shell grant: programs are started without a shell, by their arguments"
            ),
        }
    }
}

impl std::error::Error for GrantError {}

/// What would be syntax to a shell. None of it is needed in a pattern, so whoever writes it means something else.
const SYNTAX: &[char] =
    &['|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '\n', '\r', '\0'];

impl ShellGrant {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it names no program, or holds what only a shell would understand.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        if let Some(c) = text.chars().find(|c| SYNTAX.contains(c)) {
            return Err(GrantError::ShellSyntax(c));
        }
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let mut open = false;
        if let Some(last) = words.last_mut()
            && let Some(before) = last.strip_suffix('*')
        {
            open = true;
            if before.is_empty() {
                words.pop();
            } else {
                *last = before.to_owned();
            }
        }
        let program =
            words.first().ok_or(if open { GrantError::AnyProgram } else { GrantError::Empty })?;
        if program.contains('*') {
            return Err(GrantError::AnyProgram);
        }
        Ok(Self { words, open, written: text.to_owned() })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether a program may be started with these arguments, the program's own name first.
    pub fn allows(&self, argv: &[String]) -> bool {
        let enough = argv.len() == self.words.len() || (self.open && argv.len() > self.words.len());
        enough
            && self.words.iter().zip(argv).enumerate().all(|(index, (word, argument))| {
                if index == 0 { word == argument } else { matches(word, argument) }
            })
    }
}

/// Whether `*` in the pattern can stand for parts of the text so that they are equal.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(last)
}
