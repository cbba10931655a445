//! Scripts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is answered to which request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default)]
    pub when: When,
    /// How often it answers; without end unless given.
    #[serde(default)]
    pub times: Option<u32>,
    pub reply: Reply,
}

/// Which requests a rule wants: those that match everything that is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    pub model: Option<String>,
    /// Stands in the last message.
    pub last: Option<String>,
    /// Stands anywhere in the request.
    pub anywhere: Option<String>,
    /// How many messages the conversation has, where those of the same side that follow each other are one.
    pub messages: Option<usize>,
    /// The request's number, from 1.
    pub number: Option<usize>,
}

impl When {
    pub(crate) fn matches(&self, request: &Value, number: usize) -> bool {
        let is = |wanted: &Option<String>, found: &dyn Fn() -> String| {
            wanted.as_ref().is_none_or(|wanted| found().contains(wanted.as_str()))
        };
        let count = turns(request).len();
        self.model.as_ref().is_none_or(|model| request["model"] == **model)
            && self.number.is_none_or(|wanted| wanted == number)
            && self.messages.is_none_or(|wanted| wanted == count)
            && is(&self.last, &|| last(request))
            && is(&self.anywhere, &|| texts(request))
    }
}

/// Every text of the last message.
pub(crate) fn last(request: &Value) -> String {
    turns(request).last().map_or_else(String::new, |turn| turn.iter().map(|it| texts(it)).collect())
}

/// The conversation, whatever the API: what follows each other from the same side is one.
fn turns(request: &Value) -> Vec<Vec<&Value>> {
    let list = ["messages", "input"].into_iter().find_map(|key| request[key].as_array());
    let mut turns: Vec<(bool, Vec<&Value>)> = Vec::new();
    for item in list.into_iter().flatten() {
        let role = item["role"].as_str();
        if matches!(role, Some("system" | "developer")) {
            continue;
        }
        let kind = item["type"].as_str();
        let models =
            role == Some("assistant") || matches!(kind, Some("function_call" | "reasoning"));
        match turns.last_mut() {
            Some((side, turn)) if *side == models => turn.push(item),
            _ => turns.push((models, vec![item])),
        }
    }
    turns.into_iter().map(|(_, turn)| turn).collect()
}

fn texts(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text}\n"),
        Value::Array(items) => items.iter().map(texts).collect(),
        Value::Object(fields) => fields.values().map(texts).collect(),
        _ => String::new(),
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Say(Said),
    Error {
        status: u16,
        kind: String,
        message: String,
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Something that is no answer.
    Garbage(String),
    /// Not even the head of an answer.
    Silence,
    /// The head, and then nothing.
    Hang,
    /// An answer that ends in its middle.
    CutOff(Said),
    /// An answer that says this again and again.
    Endless(String),
}

/// An answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Said {
    pub text: String,
    pub tools: Vec<ToolUse>,
    pub usage: Usage,
    /// `tool_use` or `end_turn`, unless given; `max_tokens` and `refusal` have their like in every API.
    pub stop_reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolUse {
    /// What a harness puts before it may be left out.
    pub name: String,
    pub input: Value,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub cache_creation_input_tokens: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            input_tokens: 100,
            output_tokens: 10,
            cache_read_input_tokens: 0,
            cache_creation_input_tokens: 0,
        }
    }
}

impl Reply {
    /// Says a text and nothing more.
    pub fn text(text: &str) -> Self {
        Self::Say(Said { text: text.to_owned(), ..Said::default() })
    }

    /// The same with its tools called by the names they are offered by: some harnesses put a prefix before them.
    pub(crate) fn with_offered_names(mut self, request: &Value) -> Self {
        let (Self::Say(said) | Self::CutOff(said)) = &mut self else { return self };
        let tools = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
        let offered = tools
            .iter()
            .filter_map(|tool| tool["name"].as_str().or_else(|| tool["function"]["name"].as_str()));
        let offered: Vec<&str> = offered.collect();
        for tool in &mut said.tools {
            let prefixed = format!("_{}", tool.name);
            let found = offered.iter().find(|name| name.ends_with(&prefixed));
            if let Some(found) = found.filter(|_| !offered.contains(&tool.name.as_str())) {
                tool.name = (*found).to_owned();
            }
        }
        self
    }

    /// Calls one tool.
    pub fn tool(name: &str, input: Value) -> Self {
        let tools = vec![ToolUse { name: name.to_owned(), input }];
        Self::Say(Said { tools, ..Said::default() })
    }
}

impl Script {
    /// Answers in this order, whatever is asked.
    pub fn of(replies: impl IntoIterator<Item = Reply>) -> Self {
        let rule = |reply| Rule { when: When::default(), times: Some(1), reply };
        Self { rules: replies.into_iter().map(rule).collect() }
    }
}
