//! One conversation with the model.

use std::time::Duration;

use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{Entry, LoopSpec, RESULT_BYTES_MAX, RESULT_TOOL};
use serde_json::{Value, json};

use super::{End, system};
use crate::message::{Answer, AskError, Block, Client, Message, Stop, ToolAnswer};
use crate::output::{Output, cut, cut_value};
use crate::schema::Schema;
use crate::tools::{Called, Tools};

/// How often a result that does not keep to its schema is handed back.
const RESULT_REFUSALS_MAX: u32 = 2;
/// How often the agent is reminded of its result.
const REMINDERS_MAX: u32 = 2;
/// Requests for one answer, and the longest pause between two of them. Together at most ten minutes.
const ATTEMPTS_MAX: u32 = 14;
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Bytes of one text of a tool's input or answer that the transcript shows.
const SHOWN_BYTES: usize = 16 << 10;

pub(super) struct Conversation<'a> {
    client: Client,
    tools: Tools,
    schema: Option<Schema>,
    output: &'a Output,
    messages: Vec<Message>,
    pause: Duration,
    refusals: u32,
    reminders: u32,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        spec: &LoopSpec,
        schema: Option<Schema>,
        tools: Tools,
        output: &'a Output,
    ) -> Result<Self, String> {
        let mut definitions = tools.definitions();
        if let Some(schema) = &spec.result_schema {
            definitions.push(json!({
                "name": RESULT_TOOL,
                "description": "Hands in the result of the work, once it is done. Ends the work.",
                "input_schema": schema,
            }));
        }
        let client =
            Client::new(&spec.socket, spec.api, spec.model.clone(), system(spec), definitions)?;
        let messages = vec![Message::User(spec.prompt.clone())];
        let pause = Duration::from_millis(spec.retry_pause_ms);
        Ok(Self { client, tools, schema, output, messages, pause, refusals: 0, reminders: 0 })
    }

    pub(super) async fn run(mut self) -> End {
        loop {
            let answer = match self.ask().await {
                Ok(answer) => answer,
                Err(end) => return end,
            };
            self.messages.extend(answer.repeated());
            if let Some(end) = self.take(answer).await {
                return end;
            }
        }
    }

    /// Asks until there is an answer, or asking again is no use.
    async fn ask(&self) -> Result<Answer, End> {
        let mut attempt = 1;
        loop {
            let (message, after) = match self.client.ask(&self.messages).await {
                Ok(answer) => return Ok(answer),
                Err(AskError::BudgetSpent { message }) => {
                    return Err(End::new(Ending::BudgetSpent, message));
                }
                Err(AskError::Final { message }) => {
                    return Err(End::new(Ending::ModelFailed, message));
                }
                Err(AskError::Transient { message, after }) => (message, after),
            };
            if attempt == ATTEMPTS_MAX {
                let what =
                    format!("the model did not answer in {ATTEMPTS_MAX} attempts: {message}");
                return Err(End::new(Ending::ModelFailed, what));
            }
            let pause = after.unwrap_or_else(|| self.pause.saturating_mul(1 << (attempt - 1)));
            let pause = pause.min(PAUSE_MAX);
            let after_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            self.output.say(Entry::Retry { reason: cut(&message, 1000), after_ms });
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// Acts on an answer; says how the work ended if it did.
    async fn take(&mut self, answer: Answer) -> Option<End> {
        let mut results = Vec::new();
        for block in answer.blocks {
            match block {
                Block::Text(text) => {
                    if !text.trim().is_empty() {
                        self.output.say(Entry::Text { text: cut(&text, 4 * SHOWN_BYTES) });
                    }
                }
                Block::Kept(_) => {}
                Block::ToolUse { id, name, input } => {
                    let shown = cut_value(&input, SHOWN_BYTES);
                    self.output.say(Entry::ToolCall {
                        id: id.clone(),
                        name: name.clone(),
                        input: shown,
                    });
                    if name == RESULT_TOOL && self.schema.is_some() {
                        match self.result(&id, input) {
                            Ok(end) => return Some(end),
                            Err(refusal) => results.push(refusal),
                        }
                    } else {
                        let called = self.tools.call(&name, &input).await;
                        results.push(self.answered(&id, &name, called));
                    }
                }
            }
        }
        if !results.is_empty() {
            self.messages.push(Message::Results(results));
            return None;
        }
        match answer.stop {
            Stop::Refused => Some(End::new(Ending::Refused, "the model refused to go on")),
            Stop::CutOff => {
                self.say("Go on.");
                None
            }
            Stop::Done => self.done(),
        }
    }

    /// The agent has nothing more to do. It is reminded of a result that is missing.
    fn done(&mut self) -> Option<End> {
        if self.schema.is_none() {
            return Some(End::completed(None));
        }
        if self.reminders == REMINDERS_MAX {
            let what = format!("the agent ended without handing in its result with {RESULT_TOOL}");
            return Some(End::new(Ending::NoResult, what));
        }
        self.reminders += 1;
        self.say(&format!("Hand in the result with the tool {RESULT_TOOL}."));
        None
    }

    fn say(&mut self, text: &str) {
        // The model may have said nothing, and no two messages of the same role follow each other.
        if !matches!(self.messages.last(), Some(Message::Assistant(_))) {
            self.messages.push(Message::Assistant(vec![Block::Text("…".to_owned())]));
        }
        self.messages.push(Message::User(text.to_owned()));
    }

    fn answered(&self, id: &str, name: &str, called: Called) -> ToolAnswer {
        let Called { outcome, text, bytes } = called;
        self.output.say(Entry::ToolResult {
            id: id.to_owned(),
            name: cut(name, 200),
            outcome,
            text: cut(&text, SHOWN_BYTES),
            bytes,
        });
        let text = if text.is_empty() { "(nothing)".to_owned() } else { text };
        ToolAnswer { id: id.to_owned(), text, is_error: outcome != ToolOutcome::Ok }
    }

    /// Takes a result that keeps to its schema, or hands it back with what is wrong.
    fn result(&mut self, id: &str, input: Value) -> Result<End, ToolAnswer> {
        let length = input.to_string().len();
        let errors = match &self.schema {
            _ if length > RESULT_BYTES_MAX => {
                vec![format!("the result has {length} bytes; at most {RESULT_BYTES_MAX} are taken")]
            }
            Some(schema) => schema.errors(&input),
            None => Vec::new(),
        };
        if errors.is_empty() {
            return Ok(End::completed(Some(input)));
        }
        self.refusals += 1;
        self.output.say(Entry::ResultRefused { errors: errors.clone(), attempt: self.refusals });
        if self.refusals > RESULT_REFUSALS_MAX {
            let what = format!(
                "the agent's result does not keep to its schema after {} attempts: {}",
                self.refusals,
                errors.join("; ")
            );
            return Ok(End::new(Ending::NoResult, what));
        }
        let text = format!("The result was not taken:\n{}", errors.join("\n"));
        Err(ToolAnswer { id: id.to_owned(), text, is_error: true })
    }
}
