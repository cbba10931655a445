//! Harnesses of others: command lines that bring a loop of their own, and no tools.
//!
//! A driver starts one in the step's container, with its own tools switched off and ours in their place, and speaks its
//! protocol. What it knows of a protocol is a pure function from lines to what is to be done; the one place that does it is
//! here, the same for all. The model is reached at an address on loopback that leads to the gateway.

mod acp;
mod claude;
mod codex;
mod mcp;
mod program;
mod session;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use jb_agent_protocol::command_line::{self, CommandLine};
use jb_agent_protocol::suspension::{PAST_DIFFERS, Suspension};
use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{BUDGET_SPENT, Entry, LoopSpec};
use serde_json::Value;

use crate::Decisions;
use crate::link::{self, Listener};
use crate::output::{Output, cut, cut_value};
use crate::proxy;
use crate::state;
use crate::step::{self, End, Ended};
use crate::toolbox::{Journal, Past, SHOWN_BYTES};
use program::{Home, Program};
use session::{Session, Stops};

pub use mcp::relay;

/// The name of our tools as an MCP server.
const SERVER: &str = "jetbridge";
/// Milliseconds that programs wait for a tool: 23 days, as people may be asked first. They take no more than 2^31.
const TOOL_TIMEOUT_MS: u64 = 2_000_000_000;

/// What a driver knows of one program's protocol. It keeps where the conversation is, and does nothing itself.
trait Driver {
    /// How the program is started.
    fn launch(&mut self) -> Launch;
    /// The name that our tool for the result has there.
    fn result_tool(&self) -> String;
    /// What comes first.
    fn begin(&mut self) -> Vec<Act>;
    /// The program wrote a line.
    fn said(&mut self, line: &Value) -> Vec<Act>;
    /// A client asked our MCP server, where that is reached on another way than the program's own protocol.
    fn asked(&mut self, _client: u64, _message: &Value) -> Vec<Act> {
        Vec::new()
    }
    /// A tool answered the call with this key.
    fn answered(&mut self, key: &Value, text: &str, is_error: bool) -> Vec<Act>;
    /// The agent is told something more after it stopped working.
    fn remind(&mut self, text: &str) -> Vec<Act>;
}

/// How a program is started, beside what holds for all.
#[derive(Default)]
struct Launch {
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// Directories that must be there.
    dirs: Vec<String>,
}

/// What a driver wants done.
#[derive(Debug, PartialEq)]
enum Act {
    /// The program is told a line.
    Tell(Value),
    /// A client of our MCP server is answered.
    Answer {
        client: u64,
        message: Value,
    },
    /// The transcript has something new.
    Say(Entry),
    /// A tool of ours is called; its answer comes with the key.
    Call {
        key: Value,
        id: String,
        name: String,
        input: Value,
    },
    /// The agent stopped working.
    Stopped,
    Over(End),
}

impl Act {
    /// Something that the agent says, unless there is nothing in it.
    fn text(text: &str) -> Option<Self> {
        let shown = cut(text, 4 * SHOWN_BYTES);
        (!text.trim().is_empty()).then_some(Self::Say(Entry::Text { text: shown }))
    }

    /// The program is going to ask the model again, after an answer with this status if there was one. Where that is no
    /// use, the work ends.
    fn retry(status: Option<u64>, why: &str, after_ms: u64) -> Self {
        match status {
            Some(400..=407 | 409..=424 | 426..=428) => Self::model_failed(why),
            _ => Self::Say(Entry::Retry { reason: cut(why, 1000), after_ms }),
        }
    }

    /// The model did not answer the program, for a reason in the program's own words.
    fn model_failed(why: &str) -> Self {
        if let Some(at) = why.find(PAST_DIFFERS) {
            return Self::Over(End::failed(quoted(&why[at..])));
        }
        Self::Over(match why.find(BUDGET_SPENT) {
            Some(at) => End::new(Ending::BudgetSpent, spent(&why[at..])),
            None => End::new(Ending::ModelFailed, why.trim()),
        })
    }
}

/// Calls of tools that are not ours: the program has none of its own, so it denies them, and the transcript says so.
#[derive(Default)]
struct Foreign(BTreeMap<String, String>);

impl Foreign {
    fn call(&mut self, id: &Value, name: &str, input: &Value) -> Act {
        let (id, name) = (cut(id.as_str().unwrap_or_default(), 200), cut(name, 200));
        self.0.insert(id.clone(), name.clone());
        Act::Say(Entry::ToolCall { id, name, input: cut_value(input, SHOWN_BYTES) })
    }

