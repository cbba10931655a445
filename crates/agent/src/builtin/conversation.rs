//! One conversation with the model.

use std::time::Duration;

use jb_agent_protocol::suspension::Suspension;
use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{Entry, LoopSpec, RESULT_TOOL};
use serde::{Deserialize, Serialize};

use super::repeats::{Repeats, Verdict};
use super::{NAME, compaction};
use crate::message::{Answer, AskError, Block, Client, Message, Stop, ToolAnswer};
use crate::output::{Output, cut};
use crate::state;
use crate::step::{End, Ended, system};
use crate::toolbox::{Call, Counts, Next, Outcome, Progress, SHOWN_BYTES, Stopped, Toolbox};

/// Requests for one answer, and the longest pause between two of them. Together at most ten minutes.
const ATTEMPTS_MAX: u32 = 14;
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often in a row a conversation is shortened because the model finds it too long.
const SHORTENED_MAX: u32 = 3;

pub(super) struct Conversation<'a> {
    client: Client,
    tools: Toolbox,
    output: &'a Output,
    /// As the pipeline wrote it.
    prompt: String,
    messages: Vec<Message>,
    context_tokens: u64,
    repeats: Repeats,
    pause: Duration,
    /// When it stops for people who take their time.
    suspension: Option<Suspension>,
    /// Whether it said that it cannot.
    told_of_trouble: bool,
    /// Calls of the last answer, which an earlier run began.
    left: Option<(Vec<Call>, Progress)>,
}

/// A conversation that stopped among the calls of its last answer.
#[derive(Serialize, Deserialize)]
struct State {
    messages: Vec<Message>,
    calls: Vec<Call>,
    progress: Progress,
    counts: Counts,
    repeats: Repeats,
}

/// Why there is no answer.
enum NoAnswer {
    TooLong(String),
    Over(End),
}

/// What is asked.
#[derive(Clone, Copy)]
enum Asked<'t> {
    Conversation,
    /// For a summary of it.
    Summary(&'t str),
}

impl<'a> Conversation<'a> {
    pub(super) fn new(spec: &LoopSpec, tools: Toolbox, output: &'a Output) -> Result<Self, String> {
        let definitions = tools.definitions();
        let system = system(spec, RESULT_TOOL);
        let client = Client::new(&spec.socket, spec.api, spec.model.clone(), system, definitions)?;
        let mut conversation = Self {
            client,
            tools,
            output,
            prompt: spec.prompt.clone(),
            messages: vec![Message::User(spec.prompt.clone())],
            context_tokens: spec.context_tokens,
            repeats: Repeats::default(),
            pause: Duration::from_millis(spec.retry_pause_ms),
            suspension: spec.suspension.clone(),
            told_of_trouble: false,
            left: None,
        };
        if let Some(Suspension { dir, left: Some(left), .. }) = &spec.suspension {
            conversation.go_on(state::find(dir, NAME, &left.digest)?);
        }
        Ok(conversation)
    }

    /// Takes up what an earlier run left.
    fn go_on(&mut self, state: State) {
        let State { messages, calls, progress, counts, repeats } = state;
        self.tools.go_on(counts);
        (self.messages, self.repeats) = (messages, repeats);
        self.left = Some((calls, progress));
    }

    pub(super) async fn run(mut self) -> Ended {
        if let Some((calls, progress)) = self.left.take()
            && let Some(ended) = self.call(&calls, progress).await
        {
            return ended;
        }
        loop {
            let answer = match self.answer().await {
                Ok(answer) => answer,
                Err(end) => return Ended::Over(end),
            };
            self.messages.extend(answer.repeated());
            if let Some(ended) = self.take(answer).await {
                return ended;
            }
        }
    }

    /// The next answer, of a conversation that is shortened before and as often as need be.
    async fn answer(&mut self) -> Result<Answer, End> {
        if let Some(kept) = compaction::first_kept(&self.messages, self.context_tokens) {
            self.shorten(kept).await?;
        }
        for _ in 0..SHORTENED_MAX {
            match self.ask(Asked::Conversation).await {
                Ok(answer) => return Ok(answer),
                Err(NoAnswer::Over(end)) => return Err(end),
                Err(NoAnswer::TooLong(message)) => {
                    let kept = compaction::first_kept_at_once(&self.messages, self.context_tokens);
                    let kept = kept.ok_or_else(|| End::new(Ending::ModelFailed, message))?;
                    self.shorten(kept).await?;
                }
            }
        }
        let what = "the conversation is too long for the model, however it is shortened";
        Err(End::new(Ending::ModelFailed, what))
    }

    /// Puts a summary into the place of all messages before the one that is kept first.
    async fn shorten(&mut self, kept: usize) -> Result<(), End> {
        let tokens = compaction::size(&self.messages);
        let question = compaction::question(&self.messages[..kept]);
        let summary = match self.ask(Asked::Summary(&question)).await {
            Ok(answer) => texts(&answer),
            // It is gone on without one rather than not at all.
            Err(NoAnswer::TooLong(_)) => String::new(),
            Err(NoAnswer::Over(end)) => return Err(end),
        };
        let prompt = compaction::prompt(&self.prompt, &summary);
        self.messages.splice(..kept, [Message::User(prompt)]);
        self.output.say(Entry::Compacted {
            messages: u32::try_from(kept).unwrap_or(u32::MAX),
            tokens,
            summary: cut(&summary, SHOWN_BYTES),
        });
        Ok(())
    }

