//! What an answer of the model cost, read from its stream as it passes.

use jb_agent_protocol::{AnswerFacts, Api, Usage};
use serde_json::Value;

use crate::sse::Reader;

/// Bytes of text that are about one token, where nobody counted.
const BYTES_PER_TOKEN: u64 = 4;

/// Reads along with an answer.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    api: Api,
    streamed: bool,
    reader: Reader,
    body: Vec<u8>,
    usage: Usage,
    /// Whether the service said how many tokens it made.
    counted: bool,
    text_bytes: u64,
    /// The message of an error inside the answer.
    error: Option<String>,
    facts: AnswerFacts,
    ended: bool,
}

/// What is known of an answer that is over.
pub(crate) struct Measured {
    pub(crate) usage: Usage,
    pub(crate) facts: AnswerFacts,
    /// Why there is no whole answer.
    pub(crate) error: Option<String>,
}

/// The longest id or reason that is kept, in bytes.
const FACT_BYTES_MAX: usize = 200;

/// A whole answer that is not streamed is kept only up to this size.
const BODY_BYTES_MAX: usize = 16 << 20;

impl Meter {
    pub(crate) fn new(api: Api, content_type: &str) -> Self {
        let streamed = content_type.starts_with("text/event-stream");
        Self { api, streamed, ..Self::default() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if !self.streamed {
            let room = BODY_BYTES_MAX.saturating_sub(self.body.len());
            self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return;
        }
        match self.reader.push(bytes) {
            Ok(events) => {
                for event in events {
                    if event == "[DONE]" {
                        self.ended = true;
                        continue;
                    }
                    match serde_json::from_str(&event) {
                        Ok(event) => self.event(&event),
                        Err(_) => self.error = Some("an event of the stream is no JSON".to_owned()),
                    }
                }
            }
            Err(error) => self.error = Some(error),
        }
    }

    fn event(&mut self, event: &Value) {
        match self.api {
            Api::Messages => self.messages_event(event),
            Api::Responses => self.responses_event(event),
            Api::Chat => self.chat_event(event),
        }
    }

    /// Takes what a service says of its answer, wherever in it.
    fn take_facts(&mut self, of: &Value, finish_reason: &Value) {
        let take = |value: &Value, into: &mut String| {
            if let Some(text) = value.as_str() {
                *into = crate::output::cut(text, FACT_BYTES_MAX);
            }
        };
        take(&of["id"], &mut self.facts.response_id);
        take(&of["model"], &mut self.facts.response_model);
        take(finish_reason, &mut self.facts.finish_reason);
    }

    /// An answer's status, or why it is incomplete.
    fn take_response(&mut self, response: &Value) {
        self.take_total(&response["usage"]);
        let why = &response["incomplete_details"]["reason"];
        let reason = if why.is_string() { why } else { &response["status"] };
        self.take_facts(response, reason);
    }

    fn responses_event(&mut self, event: &Value) {
        match event.get("type").and_then(Value::as_str) {
            Some("response.completed" | "response.incomplete") => {
                self.take_response(&event["response"]);
                self.ended = true;
            }
            Some("response.failed") => {
                self.take_response(&event["response"]);
                self.error = Some(error_of(&event["response"]));
            }
            Some("error") => self.error = Some(error_of(&serde_json::json!({"error": event}))),
            Some(kind) if kind.ends_with(".delta") => self.take_text(&event["delta"]),
            _ => {}
        }
    }

    fn chat_event(&mut self, event: &Value) {
        if event.get("error").is_some() {
            self.error = Some(error_of(event));
        }
        let choice = &event["choices"][0];
        self.take_facts(event, &choice["finish_reason"]);
        self.ended |= choice["finish_reason"].is_string();
        let delta = &choice["delta"];
        self.take_text(&delta["content"]);
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.take_text(&call["function"]["arguments"]);
        }
        self.take_total(&event["usage"]);
    }

