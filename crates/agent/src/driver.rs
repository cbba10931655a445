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

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use futures_util::future::LocalBoxFuture;
use jb_agent_protocol::command_line::{self, CommandLine};
use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{BUDGET_SPENT, Entry, LoopSpec};
use serde_json::Value;

use crate::Decisions;
use crate::link::{self, Listener};
use crate::output::{Output, cut, cut_value};
use crate::proxy;
use crate::step::{self, End};
use crate::toolbox::{self, Begun, Outcome, SHOWN_BYTES, Toolbox};
use program::{Home, Program};

pub use mcp::relay;

/// The name of our tools as an MCP server.
const SERVER: &str = "jetbridge";
/// Calls of tools that wait for the one before.
const CALLS_MAX: usize = 256;
/// Milliseconds that programs wait for a tool: 23 days, as people may be asked first. They take no more than 2^31.
const TOOL_TIMEOUT_MS: u64 = 2_000_000_000;
/// Characters of a line that is no word of the protocol, as the end shows it.
const LINE_SHOWN: usize = 300;

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
    let end = match work(line, &spec, decisions, &output).await {
        Ok(end) | Err(end) => end,
    };
    end.say(&output);
}

async fn work(
    line: CommandLine,
    spec: &LoopSpec,
    decisions: Decisions,
    output: &Output,
) -> Result<End, End> {
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
    let tools = toolbox.definitions();
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
    let session = Session { toolbox: &toolbox, output, program, server, waiting: VecDeque::new() };
    tokio::select! {
        end = session.follow(driver.as_mut()) => Ok(end),
        () = listener.forward(link::End::Unix(spec.socket.clone())) => {
            Err(End::failed("the way to the gateway ended"))
        }
    }
}

/// A program at work.
struct Session<'a> {
    toolbox: &'a Toolbox,
    output: &'a Output,
    program: Program,
    server: mcp::Server,
    waiting: VecDeque<Call>,
}

struct Call {
    key: Value,
    todo: Todo,
}

/// A call that waits for the one before.
enum Todo {
    Begin(toolbox::Call),
    /// People are asked about it meanwhile.
    Finish(Begun),
}

enum Next {
    Said(Option<String>),
    Asked(u64, Value),
    Answered(Value, Outcome),
}

impl Session<'_> {
    /// Does what the driver wants until it is over. The program's processes end with this.
    async fn follow(mut self, driver: &mut dyn Driver) -> End {
        let toolbox = self.toolbox;
        // One tool at a time, as each may change what the next one sees.
        let mut running: Option<LocalBoxFuture<'_, (Value, Outcome)>> = None;
        let mut acts = driver.begin();
        loop {
            if let Some(end) = self.act(driver, acts).await {
                return end;
            }
            if running.is_none()
                && let Some(Call { key, todo }) = self.waiting.pop_front()
            {
                running = Some(Box::pin(async move {
                    let begun = match todo {
                        Todo::Begin(call) => toolbox.begin(call),
                        Todo::Finish(begun) => begun,
                    };
                    (key, toolbox.finish(begun).await)
                }));
            }
            let called = async {
                match running.as_mut() {
                    Some(call) => call.await,
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                biased;
                line = self.program.line() => Next::Said(line),
                (client, message) = self.server.message() => Next::Asked(client, message),
                (key, outcome) = called => Next::Answered(key, outcome),
            };
            acts = match next {
                Next::Said(None) => return self.program.ended().await,
                Next::Said(Some(line)) => match serde_json::from_str(&line) {
                    Ok(line) => driver.said(&line),
                    Err(_) => return self.program.nonsense(&cut(&line, LINE_SHOWN)),
                },
                Next::Asked(client, message) => driver.asked(client, &message),
                Next::Answered(_, Outcome::Over(end)) => return end,
                Next::Answered(key, Outcome::Answered { text, is_error }) => {
                    running = None;
                    driver.answered(&key, &text, is_error)
                }
            };
        }
    }

    async fn act(&mut self, driver: &mut dyn Driver, acts: Vec<Act>) -> Option<End> {
        let mut acts = VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            match act {
                // One that does not listen any more has ended, which is told by its output.
                Act::Tell(line) => self.program.tell(&line).await,
                Act::Answer { client, message } => self.server.answer(client, &message).await,
                Act::Say(entry) => self.output.say(entry),
                Act::Call { key, id, name, input } => {
                    if self.waiting.len() == CALLS_MAX {
                        let what = format!("the agent called more than {CALLS_MAX} tools at once");
                        return Some(End::failed(what));
                    }
                    let call = toolbox::Call { id, name, input };
                    let todo = if self.toolbox.asks(&call) {
                        Todo::Finish(self.toolbox.begin(call))
                    } else {
                        Todo::Begin(call)
                    };
                    self.waiting.push_back(Call { key, todo });
                }
                Act::Stopped => match self.toolbox.done(&driver.result_tool()) {
                    toolbox::Next::Over(end) => return Some(end),
                    toolbox::Next::Remind(text) => acts.extend(driver.remind(&text)),
                },
                Act::Over(end) => return Some(end),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
