//! One conversation with the model.

use std::time::Duration;

use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{Entry, LoopSpec, RESULT_TOOL};

use crate::message::{Answer, AskError, Block, Client, Message, Stop, ToolAnswer};
use crate::output::{Output, cut};
use crate::step::{End, system};
use crate::toolbox::{Done, Outcome, SHOWN_BYTES, Toolbox};

/// Requests for one answer, and the longest pause between two of them. Together at most ten minutes.
const ATTEMPTS_MAX: u32 = 14;
const PAUSE_MAX: Duration = Duration::from_secs(60);

pub(super) struct Conversation<'a> {
    client: Client,
    tools: Toolbox,
    output: &'a Output,
    messages: Vec<Message>,
    pause: Duration,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(spec: &LoopSpec, tools: Toolbox, output: &'a Output) -> Result<Self, String> {
        let definitions = tools.definitions();
        let system = system(spec, RESULT_TOOL);
        let client = Client::new(&spec.socket, spec.api, spec.model.clone(), system, definitions)?;
        let messages = vec![Message::User(spec.prompt.clone())];
        let pause = Duration::from_millis(spec.retry_pause_ms);
        Ok(Self { client, tools, output, messages, pause })
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
                    match self.tools.call(&id, &name, input).await {
                        Outcome::Answered { text, is_error } => {
                            results.push(ToolAnswer { id, text, is_error });
                        }
                        Outcome::Over(end) => return Some(end),
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

    fn done(&mut self) -> Option<End> {
        match self.tools.done(RESULT_TOOL) {
            Done::Over(end) => Some(end),
            Done::Remind(text) => {
                self.say(&text);
                None
            }
        }
    }

    fn say(&mut self, text: &str) {
        // The model may have said nothing, and no two messages of the same role follow each other.
        if !matches!(self.messages.last(), Some(Message::Assistant(_))) {
            self.messages.push(Message::Assistant(vec![Block::Text("…".to_owned())]));
        }
        self.messages.push(Message::User(text.to_owned()));
    }
}
