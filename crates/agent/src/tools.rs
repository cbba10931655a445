//! The tools of an agent, and what each of them may touch.
//!
//! What a step does not grant does not exist: it is not offered to the model, and asking for it by name is denied. Grants
//! are checked here, where files are opened and programs started, and not where the model's words are read.

mod files;
mod remote;
mod roots;
mod search;
mod shell;

use jb_agent_protocol::transcript::ToolOutcome;
use jb_agent_protocol::{LoopSpec, ToolGrant, mcp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use std::sync::Arc;

use crate::output::cut;
pub(crate) use remote::Remote;
use roots::Roots;
use shell::Shell;
pub(crate) use shell::{arguments, find, search_path};

/// Bytes of one answer that the model gets.
const ANSWER_BYTES_MAX: usize = 48 << 10;

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    pub outcome: ToolOutcome,
    pub text: String,
    /// How long the answer was before it was cut.
    pub bytes: u64,
}

impl Called {
    pub(crate) fn new(outcome: ToolOutcome, text: String) -> Self {
        Self { outcome, bytes: text.len() as u64, text: cut(&text, ANSWER_BYTES_MAX) }
    }
}

/// Why a tool did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not granted.
    Denied(String),
    Failed(String),
}

impl Refusal {
    fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
}

type Answer = Result<String, Refusal>;

/// The granted tools.
pub struct Tools {
    granted: Vec<ToolGrant>,
    roots: Arc<Roots>,
    shell: Option<Shell>,
    remote: Remote,
}

impl Tools {
    /// # Errors
    /// When a directory cannot be opened, or a shell grant cannot be read.
    pub(crate) fn new(spec: &LoopSpec, remote: Remote) -> Result<Self, String> {
        let roots = Arc::new(Roots::open(&spec.working_dir, &spec.roots)?);
        let mut patterns = spec.tools.iter().filter_map(|tool| match tool {
            ToolGrant::Shell(patterns) => Some(patterns),
            _ => None,
        });
        let shell = match patterns.next() {
            Some(patterns) => Some(Shell::new(patterns, spec)?),
            None => None,
        };
        Ok(Self { granted: spec.tools.clone(), roots, shell, remote })
    }

    /// As the model is told of them.
    pub fn definitions(&self) -> Vec<Value> {
        let own = self.granted.iter().map(|tool| self.definition(tool));
        own.chain(self.remote.definitions()).collect()
    }

    fn definition(&self, tool: &ToolGrant) -> Value {
        let text = |about: &str| json!({"type": "string", "description": about});
        let number = |about: &str| json!({"type": "integer", "minimum": 1, "description": about});
        let define = |name: &str, about: &str, properties: Value, required: &[&str]| {
            let schema = json!({"type": "object", "properties": properties, "required": required});
            json!({"name": name, "description": about, "input_schema": schema})
        };
        match tool {
            ToolGrant::Read => define(
                "read",
                "Reads a text file, or lists a directory.",
                json!({
                    "path": text("The file or directory"),
                    "line": number("The first line to read; 1 unless given"),
                    "lines": number("How many lines to read; as many as fit unless given"),
                }),
                &["path"],
            ),
            ToolGrant::Edit => define(
                "edit",
                "Replaces text in a file. The text to replace must stand in it exactly once.",
                json!({
                    "path": text("The file"),
                    "old": text("What to replace, exactly, with enough around it to be unique"),
                    "new": text("What to put in its place"),
                    "all": {"type": "boolean", "description": "Replace it wherever it stands"},
                }),
                &["path", "old", "new"],
            ),
            ToolGrant::Write => define(
                "write",
                "Writes a whole file; makes it and its directories when they are missing.",
                json!({"path": text("The file"), "content": text("All of it")}),
                &["path", "content"],
            ),
            ToolGrant::Search => define(
                "search",
                "Finds lines in files by a regular expression.",
                json!({
                    "pattern": text("A regular expression"),
                    "path": text("A file or directory to search; everything unless given"),
                    "files": text("Only files whose name matches, such as *.rs"),
                }),
                &["pattern"],
            ),
            ToolGrant::Shell(patterns) => define(
                "shell",
                &format!(
                    "Runs a program by its arguments, without a shell between. Only these may run, * standing for \
                     anything: {}",
                    patterns.join(", ")
                ),
                json!({
                    "argv": {"type": "array", "items": {"type": "string"}, "minItems": 1,
                             "description": "The program and its arguments"},
                    "dir": text("Where to run it; the working directory unless given"),
                    "timeout_seconds": number("How long it may run; 600 unless given, at most 3600"),
                }),
                &["argv"],
            ),
        }
    }

