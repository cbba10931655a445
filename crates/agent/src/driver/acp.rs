//! OpenCode, by the Agent Client Protocol. It starts our tools' MCP server, as agents of that protocol do.

use std::collections::BTreeMap;

use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{Api, PLACEHOLDER_KEY, RESULT_TOOL};
use serde_json::{Value, json};

use super::mcp::{self, Asked};
use super::{Act, Driver, Foreign, Launch, SERVER, Setting, TOOL_TIMEOUT_MS};
use crate::output::cut;
use crate::step::{End, system};

/// The ids of our requests.
const INITIALIZE: &str = "initialize";
const SESSION: &str = "session";
const PROMPT: &str = "prompt";
/// What it assumes of a model: how many tokens it takes in and gives out.
const CONTEXT_TOKENS: u64 = 200_000;
const ANSWER_TOKENS: u64 = 32_000;
/// Calls that wait for its word that it makes them; more are made at once.
const HELD_MAX: usize = 64;

pub(super) struct OpenCode {
    launch: Launch,
    working_dir: String,
    prompt: String,
    tools: Vec<Value>,
    /// What our tools begin with there.
    prefix: String,
    session: Value,
    /// What the model says, which comes in pieces.
    text: String,
    foreign: Foreign,
    /// Tools that are not ours, by the ids of calls that have no input yet.
    names: BTreeMap<String, String>,
    /// Calls of our tools so far.
    calls: u64,
    /// Those that it has said it makes, by their tools' names.
    announced: BTreeMap<String, usize>,
    /// Those that it has not: what the model said before them is still on its way.
    held: Vec<(String, Act)>,
}

