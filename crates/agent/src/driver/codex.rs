//! Codex, by the protocol of its app server. Our tools are those that its client brings.

use std::collections::{BTreeMap, VecDeque};

use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{PLACEHOLDER_KEY, RESULT_TOOL};
use serde_json::{Value, json};

use super::{Act, Driver, Foreign, Launch, SERVER, Setting};
use crate::output::cut;
use crate::step::{End, system};

/// The ids of our requests. Its own are numbers.
const INITIALIZE: &str = "initialize";
const THREAD: &str = "thread";
const TURN: &str = "turn";
/// The variable with the key.
const KEY: &str = "JETBRIDGE_MODEL_KEY";
/// What it would bring beside our tools, and what it would read or ask for by itself.
const WITHOUT: [&str; 24] = [
    "analytics.enabled=false",
    "feedback.enabled=false",
    "check_for_update_on_startup=false",
    "history.persistence=\"none\"",
    "project_doc_max_bytes=0",
    "include_permissions_instructions=false",
    "include_environment_context=false",
    "skills.include_instructions=false",
    "web_search=\"disabled\"",
    "tools.experimental_request_user_input={enabled=false}",
    "tools.update_plan={enabled=false}",
    "features.apps=false",
    "features.goals=false",
    "features.hooks=false",
    "features.image_generation=false",
    "features.memories=false",
    "features.multi_agent=false",
    "features.plugins=false",
    "features.shell_tool=false",
    "features.skill_search=false",
    "features.sleep_tool=false",
    "features.tool_suggest=false",
    "features.unified_exec=false",
    "features.view_image=false",
];

pub(super) struct Codex {
    launch: Launch,
    thread: Value,
    prompt: String,
    tools: Vec<Value>,
    /// Its name of the conversation.
    thread_id: Value,
    foreign: Foreign,
    /// Calls of our tools in the model's order, by their ids. It asks for those of one answer in any.
    expected: VecDeque<String>,
    /// Those of them that it asked for.
    asked: BTreeMap<String, Act>,
}

impl Codex {
    pub(super) fn new(setting: &Setting<'_>) -> Self {
        let spec = setting.spec;
        let provider = format!(
            "model_providers.{SERVER}={{name=\"{SERVER}\",base_url=\"http://{}/v1\",wire_api=\"responses\",\
             env_key=\"{KEY}\"}}",
            setting.gateway
        );
        let choice = format!("model_provider=\"{SERVER}\"");
        let settings = WITHOUT.into_iter().chain([choice.as_str(), provider.as_str()]);
        let args = settings.flat_map(|setting| ["-c".to_owned(), setting.to_owned()]);
        let args = ["app-server".to_owned()].into_iter().chain(args).collect();
        let env = [
            ("CODEX_HOME".to_owned(), format!("{}/codex", setting.home)),
            (KEY.to_owned(), PLACEHOLDER_KEY.to_owned()),
        ];
        let launch =
            Launch { args, env: env.into(), dirs: vec![format!("{}/codex", setting.home)] };
        let tools = setting.tools.iter().map(|tool| {
            json!({
                "type": "function", "name": tool["name"], "description": tool["description"],
                "inputSchema": tool["input_schema"],
            })
        });
        let thread = json!({
            "cwd": spec.working_dir, "model": spec.model, "ephemeral": true,
            // It has nowhere to run anything; and should it want to, nobody is asked.
            "environments": [], "approvalPolicy": "never", "sandbox": "read-only",
            "developerInstructions": system(spec, RESULT_TOOL),
            "dynamicTools": tools.collect::<Value>(),
            // Calls of tools that it does not have are to be seen only here.
            "experimentalRawEvents": true,
        });
        let (prompt, tools) = (spec.prompt.clone(), setting.tools.clone());
        let (thread_id, foreign, expected, asked) = Default::default();
        Self { launch, thread, prompt, tools, thread_id, foreign, expected, asked }
    }

    fn say(&self, text: &str) -> Act {
        let input = [json!({"type": "text", "text": text, "text_elements": []})];
        request(TURN, "turn/start", &json!({"threadId": self.thread_id, "input": input}))
    }

    /// An answer to a request of ours.
    fn answer(&mut self, id: &str, line: &Value) -> Vec<Act> {
        if let Some(error) = line.get("error") {
            let why = error["message"].as_str().unwrap_or("it says no reason");
            return vec![Act::Over(End::failed(format!(
                "codex refuses `{id}`: {}",
                cut(why, 500)
            )))];
        }
        match id {
            INITIALIZE => vec![
                Act::Tell(json!({"method": "initialized"})),
                request(THREAD, "thread/start", &self.thread),
            ],
            THREAD => {
                self.thread_id = line["result"]["thread"]["id"].clone();
                vec![self.say(&self.prompt)]
            }
            _ => Vec::new(),
        }
    }