    /// What the program answered, if the call was one of these.
    fn result(&mut self, id: &Value, text: &str) -> Option<Act> {
        let (id, name) = self.0.remove_entry(&cut(id.as_str()?, 200))?;
        let (outcome, bytes) = (ToolOutcome::Denied, text.len() as u64);
        Some(Act::Say(Entry::ToolResult { id, name, outcome, text: cut(text, SHOWN_BYTES), bytes }))
    }
}

/// The gateway's sentence without what the program put around it.
fn spent(text: &str) -> &str {
    let end = text.find(['"', ',', '\n', '}', '\\']).unwrap_or(text.len());
    text[..end].trim_end()
}

/// A line of the gateway's, which programs repeat as it is or as they got it, in JSON.
fn quoted(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut escaped = false;
    let end = line.char_indices().find(|&(_, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let inside = end.map_or(line, |(end, _)| &line[..end]);
    match serde_json::from_str(&format!("\"{inside}\"")) {
        Ok(Value::String(text)) if line.contains("\\\"") => text,
        _ => line.trim_end().to_owned(),
    }
}

/// What a driver is made from.
struct Setting<'a> {
    spec: &'a LoopSpec,
    /// As a model is told of them.
    tools: Vec<Value>,
    /// Where the gateway is, for programs that know no Unix sockets.
    gateway: SocketAddr,
    /// A directory of the program's own.
    home: &'a str,
    /// The program to start as a client of ours, for those that want to start their MCP servers.
    relay: Vec<String>,
}

/// Runs an agent to its end, which is the last thing it says.
pub async fn run(line: CommandLine, spec: LoopSpec, decisions: Decisions, output: Output) {
    step::begin(&spec, line.name, line.version, &output);
    let ended = work(line, &spec, decisions, &output).await;
    ended.unwrap_or_else(Ended::Over).say(&output);
}

async fn work(
    line: CommandLine,
    spec: &LoopSpec,
    decisions: Decisions,
    output: &Output,
) -> Result<Ended, End> {
    let toolbox = step::ready(spec, decisions, output).await?;
    if !line.apis.contains(&spec.api) {
        let what = format!("{} does not speak to models by {}", line.name, spec.api.as_str());
        return Err(End::failed(what));
    }
    let home = Home::new().map_err(End::failed)?;
    let file = program::find(&line, spec).map_err(End::failed)?;
    program::probe(&line, &file, &home).await.map_err(End::failed)?;
    let loopback = link::End::Tcp((Ipv4Addr::LOCALHOST, 0).into());
    let listener = Listener::bind(&loopback).await.map_err(End::failed)?;
    let none = || End::failed("the way to the gateway has no address");
    let gateway = listener.address().ok_or_else(none)?;
    let server = mcp::Server::listen(&home).map_err(End::failed)?;
    let relay = server.relay().map_err(End::failed)?;
    let (mut tools, mut journal) = (toolbox.definitions(), Journal::default());
    if let Some(Suspension { dir, left: Some(left), .. }) = &spec.suspension {
        let past: Past = state::find(dir, line.name, &left.digest).map_err(End::failed)?;
        toolbox.go_on(past.counts);
        tools.clone_from(&past.tools);
        journal = Journal::after(past);
    }
    let stops = spec.suspension.as_ref().map(|suspension| Stops {
        suspension,
        harness: line.name,
        socket: &spec.socket,
        tools: tools.clone(),
    });
    let setting = Setting { spec, tools, gateway, home: home.path(), relay };
    let mut driver: Box<dyn Driver> = match line.name {
        name if name == command_line::CLAUDE_CODE.name => Box::new(claude::Claude::new(&setting)),
        name if name == command_line::CODEX.name => Box::new(codex::Codex::new(&setting)),
        _ => Box::new(acp::OpenCode::new(&setting)),
    };
    let mut launch = driver.launch();
    launch.env.extend(proxy::env(spec));
    let program = Program::start(&line, &file, launch, &home, &spec.working_dir);
    let program = program.map_err(End::failed)?;
    let session = Session::new(&toolbox, output, program, server, journal, stops);
    tokio::select! {
        ended = session.follow(driver.as_mut()) => Ok(ended),
        () = listener.forward(link::End::Unix(spec.socket.clone())) => {
            Err(End::failed("the way to the gateway ended"))
        }
    }
}

#[cfg(test)]
mod tests;
