//! The program of agents and gateways, scripted by the agent's own prompt.
//!
//! Each line of the prompt is one thing to do: `text …`, `call TOOL`, `write PATH CONTENT`, `read PATH`, `sleep NAME`,
//! `raw LINE`, `told KEY`, `fail ENDING MESSAGE`, `result JSON`, `exit STATUS`; `ask ID WORDS` asks people about a program, and
//! `answer ID` waits for what they said, the first time it comes; `suspend ID` stops, to go on
//! after it once that is decided. What is left out is said: a beginning, and an end that completes. The gateway says what one request cost and which MCP servers it would reach, and ends when told to, as
//! an MCP server does that is a program.

use std::collections::BTreeMap;

use jb_runner_protocol::{ProcessSpec, Stream};
use serde_json::{Value, json};

use super::process::{Exit, Program, Stop};
use crate::spec::AGENT_PROGRAM;

const NEVER: &str = "the gateway is told to end";

pub(super) fn is_agent(path: &str) -> bool {
    path == AGENT_PROGRAM
}

pub(super) async fn run(program: &Program, spec: &ProcessSpec) -> Result<Exit, Stop> {
    let told: Value = serde_json::from_slice(&program.input_line().await?).unwrap_or(Value::Null);
    match spec.args.first().map(String::as_str) {
        Some("gateway") => return gateway(program, &told).await,
        Some("serve") => return serve(program, spec, &told).await,
        _ => {}
    }
    let harness = match spec.args.first().map(String::as_str) {
        Some("loop") | None => "builtin",
        Some(driven) => driven,
    };
    let (mut passed, mut decisions) = left(program, spec, &told["suspension"]);
    if passed == 0 {
        say(
            program,
            json!({"type": "start", "harness": harness, "version": "fake", "model": told["model"], "tools": []}),
        );
    }
    let script = told["prompt"].as_str().unwrap_or_default().to_owned();
    let mut result = Value::Null;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if passed > 0 {
            passed -= u64::from(verb == "suspend");
            continue;
        }
        match verb {
            "suspend" => {
                suspend(program, spec, &told["suspension"], rest);
                return Ok(Exit::status(0));
            }
            "text" => say(program, json!({"type": "text", "text": rest})),
            "call" => {
                say(program, json!({"type": "tool_call", "id": "t", "name": rest, "input": {}}));
            }
            "write" => {
                let (path, content) = rest.split_once(' ').unwrap_or((rest, ""));
                program.write_file(&inside(spec, path), content.as_bytes().to_vec());
            }
            "read" => {
                let content = program.read(&inside(spec, rest)).unwrap_or_default();
                let content = String::from_utf8_lossy(&content).into_owned();
                say(program, json!({"type": "text", "text": content}));
            }
            "told" => say(program, json!({"type": "text", "text": told[rest].to_string()})),
            "sleep" => drop(program.sleep(rest, false).await?),
            "ask" => ask(program, rest),
            "answer" => answer(program, rest, &mut decisions).await?,
            "raw" => program.write(Stream::Stdout, format!("{rest}\n").as_bytes()),
            "result" => result = serde_json::from_str(rest).unwrap_or(Value::Null),
            "fail" => {
                let (ending, message) = rest.split_once(' ').unwrap_or((rest, ""));
                say(program, json!({"type": "end", "ending": ending, "message": message}));
                return Ok(Exit::status(0));
            }
            "exit" => {
                program.write(Stream::Stderr, b"jb-agent: it broke\n");
                return Ok(Exit::status(rest.parse().unwrap_or(1)));
            }
            _ => say(program, json!({"type": "text", "text": format!("unknown: {line}")})),
        }
    }
    let mut end = json!({"type": "end", "ending": "completed", "message": ""});
    if !result.is_null() {
        end["result"] = result;
    }
    say(program, end);
    Ok(Exit::status(0))
}

