//! The granted tools and the one for the result, as any harness calls them. Each call is in the transcript.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jb_agent_protocol::approval::Decision;
use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{Entry, LoopSpec, RESULT_BYTES_MAX, RESULT_TOOL};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::output::{Output, cut, cut_value};
use crate::schema::Schema;
use crate::step::End;
use crate::tools::{Called, Remote, Tools};

mod approvals;
mod batches;
mod journal;

pub use approvals::Decisions;
use approvals::{Approvals, Decided, Wait};
pub(crate) use batches::{Call, Progress, Stopped};
pub(crate) use journal::{Journal, Past, Place};

/// How often a result that does not keep to its schema is handed back.
const RESULT_REFUSALS_MAX: u32 = 2;
/// How often the agent is reminded of its result.
const REMINDERS_MAX: u32 = 2;
/// Bytes of one text of a tool's input or answer that the transcript shows.
pub(crate) const SHOWN_BYTES: usize = 16 << 10;

pub(crate) struct Toolbox {
    tools: Tools,
    approvals: Approvals,
    /// The schema of the result as it was given, and ready to check with.
    result: Option<(Value, Schema)>,
    output: Output,
    refusals: AtomicU32,
    reminders: AtomicU32,
}

/// A call that the transcript has.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Begun {
    call: Call,
    wait: Wait,
}

impl Begun {
    pub(crate) fn call(&self) -> &Call {
        &self.call
    }
}

/// A call about which people have not decided.
pub(crate) struct Undecided {
    pub(crate) begun: Begun,
    /// The id of what is to be decided.
    pub(crate) needs: String,
}

/// What was done about a call.
#[derive(Serialize, Deserialize)]
struct Done {
    /// What people said of it, if they were asked.
    decision: Option<Decision>,
    /// What the tool answered; nothing of the one for the result, which is taken when it is told.
    called: Option<Called>,
}

/// What became of a call.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Answered {
        text: String,
        is_error: bool,
    },
    /// It was the last one.
    Over(End),
}

/// What is counted of a step's agent over all of its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    refusals: u32,
    reminders: u32,
    asked: u32,
}

/// What is next when the agent has nothing more to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Over(End),
    /// It is told this.
    Remind(String),
}

impl Toolbox {
    /// # Errors
    /// When a directory cannot be opened, a grant cannot be read, or the schema is none.
    pub(crate) fn new(
        spec: &LoopSpec,
        remote: Remote,
        decisions: Decisions,
        output: Output,
    ) -> Result<Self, String> {
        let tools = Tools::new(spec, remote)?;
        for decision in spec.suspension.iter().flat_map(|it| &it.left).flat_map(|it| &it.decided) {
            decisions.take(decision.clone());
        }
        let approvals = Approvals::new(&spec.asked, decisions)?;
        let result = spec.result_schema.as_ref().map(|given| {
            let schema = Schema::new(given);
            schema.map(|schema| (given.clone(), schema))
        });
        let result = result.transpose().map_err(|error| format!("the result's schema: {error}"))?;
        let (refusals, reminders) = Default::default();
        Ok(Self { tools, approvals, result, output, refusals, reminders })
    }

    /// As a model is told of them: `name`, `description` and `input_schema`.
    pub(crate) fn definitions(&self) -> Vec<Value> {
        let mut definitions = self.tools.definitions();
        if let Some((schema, _)) = &self.result {
            definitions.push(json!({
                "name": RESULT_TOOL,
                "description": "Hands in the result of the work, once it is done. Ends the work.",
                "input_schema": schema,
            }));
        }
        definitions
    }

    /// Whether people are asked before a call is made.
    pub(crate) fn asks(&self, call: &Call) -> bool {
        self.tools.allows(&call.name, &call.input) && self.approvals.names(call)
    }

    /// Tells of a call, and asks people about it if need be.
    pub(crate) fn begin(&self, call: Call) -> Begun {
        let (id, name) = (cut(&call.id, 200), cut(&call.name, 200));
        self.output.say(Entry::ToolCall { id, name, input: cut_value(&call.input, SHOWN_BYTES) });
        let wait =
            if self.asks(&call) { self.approvals.ask(&call, &self.output) } else { Wait::Nobody };
        Begun { call, wait }
    }

