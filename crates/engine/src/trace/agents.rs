//! What spans and metrics say of agents and approvals: OpenTelemetry's names for generative AI. Pure.
//!
//! A step's agent is a span below the step's, and each request to the model and each call of a tool one below that. They
//! follow from the lines of its transcript. No text that an agent said or was told is in them.

mod connection;
mod mcp;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{AnswerFacts, Entry, Limit, LimitKind, Line, RESULT_TOOL, Source, Usage};
use jb_model::agent::{Judgement, Verdict};
use jb_model::{PlanId, Timestamp, Value};
use jb_store::ApprovalRecord;

use super::{Fact, Kind, Place, Span, SpanEvent};

/// Spans below an agent's; what comes after them is only counted.
const PARTS_MAX: usize = 1_000;
/// Events of one agent's span.
const EVENTS_MAX: usize = 128;
/// Calls of tools that may be under way at once.
const OPEN_MAX: usize = 256;

/// A part of an agent's work that is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Chat(Chat),
    Tool(Tool),
    Mcp(mcp::Call),
    Connection(connection::Connection),
    /// The agent's end.
    End {
        took: Duration,
        error: &'static str,
    },
    Budget(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chat {
    begin: Timestamp,
    pub(crate) took: Duration,
    first_byte_ms: u64,
    pub(crate) model: String,
    pub(crate) answer: AnswerFacts,
    pub(crate) usage: Usage,
    pub(crate) cost_micros: u64,
    /// Empty when all is well.
    pub(crate) error: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tool {
    id: String,
    pub(crate) name: String,
    begin: Timestamp,
    pub(crate) took: Duration,
    /// Empty when all is well.
    pub(crate) error: &'static str,
}

/// A call of a tool that has no result yet: id, name and begin.
type Open = (String, String, Timestamp);

/// An agent's work so far.
#[derive(Debug, Default)]
pub(crate) struct Story {
    harness: String,
    model: String,
    provider: String,
    began: Option<Timestamp>,
    ended: Option<(Timestamp, &'static str)>,
    open: Vec<Open>,
    /// Questions to people, by their ids and those of the calls that they are about.
    asked: Vec<(String, String)>,
    parts: Vec<Told>,
    left_out: u64,
    events: Vec<SpanEvent>,
    turns: u32,
    usage: Usage,
    cost_micros: u64,
    result: Value,
}

impl Story {
    /// Takes a line of the transcript; says what it ends.
    pub(crate) fn take(&mut self, source: Source, line: &Line) -> Vec<Told> {
        let at = Timestamp(line.time_us);
        let told = match source {
            Source::Harness => self.harness(&line.entry, at),
            Source::Gateway => self.gateway(&line.entry, at).into_iter().collect(),
            Source::Server => Vec::new(),
        };
        for part in told.iter().filter(|part| !matches!(part, Told::End { .. } | Told::Budget(_))) {
            if self.parts.len() < PARTS_MAX {
                self.parts.push(part.clone());
            } else {
                self.left_out += 1;
            }
        }
        told
    }

    fn harness(&mut self, entry: &Entry, at: Timestamp) -> Vec<Told> {
        match entry {
            Entry::Start { harness, model, .. } => {
                self.began = Some(at);
                self.harness.clone_from(harness);
                self.model.clone_from(model);
            }
            Entry::ToolCall { id, name, .. } if self.open.len() < OPEN_MAX => {
                self.open.push((id.clone(), name.clone(), at));
            }
            Entry::ApprovalAsked { id, call, .. } if self.asked.len() < OPEN_MAX => {
                self.asked.push((id.clone(), call.clone()));
            }
            Entry::ApprovalAnswered { id, .. } => {
                let asked = self.asked.iter().position(|(asked, _)| asked == id);
                let call = asked.map(|index| self.asked.swap_remove(index).1);
                // What the tool took begins when people have decided.
                let open = self.open.iter_mut().find(|open| Some(&open.0) == call.as_ref());
                if let Some(open) = open {
                    open.2 = at;
                }
            }
            Entry::ToolResult { id, outcome, .. } => {
                let error = match outcome {
                    ToolOutcome::Ok => "",
                    ToolOutcome::Failed => "tool_error",
                    ToolOutcome::Denied => "denied",
                };
                return self.tool(|open| open.0 == *id, at, error).into_iter().collect();
            }
            Entry::ResultRefused { attempt, .. } => {
                self.event("result refused", at, vec![("attempt", (*attempt).into())]);
                let tool = self.tool(|open| open.1 == RESULT_TOOL, at, "tool_error");
                return tool.into_iter().collect();
            }
            Entry::Retry { after_ms, .. } => {
                self.event("model asked again", at, vec![("after_ms", (*after_ms).into())]);
            }
            Entry::End { ending, result, .. } => {
                // The call that hands a result in has no answer of its own.
                let is_result = |open: &Open| result.is_some() && open.1 == RESULT_TOOL;
                let tool = self.tool(is_result, at, "");
                let error = ending_error(*ending);
                self.ended = Some((at, error));
                self.result = result.clone().unwrap_or_default();
                let took = self.began.map_or(Duration::ZERO, |began| at.since(began));
                return tool.into_iter().chain([Told::End { took, error }]).collect();
            }
            _ => {}
        }
        Vec::new()
    }

    fn gateway(&mut self, entry: &Entry, at: Timestamp) -> Option<Told> {
        match entry {
            Entry::ModelCall { status, .. } => {
                let chat = chat(entry, at)?;
                self.provider.clone_from(&chat.answer.provider);
                self.turns += u32::from((200..300).contains(status));
                self.usage.add(chat.usage);
                self.cost_micros = self.cost_micros.saturating_add(chat.cost_micros);
                Some(Told::Chat(chat))
            }
            Entry::McpCall { .. } => mcp::Call::of(entry, at).map(Told::Mcp),
            Entry::Connection { .. } => connection::Connection::of(entry, at).map(Told::Connection),
            Entry::BudgetSpent { limit: Limit { kind, used, limit } } => {
                let kind = match kind {
                    LimitKind::Turns => "turns",
                    LimitKind::Tokens => "tokens",
                    LimitKind::Cost => "cost",
                };
                let (used, limit) = ((*used).into(), (*limit).into());
                let facts = vec![("limit_of", kind.into()), ("used", used), ("limit", limit)];
                self.event("budget spent", at, facts);
                Some(Told::Budget(kind))
            }
            Entry::ReplayMismatch { number, .. } => {
                self.event("replay mismatch", at, vec![("number", (*number).into())]);
                None
            }
            _ => None,
        }
    }

    /// A call of a tool that is over.
    fn tool(
        &mut self,
        is_it: impl Fn(&Open) -> bool,
        at: Timestamp,
        error: &'static str,
    ) -> Option<Told> {
        let index = self.open.iter().position(is_it)?;
        let (id, name, begin) = self.open.remove(index);
        Some(Told::Tool(Tool { id, name, begin, took: at.since(begin), error }))
    }

    fn event(&mut self, name: &'static str, at: Timestamp, attributes: Vec<(&'static str, Fact)>) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(SpanEvent { attributes, ..SpanEvent::new(name, at) });
        }
    }

    /// What metrics count an agent under.
    pub(crate) fn model(&self) -> (&str, &str) {
        (&self.provider, &self.model)
    }

    /// Its spans; none of an agent that never began.
    pub(crate) fn spans(mut self, invoked: &Invoked<'_>, now: Timestamp) -> Vec<Span> {
        let Some(begin) = self.began else { return Vec::new() };
        let (end, error) = self.ended.unwrap_or((now, "killed"));
        if let Some(verdict) = invoked.verdict {
            self.events.push(evaluation(invoked, verdict, &self.result, end));
        }
        self.events.sort_by_key(|event| event.at);
        let parts = std::mem::take(&mut self.parts);
        let own = invoked.span("invoke_agent");
        let agent = Span {
            trace: invoked.place.trace,
            id: own,
            parent: Some(invoked.place.span(invoked.step.as_str())),
            name: format!("invoke_agent {}", invoked.name).into(),
            kind: Kind::Internal,
            begin: begin.min(end),
            end,
            error: (!error.is_empty()).then(|| error.into()),
            attributes: self.facts(invoked),
            events: self.events,
        };
        let mut callers = mcp::Callers::of(&parts);
        let parts = parts.into_iter().enumerate().filter_map(|(index, part)| {
            let part_span = |index| invoked.span(&format!("part {index}"));
            let id = part_span(index);
            let mut parent = own;
            let (name, kind, begin, took, error, mut attributes) = match part {
                Told::Chat(chat) => {
                    let name = format!("chat {}", chat.model);
                    (name, Kind::Client, chat.begin, chat.took, chat.error, chat.facts())
                }
                Told::Tool(tool) => {
                    let name = format!("execute_tool {}", tool.name);
                    (name, Kind::Internal, tool.begin, tool.took, tool.error, tool.facts())
                }
                Told::Mcp(call) => {
                    parent = callers.take(&call).map_or(own, part_span);
                    let name = format!("{} {}", mcp::METHOD, call.tool);
                    (name, Kind::Client, call.begin, call.took, call.error, call.facts())
                }
                Told::Connection(made) => {
                    let name = connection::METHOD.to_owned();
                    (name, Kind::Client, made.begin, made.took, made.error(), made.facts())
                }
                Told::End { .. } | Told::Budget(_) => return None,
            };
            attributes.push(("gen_ai.conversation.id", invoked.conversation.as_str().into()));
            Some(Span {
                trace: invoked.place.trace,
                id,
                parent: Some(parent),
                name: name.into(),
                kind,
                begin,
                end: begin.after(took),
                error: (!error.is_empty()).then(|| error.into()),
                attributes,
                events: Vec::new(),
            })
        });
        [agent].into_iter().chain(parts).collect()
    }

    fn facts(&self, invoked: &Invoked<'_>) -> Vec<(&'static str, Fact)> {
        let mut facts = vec![
            ("gen_ai.operation.name", "invoke_agent".into()),
            ("gen_ai.provider.name", self.provider.as_str().into()),
            ("gen_ai.agent.name", invoked.name.into()),
            ("gen_ai.conversation.id", invoked.conversation.as_str().into()),
            ("gen_ai.request.model", self.model.as_str().into()),
            ("jetbridge.agent.harness", self.harness.as_str().into()),
            ("jetbridge.agent.turns", self.turns.into()),
            ("jetbridge.agent.cost_micros", self.cost_micros.into()),
        ];
        facts.extend(usage_facts(self.usage));
        if self.left_out > 0 {
            facts.push(("jetbridge.agent.spans_left_out", self.left_out.into()));
        }
        facts
    }
}