    /// Whether a call is granted as far as its words tell; what it does may still be refused where it is done.
    pub(crate) fn allows(&self, name: &str, input: &Value) -> bool {
        match self.granted.iter().find(|tool| tool_name(tool) == name) {
            Some(ToolGrant::Shell(_)) => {
                let argv = arguments(input);
                let shell = self.shell.as_ref();
                argv.is_ok_and(|argv| shell.is_some_and(|shell| shell.allows(&argv)))
            }
            Some(_) => true,
            None => self.remote.names().any(|known| known == name),
        }
    }

    /// Whether a tool leaves everything as it is.
    pub fn only_reads(&self, name: &str) -> bool {
        ["read", "search"].contains(&name)
    }

    /// Reads on a thread of its own, so that others may meanwhile.
    async fn beside(&self, input: &Value, read: fn(&Roots, &Value) -> Answer) -> Answer {
        let (roots, input) = (Arc::clone(&self.roots), input.clone());
        let done = tokio::task::spawn_blocking(move || read(&roots, &input)).await;
        done.unwrap_or_else(|error| Err(Refusal::failed(format!("the tool broke: {error}"))))
    }

    /// Calls a tool by the name the model knows it by.
    pub async fn call(&self, name: &str, input: &Value) -> Called {
        let granted = self.granted.iter().find(|tool| tool_name(tool) == name);
        let answer = match granted {
            Some(ToolGrant::Read) => self.beside(input, files::read).await,
            Some(ToolGrant::Edit) => files::edit(&self.roots, input),
            Some(ToolGrant::Write) => files::write(&self.roots, input),
            Some(ToolGrant::Search) => self.beside(input, search::search).await,
            Some(ToolGrant::Shell(_)) => match &self.shell {
                Some(shell) => shell.run(input).await,
                None => Err(Refusal::Denied("no program is granted".to_owned())),
            },
            None => match self.remote.call(name, input).await {
                Some(answer) => return marked(answer),
                None => Err(Refusal::Denied(self.no_tool(name))),
            },
        };
        match answer {
            Ok(text) => Called::new(ToolOutcome::Ok, text),
            Err(Refusal::Failed(text)) => Called::new(ToolOutcome::Failed, text),
            Err(Refusal::Denied(text)) => Called::new(ToolOutcome::Denied, text),
        }
    }

    fn no_tool(&self, name: &str) -> String {
        let mut names: Vec<&str> = self.granted.iter().map(|tool| tool_name(tool)).collect();
        names.extend(self.remote.names());
        format!("there is no tool `{}`; there are: {}", cut(name, 100), names.join(", "))
    }
}

/// What an MCP server says may be anybody's words.
fn marked(answer: mcp::Answer) -> Called {
    let mcp::Answer { outcome, text } = answer;
    let text = match outcome {
        ToolOutcome::Ok if !text.is_empty() => format!("{}{text}", files::UNTRUSTED),
        _ => text,
    };
    Called::new(outcome, text)
}

fn tool_name(tool: &ToolGrant) -> &'static str {
    match tool {
        ToolGrant::Read => "read",
        ToolGrant::Edit => "edit",
        ToolGrant::Write => "write",
        ToolGrant::Search => "search",
        ToolGrant::Shell(_) => "shell",
    }
}

/// A text of a tool's input.
fn text<'a>(input: &'a Value, key: &str) -> Result<&'a str, Refusal> {
    input
        .get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::failed(format!("`{key}` is missing, or no text")))
}

/// A text that may be missing.
fn maybe_text<'a>(input: &'a Value, key: &str) -> Result<Option<&'a str>, Refusal> {
    match input.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text(input, key).map(Some),
    }
}

fn number(input: &Value, key: &str) -> Option<u64> {
    input.get(key).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests;
