//! A program at work: what its driver wants done is done, one tool after the other.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use jb_agent_protocol::Entry;
use jb_agent_protocol::suspension::{ANSWERING_PATH, PAST_DIFFERS, Suspension};
use serde_json::Value;

use super::mcp::Server;
use super::program::Program;
use super::{Act, Driver};
use crate::output::{Output, cut};
use crate::state;
use crate::step::{End, Ended};
use crate::toolbox::{self, Begun, Journal, Outcome, Place, Toolbox, Undecided};

/// Calls of tools that wait for the one before.
const CALLS_MAX: usize = 256;
/// Characters of a line that is no word of the protocol, as the end shows it.
const LINE_SHOWN: usize = 300;
/// How long an answer of the model that is on its way is waited for before it is asked after again.
const ANSWERING_PAUSE: Duration = Duration::from_secs(1);

/// A program at work.
pub(super) struct Session<'a> {
    toolbox: &'a Toolbox,
    output: &'a Output,
    program: Program,
    server: Server,
    waiting: VecDeque<Call>,
    journal: Journal,
    /// None where it waits for people however long they take.
    stops: Option<Stops<'a>>,
}

/// How a program is stopped while people take their time.
pub(super) struct Stops<'a> {
    pub(super) suspension: &'a Suspension,
    pub(super) harness: &'a str,
    /// The gateway's.
    pub(super) socket: &'a str,
    /// As the model was told of them.
    pub(super) tools: Vec<Value>,
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

/// What became of a call.
struct Finished {
    key: Value,
    call: toolbox::Call,
    outcome: Result<Outcome, Undecided>,
}

enum Next {
    Said(Option<String>),
    Asked(u64, Value),
    Finished(Box<Finished>),
}

impl<'a> Session<'a> {
    pub(super) fn new(
        toolbox: &'a Toolbox,
        output: &'a Output,
        program: Program,
        server: Server,
        journal: Journal,
        stops: Option<Stops<'a>>,
    ) -> Self {
        let waiting = VecDeque::new();
        Self { toolbox, output, program, server, waiting, journal, stops }
    }

    /// Does what the driver wants until it is over. The program's processes end with this.
    pub(super) async fn follow(mut self, driver: &mut dyn Driver) -> Ended {
        // One tool at a time, as each may change what the next one sees.
        let mut running: Option<LocalBoxFuture<'a, Finished>> = None;
        let mut acts = driver.begin();
        loop {
            if let Some(end) = self.act(driver, acts).await {
                return Ended::Over(end);
            }
            if running.is_none()
                && let Some(call) = self.waiting.pop_front()
            {
                running = Some(self.make(call));
            }
            let finished = async {
                match running.as_mut() {
                    Some(call) => call.await,
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                biased;
                line = self.program.line() => Next::Said(line),
                (client, message) = self.server.message() => Next::Asked(client, message),
                finished = finished => Next::Finished(Box::new(finished)),
            };
            acts = match next {
                Next::Said(None) => return Ended::Over(self.program.ended().await),
                Next::Said(Some(line)) => match serde_json::from_str(&line) {
                    Ok(line) => driver.said(&line),
                    Err(_) => {
                        return Ended::Over(self.program.nonsense(&cut(&line, LINE_SHOWN)));
                    }
                },
                Next::Asked(client, message) => driver.asked(client, &message),
                Next::Finished(finished) => {
                    running = None;
                    let Finished { key, call, outcome } = *finished;
                    match outcome {
                        Ok(Outcome::Over(end)) => return Ended::Over(end),
                        Ok(Outcome::Answered { text, is_error }) => {
                            if self.stops.is_some() {
                                self.journal.answered(call, &text, is_error);
                            }
                            driver.answered(&key, &text, is_error)
                        }
                        Err(undecided) => match self.suspend(key, undecided) {
                            Some(last) => return Ended::Suspended(last),
                            None => Vec::new(),
                        },
                    }
                }
            };
        }
    }

    fn make(&self, Call { key, todo }: Call) -> LocalBoxFuture<'a, Finished> {
        let toolbox = self.toolbox;
        let after = |it: &Stops<'a>| (Duration::from_millis(it.suspension.after_ms), it.socket);
        let stops = self.stops.as_ref().map(after);
        Box::pin(async move {
            let mut begun = match todo {
                Todo::Begin(call) => toolbox.begin(call),
                Todo::Finish(begun) => begun,
            };
            let call = begun.call().clone();
            let mut within = stops.map(|(after, _)| after);
            let outcome = loop {
                let outcome = toolbox.finish(begun, within).await;
                match (outcome, stops) {
                    // Some call tools before the answer that calls them has ended; what is asked again must be whole.
                    (Err(undecided), Some((_, socket))) if is_answering(socket).await => {
                        (begun, within) = (undecided.begun, Some(ANSWERING_PAUSE));
                    }
                    (outcome, _) => break outcome,
                }
            };
            Finished { key, call, outcome }
        })
    }