/// How many stops an earlier run left behind, and what people decided meanwhile.
fn left(
    program: &Program,
    spec: &ProcessSpec,
    suspension: &Value,
) -> (u64, BTreeMap<String, Value>) {
    let (left, run) = (&suspension["left"], suspension["run"].as_u64().unwrap_or_default());
    if left.is_null() {
        return (0, BTreeMap::new());
    }
    say(program, json!({"type": "resumed", "run": run}));
    let state = program.read(&state(spec, suspension)).unwrap_or_default();
    if left["digest"] != String::from_utf8_lossy(&state).as_ref() {
        say(program, json!({"type": "text", "text": "the state is another"}));
    }
    let decided = left["decided"].as_array().into_iter().flatten();
    let decided = decided.map(|it| (it["id"].as_str().unwrap_or_default().to_owned(), it.clone()));
    (run, decided.collect())
}

/// Where it leaves its state, which is its own digest.
fn state(spec: &ProcessSpec, suspension: &Value) -> String {
    inside(spec, &format!("{}/state.json", suspension["dir"].as_str().unwrap_or_default()))
}

fn suspend(program: &Program, spec: &ProcessSpec, suspension: &Value, needs: &str) {
    let digest = format!("state {}", suspension["run"]);
    program.write_file(&state(spec, suspension), digest.clone().into_bytes());
    say(
        program,
        json!({"type": "suspended", "run": suspension["run"], "needs": needs, "digest": digest}),
    );
}

fn ask(program: &Program, about: &str) {
    let (id, words) = about.split_once(' ').unwrap_or((about, ""));
    let argv: Vec<&str> = words.split(' ').collect();
    say(
        program,
        json!({"type": "approval_asked", "id": id, "call": "t", "name": "shell", "input": {"argv": argv}}),
    );
}

async fn answer(
    program: &Program,
    id: &str,
    decisions: &mut BTreeMap<String, Value>,
) -> Result<(), Stop> {
    while !decisions.contains_key(id) {
        let line = program.input_line().await?;
        let decision: Value = serde_json::from_slice(&line).unwrap_or(Value::Null);
        let id = decision["id"].as_str().unwrap_or_default().to_owned();
        decisions.entry(id).or_insert(decision);
    }
    let mut entry = decisions[id].clone();
    entry["type"] = json!("approval_answered");
    say(program, entry);
    Ok(())
}

async fn gateway(program: &Program, told: &Value) -> Result<Exit, Stop> {
    if told["upstream"]["url"] == "broken" {
        program.write(Stream::Stderr, b"jb-agent: no way out\n");
        return Ok(Exit::status(1));
    }
    let used = json!({"input_tokens": 100, "output_tokens": 10, "cache_read_tokens": 0, "cache_write_tokens": 0, "cost_micros": 450});
    let with = |fields: Value| {
        let mut entry = used.clone();
        if let (Value::Object(entry), Value::Object(fields)) = (&mut entry, fields) {
            entry.extend(fields);
        }
        entry
    };
    let requests = |so_far: &Value| so_far.as_u64().unwrap_or_default() + 1;
    let (number, turns) = (requests(&told["spent"]["requests"]), requests(&told["spent"]["turns"]));
    say(
        program,
        with(
            json!({"type": "model_call", "number": number, "model": "m", "status": 200, "first_byte_ms": 1, "total_ms": 2}),
        ),
    );
    for server in told["mcp"].as_array().into_iter().flatten() {
        say(program, json!({"type": "text", "text": server.to_string()}));
    }
    program.sleep(NEVER, true).await?;
    say(program, with(json!({"type": "spent", "turns": turns})));
    Ok(Exit::status(0))
}

/// A server says what it was given, and serves until it is told to end, unless its command is `false`, or `deaf`: then it
/// does not even begin.
async fn serve(program: &Program, spec: &ProcessSpec, told: &Value) -> Result<Exit, Stop> {
    let text = json!({"told": told, "env": spec.env}).to_string();
    say(program, json!({"type": "server_text", "server": told["name"], "text": text}));
    if told["command"][0] == "deaf" {
        program.write(Stream::Stderr, b"jb-agent: listen at nowhere: no such directory\n");
        return Ok(Exit::status(1));
    }
    if told["command"][0] == "false" {
        program.write(Stream::Stderr, b"jb-agent: there is no room\n");
        return Ok(Exit::status(101));
    }
    program.sleep(NEVER, true).await?;
    Ok(Exit::status(0))
}

fn inside(spec: &ProcessSpec, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", spec.dir) }
}

fn say(program: &Program, mut entry: Value) {
    entry["time_us"] = json!(1_000_000);
    program.write(Stream::Stdout, format!("{entry}\n").as_bytes());
}
