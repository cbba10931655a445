//! Claude Code, by its stream of JSON lines. Our tools are an MCP server whose messages come in the same stream.

use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{PLACEHOLDER_KEY, RESULT_TOOL};
use serde_json::{Value, json};

use super::mcp::{self, Asked};
use super::{Act, Driver, Foreign, Launch, SERVER, Setting, TOOL_TIMEOUT_MS};
use crate::output::cut;
use crate::step::{End, system};

/// The id of the one request that we make.
const BEGIN: &str = "begin";
/// Tokens of a tool's answer; ours are limited in bytes, which are more than tokens.
const TOOL_TOKENS_MAX: u64 = 100_000;

pub(super) struct Claude {
    launch: Launch,
    system: String,
    prompt: String,
    tools: Vec<Value>,
    /// What the tools of this server begin with there.
    prefix: String,
    foreign: Foreign,
}

impl Claude {
    pub(super) fn new(setting: &Setting<'_>) -> Self {
        let prefix = format!("mcp__{SERVER}__");
        let servers = json!({"mcpServers": {SERVER: {"type": "sdk", "name": SERVER}}}).to_string();
        let allowed = format!("mcp__{SERVER}");
        let args = [
            "--print",
            // Nothing of the image's, the user's or the inputs' is read but what is said here.
            "--bare",
            "--setting-sources=",
            "--strict-mcp-config",
            "--disable-slash-commands",
            "--no-session-persistence",
            "--verbose",
            "--input-format=stream-json",
            "--output-format=stream-json",
            // None of its own tools; and whatever else it should come up with is denied.
            "--tools=",
            "--permission-prompts=none",
            &format!("--allowedTools={allowed}"),
            &format!("--mcp-config={servers}"),
            &format!("--model={}", setting.spec.model),
        ];
        let env = [
            ("ANTHROPIC_BASE_URL", format!("http://{}", setting.gateway)),
            ("ANTHROPIC_API_KEY", PLACEHOLDER_KEY.to_owned()),
            ("ANTHROPIC_SMALL_FAST_MODEL", setting.spec.model.clone()),
            ("CLAUDE_CONFIG_DIR", format!("{}/claude", setting.home)),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
            ("DISABLE_AUTOUPDATER", "1".to_owned()),
            ("MCP_TOOL_TIMEOUT", TOOL_TIMEOUT_MS.to_string()),
            ("MAX_MCP_OUTPUT_TOKENS", TOOL_TOKENS_MAX.to_string()),
        ];
        let launch = Launch {
            args: args.map(str::to_owned).into(),
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            dirs: Vec::new(),
        };
        let system = system(setting.spec, &format!("{prefix}{RESULT_TOOL}"));
        let (prompt, tools) = (setting.spec.prompt.clone(), setting.tools.clone());
        Self { launch, system, prompt, tools, prefix, foreign: Foreign::default() }
    }

    fn say(text: &str) -> Act {
        let content = [json!({"type": "text", "text": text})];
        Act::Tell(json!({
            "type": "user", "message": {"role": "user", "content": content},
            "parent_tool_use_id": null, "session_id": "",
        }))
    }

    fn control(&self, line: &Value) -> Vec<Act> {
        let (id, request) = (&line["request_id"], &line["request"]);
        match request["subtype"].as_str() {
            Some("mcp_message") => match mcp::asked(&request["message"], &self.tools) {
                // Even what wants no answer is acknowledged.
                Asked::Nothing => {
                    vec![mcp_answer(id, &json!({"jsonrpc": "2.0", "id": 0, "result": {}}))]
                }
                Asked::Reply(reply) => vec![mcp_answer(id, &reply)],
                Asked::Call { id: call, name, input, meta } => {
                    let key = json!({"request": id, "call": call});
                    let id = meta["claudecode/toolUseId"].as_str().unwrap_or_default().to_owned();
                    vec![Act::Call { key, id, name, input }]
                }
            },
            Some("can_use_tool") => {
                let denied = json!({"behavior": "deny", "message": "this tool is not granted"});
                vec![answer(id, &denied)]
            }
            other => {
                let error = format!("there is no {}", other.unwrap_or("such request"));
                let response = json!({"subtype": "error", "request_id": id, "error": error});
                vec![Act::Tell(json!({"type": "control_response", "response": response}))]
            }
        }
    }