impl OpenCode {
    pub(super) fn new(setting: &Setting<'_>) -> Self {
        let spec = setting.spec;
        let prefix = format!("{SERVER}_");
        let system = system(spec, &format!("{prefix}{RESULT_TOOL}"));
        let configuration = configuration(setting, &system).to_string();
        let mut env = vec![
            ("OPENCODE_CONFIG_CONTENT".to_owned(), configuration),
            ("OPENCODE_DB".to_owned(), ":memory:".to_owned()),
        ];
        // Nothing of the image's or the inputs' is read, and nothing is looked for elsewhere.
        let without = [
            "AUTOUPDATE",
            "CLAUDE_CODE",
            "DEFAULT_PLUGINS",
            "EXTERNAL_SKILLS",
            "LSP_DOWNLOAD",
            "MODELS_FETCH",
            "PROJECT_CONFIG",
            "SHARE",
        ];
        let names = without.map(|name| (format!("OPENCODE_DISABLE_{name}"), "1".to_owned()));
        env.extend(names);
        let args = ["acp", "--pure"].map(str::to_owned).into();
        Self {
            launch: Launch { args, env, dirs: Vec::new() },
            working_dir: spec.working_dir.clone(),
            prompt: spec.prompt.clone(),
            tools: setting.tools.clone(),
            prefix,
            session: Value::Null,
            text: String::new(),
            foreign: Foreign::default(),
            names: BTreeMap::new(),
            calls: 0,
            announced: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    fn say(&self, text: &str) -> Act {
        let prompt = [json!({"type": "text", "text": text})];
        request(PROMPT, "session/prompt", &json!({"sessionId": self.session, "prompt": prompt}))
    }

    /// A call of ours that it says it makes, if it has asked for it already.
    fn announce(&mut self, name: &str) -> Option<Act> {
        if let Some(asked) = self.held.iter().position(|(held, _)| held == name) {
            return Some(self.held.remove(asked).1);
        }
        *self.announced.entry(name.to_owned()).or_default() += 1;
        None
    }

    /// Whether it has said that it makes a call that it asks for.
    fn is_announced(&mut self, name: &str) -> bool {
        let announced = self.announced.get_mut(name).filter(|calls| **calls > 0);
        announced.map(|calls| *calls -= 1).is_some()
    }

    /// What the model said up to here.
    fn flush(&mut self) -> Option<Act> {
        Act::text(&std::mem::take(&mut self.text))
    }

    fn answer(&mut self, id: &str, line: &Value) -> Vec<Act> {
        if let Some(error) = line.get("error") {
            let why = error["data"]["message"].as_str().or_else(|| error["message"].as_str());
            let why = why.unwrap_or("it says no reason");
            return vec![if id == PROMPT {
                Act::model_failed(why)
            } else {
                let what = format!("opencode refuses `{id}`: {}", cut(why, 500));
                Act::Over(End::failed(what))
            }];
        }
        let result = &line["result"];
        match id {
            INITIALIZE => {
                let params = json!({"cwd": self.working_dir, "mcpServers": []});
                vec![request(SESSION, "session/new", &params)]
            }
            SESSION => {
                self.session = result["sessionId"].clone();
                vec![self.say(&self.prompt)]
            }
            _ => {
                let last = match result["stopReason"].as_str() {
                    Some("refusal") => {
                        Act::Over(End::new(Ending::Refused, "the model refused to go on"))
                    }
                    Some("end_turn") => Act::Stopped,
                    Some("max_tokens") => self.say("Go on."),
                    other => {
                        let why = other.unwrap_or("it says no reason");
                        Act::Over(End::failed(format!("opencode ended its turn early: {why}")))
                    }
                };
                self.flush().into_iter().chain([last]).collect()
            }
        }
    }

    fn update(&mut self, update: &Value) -> Vec<Act> {
        if update["sessionUpdate"] == "agent_message_chunk" {
            self.text.push_str(update["content"]["text"].as_str().unwrap_or_default());
            return Vec::new();
        }
        let call =
            matches!(update["sessionUpdate"].as_str(), Some("tool_call" | "tool_call_update"));
        if !call {
            return Vec::new();
        }
        let mut acts: Vec<Act> = self.flush().into_iter().collect();
        let (id, name) = (&update["toolCallId"], update["title"].as_str().unwrap_or_default());
        let key = id.as_str().unwrap_or_default();
        if update["sessionUpdate"] == "tool_call" {
            let ours = name.strip_prefix(&self.prefix);
            match ours.filter(|name| self.tools.iter().any(|tool| tool["name"] == *name)) {
                Some(name) => acts.extend(self.announce(name)),
                // Its input comes with the next word about it.
                None => drop(self.names.insert(key.to_owned(), name.to_owned())),
            }
        } else if update["status"] == "in_progress"
            && let Some(name) = self.names.remove(key)
        {
            acts.push(self.foreign.call(id, &name, &update["rawInput"]));
        } else if matches!(update["status"].as_str(), Some("failed" | "completed")) {
            let text = update["content"][0]["content"]["text"].as_str().unwrap_or_default();
            acts.extend(self.foreign.result(id, text));
        }
        acts
    }
}

impl Driver for OpenCode {
    fn launch(&mut self) -> Launch {
        std::mem::take(&mut self.launch)
    }

    fn result_tool(&self) -> String {
        format!("{}{RESULT_TOOL}", self.prefix)
    }

    fn begin(&mut self) -> Vec<Act> {
        let params = json!({"protocolVersion": 1, "clientCapabilities": {}});
        vec![request(INITIALIZE, "initialize", &params)]
    }

    fn said(&mut self, line: &Value) -> Vec<Act> {
        match (line["method"].as_str(), line.get("id")) {
            (Some("session/update"), _) => self.update(&line["params"]["update"]),
            // What it asks to be permitted is not granted, and it has none of its client's files or terminals.
            (Some("session/request_permission"), Some(id)) => {
                let outcome = json!({"outcome": {"outcome": "cancelled"}});
                vec![Act::Tell(json!({"jsonrpc": "2.0", "id": id, "result": outcome}))]
            }
            (Some(method), Some(id)) => {
                let error = json!({"code": -32601, "message": format!("nobody answers {method}")});
                vec![Act::Tell(json!({"jsonrpc": "2.0", "id": id, "error": error}))]
            }
            (None, Some(id)) => self.answer(id.as_str().unwrap_or_default(), line),
            _ => Vec::new(),
        }
    }

    fn asked(&mut self, client: u64, message: &Value) -> Vec<Act> {
        match mcp::asked(message, &self.tools) {
            Asked::Nothing => Vec::new(),
            Asked::Reply(message) => vec![Act::Answer { client, message }],
            Asked::Call { id, name, input, .. } => {
                let key = json!({"client": client, "call": id});
                // It does not say which call of the model's this is.
                self.calls += 1;
                let id = format!("call_{}", self.calls);
                let call = Act::Call { key, id, name: name.clone(), input };
                if !self.is_announced(&name) && self.held.len() < HELD_MAX {
                    self.held.push((name, call));
                    return Vec::new();
                }
                self.flush().into_iter().chain([call]).collect()
            }
        }
    }

    fn answered(&mut self, key: &Value, text: &str, is_error: bool) -> Vec<Act> {
        let client = key["client"].as_u64().unwrap_or_default();
        vec![Act::Answer { client, message: mcp::result(&key["call"], text, is_error) }]
    }

    fn remind(&mut self, text: &str) -> Vec<Act> {
        vec![self.say(text)]
    }
}

fn request(id: &str, method: &str, params: &Value) -> Act {
    Act::Tell(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// Its settings: one model, reached at the gateway, and no tools but ours.
fn configuration(setting: &Setting<'_>, system: &str) -> Value {
    let spec = setting.spec;
    let npm = match spec.api {
        Api::Messages => "@ai-sdk/anthropic",
        Api::Responses => "@ai-sdk/openai",
        Api::Chat => "@ai-sdk/openai-compatible",
    };
    let model = format!("{SERVER}/{}", spec.model);
    let limit = json!({"context": CONTEXT_TOKENS, "output": ANSWER_TOKENS});
    let ours = format!("{SERVER}_*");
    json!({
        "model": model, "small_model": model, "enabled_providers": [SERVER],
        "share": "disabled", "autoupdate": false, "snapshot": false, "lsp": false, "formatter": false,
        "provider": {SERVER: {
            "npm": npm, "name": SERVER,
            "options": {
                "baseURL": format!("http://{}/v1", setting.gateway), "apiKey": PLACEHOLDER_KEY,
            },
            "models": {&spec.model: {"name": spec.model, "tool_call": true, "limit": limit}},
        }},
        "tools": {"*": false, &ours: true},
        "permission": {"*": "deny", &ours: "allow"},
        "mcp": {SERVER: {
            "type": "local", "command": setting.relay, "enabled": true, "timeout": TOOL_TIMEOUT_MS,
        }},
        "agent": {"build": {"prompt": system}, "title": {"disable": true}},
    })
}