    /// Asks until there is an answer, or asking again is no use.
    async fn ask(&self, asked: Asked<'_>) -> Result<Answer, NoAnswer> {
        let over = |ending, message: String| NoAnswer::Over(End::new(ending, message));
        let mut attempt = 1;
        loop {
            let answer = match asked {
                Asked::Conversation => self.client.ask(&self.messages).await,
                Asked::Summary(text) => self.client.ask_beside(compaction::SYSTEM, text).await,
            };
            let (message, after) = match answer {
                Ok(answer) => return Ok(answer),
                Err(AskError::BudgetSpent { message }) => {
                    return Err(over(Ending::BudgetSpent, message));
                }
                Err(AskError::TooLong { message }) => return Err(NoAnswer::TooLong(message)),
                Err(AskError::Final { message }) => {
                    return Err(over(Ending::ModelFailed, message));
                }
                Err(AskError::Transient { message, after }) => (message, after),
            };
            if attempt == ATTEMPTS_MAX {
                let what =
                    format!("the model did not answer in {ATTEMPTS_MAX} attempts: {message}");
                return Err(over(Ending::ModelFailed, what));
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
    async fn take(&mut self, answer: Answer) -> Option<Ended> {
        let mut calls = Vec::new();
        for block in answer.blocks {
            match block {
                Block::Text(text) => {
                    if !text.trim().is_empty() {
                        self.output.say(Entry::Text { text: cut(&text, 4 * SHOWN_BYTES) });
                    }
                }
                Block::Kept(_) => {}
                Block::ToolUse { id, name, input } => calls.push(Call { id, name, input }),
            }
        }
        if !calls.is_empty() {
            return self.call(&calls, Progress::default()).await;
        }
        match answer.stop {
            Stop::Refused => {
                Some(Ended::Over(End::new(Ending::Refused, "the model refused to go on")))
            }
            Stop::CutOff => {
                self.say("Go on.");
                None
            }
            Stop::Done => self.done().map(Ended::Over),
        }
    }

    async fn call(&mut self, calls: &[Call], mut progress: Progress) -> Option<Ended> {
        let after = |it: &Suspension| Duration::from_millis(it.after_ms);
        let mut within = self.suspension.as_ref().map(after);
        let outcomes = loop {
            match self.tools.call_all(calls, progress, within).await {
                Ok(outcomes) => break outcomes,
                Err(stopped) => match self.suspend(calls, stopped) {
                    Ok(last) => return Some(Ended::Suspended(last)),
                    // Where nothing can be left it goes on waiting.
                    Err(kept) => (progress, within) = (kept, None),
                },
            }
        };
        let mut results = Vec::with_capacity(calls.len());
        for (call, outcome) in calls.iter().zip(outcomes) {
            match outcome {
                Outcome::Answered { text, is_error } => {
                    results.push(ToolAnswer { id: call.id.clone(), text, is_error });
                }
                Outcome::Over(end) => return Some(Ended::Over(end)),
            }
        }
        let made = calls.iter().zip(&results);
        let made = made.map(|(call, result)| (&*call.name, &call.input, &*result.text));
        match self.repeats.judge(made) {
            Verdict::Fine => {}
            Verdict::Tell(text) => {
                if let Some(last) = results.last_mut() {
                    last.text = format!("{}\n{text}", last.text);
                }
            }
            Verdict::Stop(why) => return Some(Ended::Over(End::new(Ending::Refused, why))),
        }
        self.messages.push(Message::Results(results));
        None
    }

    /// Leaves everything to be gone on from; gives the last word of this run, or back how far the calls are.
    fn suspend(&mut self, calls: &[Call], stopped: Stopped) -> Result<Entry, Progress> {
        let Stopped { progress, needs } = stopped;
        let Some(Suspension { run, dir, .. }) = &self.suspension else { return Err(progress) };
        let (messages, calls) = (self.messages.clone(), calls.to_vec());
        let (counts, repeats) = (self.tools.counts(), self.repeats);
        let state = State { messages, calls, progress, counts, repeats };
        match state::leave(dir, NAME, &state) {
            Ok(digest) => Ok(Entry::Suspended { run: *run, needs, digest }),
            Err(reason) => {
                if !std::mem::replace(&mut self.told_of_trouble, true) {
                    self.output.say(Entry::SuspendFailed { reason: cut(&reason, 1000) });
                }
                Err(state.progress)
            }
        }
    }

    fn done(&mut self) -> Option<End> {
        match self.tools.done(RESULT_TOOL) {
            Next::Over(end) => Some(end),
            Next::Remind(text) => {
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

fn texts(answer: &Answer) -> String {
    let texts = answer.blocks.iter().filter_map(|block| match block {
        Block::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}