    fn take_text(&mut self, text: &Value) {
        self.text_bytes += text.as_str().map_or(0, |text| text.len() as u64);
    }

    /// OpenAI counts what was read from a cache as a part of the input.
    fn take_total(&mut self, usage: &Value) {
        let count = |keys: [&str; 2]| keys.into_iter().find_map(|key| usage[key].as_u64());
        let Some(input) = count(["input_tokens", "prompt_tokens"]) else { return };
        let details = ["input_tokens_details", "prompt_tokens_details"];
        let cached = details.into_iter().find_map(|key| usage[key]["cached_tokens"].as_u64());
        let cached = cached.unwrap_or(0).min(input);
        self.usage.input_tokens = input - cached;
        self.usage.cache_read_tokens = cached;
        self.usage.output_tokens = count(["output_tokens", "completion_tokens"]).unwrap_or(0);
        self.counted = true;
    }

    fn messages_event(&mut self, event: &Value) {
        match event.get("type").and_then(Value::as_str) {
            Some("message_start") => {
                self.take_usage(&event["message"]["usage"]);
                self.take_facts(&event["message"], &Value::Null);
            }
            Some("content_block_delta") => {
                let delta = &event["delta"];
                let text = ["text", "partial_json", "thinking"]
                    .into_iter()
                    .find_map(|key| delta.get(key).and_then(Value::as_str));
                self.text_bytes += text.map_or(0, |text| text.len() as u64);
            }
            Some("message_delta") => {
                self.take_usage(&event["usage"]);
                self.take_facts(&Value::Null, &event["delta"]["stop_reason"]);
                self.counted = true;
            }
            Some("message_stop") => self.ended = true,
            Some("error") => self.error = Some(error_of(event)),
            _ => {}
        }
    }

    /// Counts are of the whole answer so far, not of what is new.
    fn take_usage(&mut self, usage: &Value) {
        let take = |key: &str, into: &mut u64| {
            if let Some(count) = usage.get(key).and_then(Value::as_u64) {
                *into = count;
            }
        };
        take("input_tokens", &mut self.usage.input_tokens);
        take("output_tokens", &mut self.usage.output_tokens);
        take("cache_read_input_tokens", &mut self.usage.cache_read_tokens);
        take("cache_creation_input_tokens", &mut self.usage.cache_write_tokens);
    }

    /// What the answer used. Of one that was cut off, what was made of it is estimated.
    pub(crate) fn finish(mut self, status: u16) -> Measured {
        if !self.streamed {
            let body: Value = serde_json::from_slice(&self.body).unwrap_or(Value::Null);
            match self.api {
                Api::Messages => {
                    self.take_usage(&body["usage"]);
                    self.take_facts(&body, &body["stop_reason"]);
                }
                Api::Responses => self.take_response(&body),
                Api::Chat => {
                    self.take_total(&body["usage"]);
                    self.take_facts(&body, &body["choices"][0]["finish_reason"]);
                }
            }
            let failed = !(200..300).contains(&status);
            let error = failed.then(|| format!("HTTP {status}: {}", error_of(&body)));
            return Measured { usage: self.usage, facts: self.facts, error };
        }
        if !self.counted {
            let estimate = self.text_bytes.div_ceil(BYTES_PER_TOKEN);
            self.usage.output_tokens = self.usage.output_tokens.max(estimate);
        }
        let cut = || (!self.ended).then(|| "the answer was cut off".to_owned());
        let error = self.error.take().or_else(cut);
        Measured { usage: self.usage, facts: self.facts, error }
    }
}

/// The words of an error as the service sends it.
pub(crate) fn error_of(body: &Value) -> String {
    let error = &body["error"];
    let kind = ["type", "code"].into_iter().find_map(|key| error.get(key)?.as_str());
    let kind = kind.unwrap_or("error");
    match error.get("message").and_then(Value::as_str) {
        Some(message) => format!("{kind}: {}", crate::output::cut(message, 500)),
        None => kind.to_owned(),
    }
}