    /// A request of its own.
    fn request(&mut self, id: &Value, method: &str, params: &Value) -> Vec<Act> {
        if method == "item/tool/call" {
            let text = |key: &str| params[key].as_str().unwrap_or_default().to_owned();
            let (key, call, input) = (id.clone(), text("callId"), params["arguments"].clone());
            let act = Act::Call { key, id: call.clone(), name: text("tool"), input };
            if !self.expected.contains(&call) {
                return vec![act];
            }
            self.asked.insert(call, act);
            return self.in_order();
        }
        // Approvals and questions have nobody to answer them; none comes under the settings above.
        let error = json!({"code": -32601, "message": format!("nobody answers {method}")});
        vec![Act::Tell(json!({"id": id, "error": error}))]
    }

    /// The calls that none before them is waited for.
    fn in_order(&mut self) -> Vec<Act> {
        let mut acts = Vec::new();
        while let Some(act) = self.expected.front().and_then(|call| self.asked.remove(call)) {
            self.expected.pop_front();
            acts.push(act);
        }
        acts
    }

    /// An item of the conversation as the model knows it.
    fn item(&mut self, item: &Value) -> Vec<Act> {
        let kind = item["type"].as_str().unwrap_or_default();
        let id = item["call_id"].as_str().unwrap_or_default();
        if kind.ends_with("_call_output") {
            let text = match &item["output"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let answered = self.foreign.result(&item["call_id"], &text);
            // It answered this one itself.
            self.expected.retain(|expected| expected != id);
            return answered.into_iter().chain(self.in_order()).collect();
        }
        let Some(name) = item["name"].as_str().filter(|_| kind.ends_with("_call")) else {
            return Vec::new();
        };
        if self.tools.iter().any(|tool| tool["name"] == name) {
            self.expected.push_back(id.to_owned());
            return Vec::new();
        }
        let text = ["arguments", "input"].into_iter().find_map(|key| item[key].as_str());
        let text = text.unwrap_or_default();
        let input = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        vec![self.foreign.call(&item["call_id"], name, &input)]
    }

    fn notification(&mut self, method: &str, params: &Value) -> Vec<Act> {
        let act = match method {
            "item/completed" if params["item"]["type"] == "agentMessage" => {
                Act::text(params["item"]["text"].as_str().unwrap_or_default())
            }
            "rawResponseItem/completed" => return self.item(&params["item"]),
            "error" if params["willRetry"] == true => {
                let error = &params["error"];
                // The status is in whatever kind of trouble it says this is.
                let kinds = error["codexErrorInfo"].as_object().into_iter().flatten();
                let status = kinds.filter_map(|(_, about)| about["httpStatusCode"].as_u64()).next();
                Some(Act::retry(status, &complaint(error), 0))
            }
            "turn/completed" => Some(match params["turn"]["status"].as_str() {
                Some("completed") => Act::Stopped,
                _ => failed(&params["turn"]["error"]),
            }),
            _ => None,
        };
        act.into_iter().collect()
    }
}

impl Driver for Codex {
    fn launch(&mut self) -> Launch {
        std::mem::take(&mut self.launch)
    }

    fn result_tool(&self) -> String {
        RESULT_TOOL.to_owned()
    }

    fn begin(&mut self) -> Vec<Act> {
        let client = json!({"name": SERVER, "title": null, "version": env!("CARGO_PKG_VERSION")});
        let params = json!({"clientInfo": client, "capabilities": {"experimentalApi": true}});
        vec![request(INITIALIZE, "initialize", &params)]
    }

    fn said(&mut self, line: &Value) -> Vec<Act> {
        let params = &line["params"];
        match (line["method"].as_str(), line.get("id")) {
            (Some(method), Some(id)) => self.request(id, method, params),
            (Some(method), None) => self.notification(method, params),
            (None, Some(id)) => self.answer(id.as_str().unwrap_or_default(), line),
            (None, None) => Vec::new(),
        }
    }

    fn answered(&mut self, key: &Value, text: &str, is_error: bool) -> Vec<Act> {
        let items = [json!({"type": "inputText", "text": text})];
        let result = json!({"contentItems": items, "success": !is_error});
        vec![Act::Tell(json!({"id": key, "result": result}))]
    }

    fn remind(&mut self, text: &str) -> Vec<Act> {
        vec![self.say(text)]
    }
}

fn request(id: &str, method: &str, params: &Value) -> Act {
    Act::Tell(json!({"id": id, "method": method, "params": params}))
}

fn complaint(error: &Value) -> String {
    let text = |key: &str| error[key].as_str().unwrap_or_default().trim();
    match (text("message"), text("additionalDetails")) {
        (message, "") => message.to_owned(),
        (message, details) => format!("{message}: {details}"),
    }
}

/// A turn that did not come to its end.
fn failed(error: &Value) -> Act {
    if error["codexErrorInfo"] == "cyberPolicy" {
        return Act::Over(End::new(Ending::Refused, complaint(error)));
    }
    match complaint(error) {
        why if why.is_empty() => Act::Over(End::failed("codex ended its turn early")),
        why => Act::model_failed(&why),
    }
}