/// What an agent's spans follow from beside its story.
pub(crate) struct Invoked<'a> {
    pub(crate) place: &'a Place,
    pub(crate) step: &'a PlanId,
    /// The step's name.
    pub(crate) name: &'a str,
    /// What tells this agent's work from all others of the installation.
    pub(crate) conversation: String,
    pub(crate) verdict: Option<&'a Verdict>,
}

impl Invoked<'_> {
    fn span(&self, part: &str) -> super::SpanId {
        self.place.span(&format!("{} {part}", self.step))
    }
}

impl Chat {
    fn facts(&self) -> Vec<(&'static str, Fact)> {
        let AnswerFacts { provider, response_id, response_model, finish_reason } = &self.answer;
        let mut facts = vec![
            ("gen_ai.operation.name", "chat".into()),
            ("gen_ai.provider.name", provider.as_str().into()),
            ("gen_ai.request.model", self.model.as_str().into()),
            ("jetbridge.agent.cost_micros", self.cost_micros.into()),
        ];
        for (name, text) in
            [("gen_ai.response.id", response_id), ("gen_ai.response.model", response_model)]
        {
            if !text.is_empty() {
                facts.push((name, text.as_str().into()));
            }
        }
        if !finish_reason.is_empty() {
            let reasons = Fact::Texts(vec![finish_reason.clone()]);
            facts.push(("gen_ai.response.finish_reasons", reasons));
        }
        let first = Duration::from_millis(self.first_byte_ms).as_secs_f64();
        facts.push(("gen_ai.response.time_to_first_chunk", Fact::Seconds(first)));
        facts.extend(usage_facts(self.usage));
        facts
    }
}