    /// Makes a call that was begun, once people have approved it if they were asked.
    ///
    /// # Errors
    /// The call again, when they have not decided `within` that time.
    pub(crate) async fn finish(
        &self,
        begun: Begun,
        within: Option<Duration>,
    ) -> Result<Outcome, Undecided> {
        match self.approvals.decision_within(&begun.wait, within).await {
            Ok(decided) => {
                let done = self.perform(&begun, decided).await;
                Ok(self.say_done(&begun, done))
            }
            Err(needs) => Err(Undecided { begun, needs }),
        }
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        let of = |count: &AtomicU32| count.load(Ordering::Relaxed);
        let (refusals, reminders) = (of(&self.refusals), of(&self.reminders));
        Counts { refusals, reminders, asked: self.approvals.asked() }
    }

    /// Goes on counting where an earlier run was.
    pub(crate) fn go_on(&self, counts: Counts) {
        self.refusals.store(counts.refusals, Ordering::Relaxed);
        self.reminders.store(counts.reminders, Ordering::Relaxed);
        self.approvals.go_on(counts.asked);
    }

    /// Whether a tool leaves everything as it is.
    fn only_reads(&self, name: &str) -> bool {
        self.tools.only_reads(name)
    }

    async fn perform(&self, Begun { call, .. }: &Begun, decided: Decided) -> Done {
        if self.result.is_some() && call.name == RESULT_TOOL {
            return Done { decision: None, called: None };
        }
        let Decided { decision, refused } = decided;
        let called = match refused {
            Some(refused) => refused,
            None => self.tools.call(&cut(&call.name, 200), &call.input).await,
        };
        Done { decision, called: Some(called) }
    }

    fn say_done(&self, Begun { call, .. }: &Begun, Done { decision, called }: Done) -> Outcome {
        if let Some(Decision { id, approved, by, comment }) = decision {
            self.output.say(Entry::ApprovalAnswered { id, approved, by, comment });
        }
        let Some(Called { outcome, text, bytes }) = called else {
            return match &self.result {
                Some((_, schema)) => self.take(schema, &call.input),
                None => Outcome::Over(End::failed("a result was handed in that nobody wants")),
            };
        };
        let (id, name, shown) = (cut(&call.id, 200), cut(&call.name, 200), cut(&text, SHOWN_BYTES));
        self.output.say(Entry::ToolResult { id, name, outcome, text: shown, bytes });
        let text = if text.is_empty() { "(nothing)".to_owned() } else { text };
        Outcome::Answered { text, is_error: outcome != ToolOutcome::Ok }
    }

    /// Takes a result that keeps to its schema, or hands it back with what is wrong.
    fn take(&self, schema: &Schema, input: &Value) -> Outcome {
        let length = input.to_string().len();
        let errors = if length > RESULT_BYTES_MAX {
            vec![format!("the result has {length} bytes; at most {RESULT_BYTES_MAX} are taken")]
        } else {
            schema.errors(input)
        };
        if errors.is_empty() {
            return Outcome::Over(End::completed(Some(input.clone())));
        }
        let attempt = self.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        self.output.say(Entry::ResultRefused { errors: errors.clone(), attempt });
        if attempt > RESULT_REFUSALS_MAX {
            let what = format!(
                "the agent's result does not keep to its schema after {attempt} attempts: {}",
                errors.join("; ")
            );
            return Outcome::Over(End::new(Ending::NoResult, what));
        }
        let text = format!("The result was not taken:\n{}", errors.join("\n"));
        Outcome::Answered { text, is_error: true }
    }

    /// What is next when the agent stops working. It is reminded of a result that is missing.
    pub(crate) fn done(&self, result_tool: &str) -> Next {
        if self.result.is_none() {
            return Next::Over(End::completed(None));
        }
        if self.reminders.fetch_add(1, Ordering::Relaxed) == REMINDERS_MAX {
            let what = format!("the agent ended without handing in its result with {RESULT_TOOL}");
            return Next::Over(End::new(Ending::NoResult, what));
        }
        Next::Remind(reminder(result_tool))
    }

    /// What an agent was told that forgot its result, if there is to be one.
    pub(crate) fn reminder(&self, result_tool: &str) -> Option<String> {
        self.result.as_ref().map(|_| reminder(result_tool))
    }
}

fn reminder(result_tool: &str) -> String {
    format!("Hand in the result with the tool {result_tool}.")
}