    fn assistant(&mut self, line: &Value) -> Vec<Act> {
        let message = &line["message"];
        // What the program itself puts into the model's mouth, such as an error that comes again at the end.
        if message["model"] == "<synthetic>" {
            return Vec::new();
        }
        let mut acts = Vec::new();
        for block in message["content"].as_array().into_iter().flatten() {
            match block["type"].as_str() {
                Some("text") => acts.extend(Act::text(block["text"].as_str().unwrap_or_default())),
                Some("tool_use") => {
                    let name = block["name"].as_str().unwrap_or_default();
                    let ours = name.strip_prefix(&self.prefix);
                    if ours.is_none_or(|name| !self.tools.iter().any(|tool| tool["name"] == name)) {
                        acts.push(self.foreign.call(&block["id"], name, &block["input"]));
                    }
                }
                _ => {}
            }
        }
        acts
    }

    fn tool_results(&mut self, line: &Value) -> Vec<Act> {
        let blocks = line["message"]["content"].as_array().into_iter().flatten();
        let results = blocks.filter(|block| block["type"] == "tool_result");
        let acts = results.filter_map(|block| {
            let text = match &block["content"] {
                Value::String(text) => text.clone(),
                parts => parts[0]["text"].as_str().unwrap_or_default().to_owned(),
            };
            self.foreign.result(&block["tool_use_id"], &text)
        });
        acts.collect()
    }
}

impl Driver for Claude {
    fn launch(&mut self) -> Launch {
        std::mem::take(&mut self.launch)
    }

    fn result_tool(&self) -> String {
        format!("{}{RESULT_TOOL}", self.prefix)
    }

    fn begin(&mut self) -> Vec<Act> {
        let request = json!({
            "subtype": "initialize", "sdkMcpServers": [SERVER], "appendSystemPrompt": self.system,
        });
        let line = json!({"type": "control_request", "request_id": BEGIN, "request": request});
        vec![Act::Tell(line)]
    }

    fn said(&mut self, line: &Value) -> Vec<Act> {
        match line["type"].as_str() {
            Some("control_response") if line["response"]["request_id"] == BEGIN => {
                let response = &line["response"];
                if response["subtype"] == "success" {
                    return vec![Self::say(&self.prompt)];
                }
                let why = format!("it does not begin: {}", cut(&response.to_string(), 500));
                vec![Act::Over(End::failed(why))]
            }
            Some("control_request") => self.control(line),
            Some("assistant") => self.assistant(line),
            Some("user") => self.tool_results(line),
            Some("system") if line["subtype"] == "api_retry" => vec![retry(line)],
            Some("result") => vec![ended(line)],
            _ => Vec::new(),
        }
    }

    fn answered(&mut self, key: &Value, text: &str, is_error: bool) -> Vec<Act> {
        vec![mcp_answer(&key["request"], &mcp::result(&key["call"], text, is_error))]
    }

    fn remind(&mut self, text: &str) -> Vec<Act> {
        vec![Self::say(text)]
    }
}

fn answer(request: &Value, response: &Value) -> Act {
    let response = json!({"subtype": "success", "request_id": request, "response": response});
    Act::Tell(json!({"type": "control_response", "response": response}))
}

fn mcp_answer(request: &Value, message: &Value) -> Act {
    answer(request, &json!({"mcp_response": message}))
}

fn retry(line: &Value) -> Act {
    let status = line["error_status"].as_u64();
    let answer = status.map_or_else(|| "no answer".to_owned(), |status| format!("HTTP {status}"));
    let why = format!("{answer}: {}", line["error"].as_str().unwrap_or("the model failed"));
    let pause = line["retry_delay_ms"].as_f64().unwrap_or_default().max(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    Act::retry(status, &why, pause as u64)
}

/// How a turn ended.
fn ended(line: &Value) -> Act {
    let said = line["result"].as_str().unwrap_or_default();
    if line["stop_reason"] == "refusal" {
        return Act::Over(End::new(Ending::Refused, "the model refused to go on"));
    }
    if line["is_error"] == true {
        let errors = line["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let said = [said].into_iter().chain(errors).filter(|text| !text.is_empty());
        let said: Vec<&str> = said.collect();
        return Act::model_failed(&said.join("; "));
    }
    Act::Stopped
}