impl Tool {
    fn facts(&self) -> Vec<(&'static str, Fact)> {
        vec![
            ("gen_ai.operation.name", "execute_tool".into()),
            ("gen_ai.tool.name", self.name.as_str().into()),
            ("gen_ai.tool.call.id", self.id.as_str().into()),
            ("gen_ai.tool.type", "function".into()),
        ]
    }
}

/// All of the input, what a cache held included.
pub(crate) fn input_tokens(usage: Usage) -> u64 {
    let Usage { input_tokens, cache_read_tokens, cache_write_tokens, .. } = usage;
    input_tokens.saturating_add(cache_read_tokens).saturating_add(cache_write_tokens)
}

fn usage_facts(usage: Usage) -> [(&'static str, Fact); 4] {
    [
        ("gen_ai.usage.input_tokens", input_tokens(usage).into()),
        ("gen_ai.usage.output_tokens", usage.output_tokens.into()),
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens.into()),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens.into()),
    ]
}

fn chat(entry: &Entry, at: Timestamp) -> Option<Chat> {
    let Entry::ModelCall { model, answer, status, usage, .. } = entry else { return None };
    let Entry::ModelCall { cost_micros, first_byte_ms, total_ms, error, .. } = entry else {
        return None;
    };
    let error = match (status, error) {
        (0, _) => "no_answer",
        (429, _) => "429",
        (529, _) => "529",
        (400..=499, _) => "4xx",
        (500.., _) => "5xx",
        (_, Some(_)) => "broken_answer",
        (_, None) => "",
    };
    let took = Duration::from_millis(*total_ms);
    Some(Chat {
        begin: at.before(took),
        took,
        first_byte_ms: *first_byte_ms,
        model: model.clone(),
        answer: answer.clone(),
        usage: *usage,
        cost_micros: *cost_micros,
        error,
    })
}