    /// Leaves everything to be gone on from; gives the last word of this run. Where nothing can be left it goes on waiting.
    fn suspend(&mut self, key: Value, undecided: Undecided) -> Option<Entry> {
        let Undecided { begun, needs } = undecided;
        let stops = self.stops.take()?;
        let (mut open, mut queued) = (vec![begun.clone()], Vec::new());
        for Call { todo, .. } in &self.waiting {
            match todo {
                Todo::Begin(call) => queued.push(call.clone()),
                Todo::Finish(begun) => open.push(begun.clone()),
            }
        }
        let Stops { suspension, harness, tools, .. } = stops;
        let past = self.journal.past(open, queued, self.toolbox.counts(), tools);
        match state::leave(&suspension.dir, harness, &past) {
            Ok(digest) => Some(Entry::Suspended { run: suspension.run, needs, digest }),
            Err(reason) => {
                self.output.say(Entry::SuspendFailed { reason: cut(&reason, 1000) });
                self.waiting.push_front(Call { key, todo: Todo::Finish(begun) });
                None
            }
        }
    }

    async fn act(&mut self, driver: &mut dyn Driver, acts: Vec<Act>) -> Option<End> {
        let mut acts = VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            match act {
                // One that does not listen any more has ended, which is told by its output.
                Act::Tell(line) => self.program.tell(&line).await,
                Act::Answer { client, message } => self.server.answer(client, &message).await,
                Act::Say(entry) => {
                    if self.journal.is_news(&entry) {
                        if self.stops.is_some() {
                            self.journal.said(&entry);
                        }
                        self.output.say(entry);
                    }
                }
                Act::Call { key, id, name, input } => {
                    match self.call(key, toolbox::Call { id, name, input }) {
                        Ok(None) => {}
                        Ok(Some((key, text, is_error))) => {
                            acts.extend(driver.answered(&key, &text, is_error));
                        }
                        Err(end) => return Some(end),
                    }
                }
                Act::Stopped if !self.journal.is_live() => {
                    match self.toolbox.reminder(&driver.result_tool()) {
                        Some(text) => acts.extend(driver.remind(&text)),
                        None => {
                            let what = format!("{PAST_DIFFERS}: it stopped before");
                            return Some(End::failed(what));
                        }
                    }
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

    /// Takes a call; gives what it was answered in a run before.
    fn call(
        &mut self,
        key: Value,
        call: toolbox::Call,
    ) -> Result<Option<(Value, String, bool)>, End> {
        if self.waiting.len() == CALLS_MAX {
            let what = format!("the agent called more than {CALLS_MAX} tools at once");
            return Err(End::failed(what));
        }
        let todo = match self.journal.place(call).map_err(End::failed)? {
            Place::Made { text, is_error } => return Ok(Some((key, text, is_error))),
            Place::Open(begun) => Todo::Finish(begun),
            Place::New(call) if self.toolbox.asks(&call) => Todo::Finish(self.toolbox.begin(call)),
            Place::New(call) => Todo::Begin(call),
        };
        self.waiting.push_back(Call { key, todo });
        Ok(None)
    }
}

/// Whether an answer of the model is on its way. A gateway that cannot say so has none.
async fn is_answering(socket: &str) -> bool {
    let asked = async {
        let http = reqwest::Client::builder().unix_socket(socket).build()?;
        http.get(format!("http://gateway{ANSWERING_PATH}")).send().await?.text().await
    };
    asked.await.is_ok_and(|text| text.parse().is_ok_and(|answers: usize| answers > 0))
}