fn ending_error(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "",
        Ending::NoResult => "no_result",
        Ending::BudgetSpent => "budget_spent",
        Ending::Refused => "refused",
        Ending::ModelFailed => "model_failed",
        Ending::EgressNotEnforced => "egress_not_enforced",
        Ending::Failed => "failed",
    }
}

/// The verdict, as the event that the conventions have for it.
fn evaluation(
    invoked: &Invoked<'_>,
    verdict: &Verdict,
    result: &Value,
    at: Timestamp,
) -> SpanEvent {
    let label = match verdict.judge(Some(result)) {
        Judgement::Pass => "pass",
        Judgement::Fail => "fail",
        Judgement::Inconclusive => "inconclusive",
    };
    let attributes = vec![
        ("gen_ai.evaluation.name", invoked.name.into()),
        ("gen_ai.evaluation.score.label", label.into()),
    ];
    SpanEvent { attributes, ..SpanEvent::new("gen_ai.evaluation.result", at) }
}

/// What happened to a question: when it was asked, each answer, and what it came to. Nobody's name is in it.
pub(crate) fn approval_events(approval: &ApprovalRecord) -> Vec<SpanEvent> {
    let mut events = vec![SpanEvent {
        attributes: vec![("quorum", approval.quorum.into())],
        ..SpanEvent::new("approval asked", approval.asked_at)
    }];
    events.extend(approval.answers.iter().map(|answer| {
        SpanEvent::new(
            if answer.approves { "approved by one" } else { "rejected by one" },
            answer.at,
        )
    }));
    events.extend(approval.ended_at.map(|at| SpanEvent {
        attributes: vec![("status", approval.status.as_str().into())],
        ..SpanEvent::new("approval ended", at)
    }));
    events
}

/// The agents of a build that are at work.
#[derive(Debug, Default)]
pub(crate) struct Stories(Mutex<HashMap<PlanId, Story>>);

impl Stories {
    /// Goes on with what a server before this one saw of a step's agent.
    pub(crate) fn resume(&self, step: &PlanId, story: Story) {
        self.lock().insert(step.clone(), story);
    }

    /// Lets `tell` add to the story of a step's agent.
    pub(crate) fn with<T>(&self, step: &PlanId, tell: impl FnOnce(&mut Story) -> T) -> T {
        tell(self.lock().entry(step.clone()).or_default())
    }

    /// The story of a step's agent, which is over.
    pub(crate) fn end(&self, step: &PlanId) -> Option<Story> {
        self.lock().remove(step)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PlanId, Story>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
