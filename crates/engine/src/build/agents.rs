//! A build's agents as traces and metrics see them.

use jb_agent_protocol::{Entry, Line, Source, Spent};
use jb_metrics::Chat;
use jb_model::{Plan, PlanId, PlanStep, Timestamp, Value};

use super::{BuildContext, counts};
use crate::leaf::{Leaf, Trouble};
use crate::trace::{Invoked, Span, SpanEvent, Story, Told, approval_events, input_tokens};

/// Questions of one step whose events its span has.
const APPROVALS_TRACED_MAX: usize = 32;
/// Bytes of a transcript that are read at once.
const READ_BYTES: usize = 1 << 20;

impl BuildContext {
    /// Takes up the story of a step's agent where a server before this one left it.
    pub(crate) async fn resume_story(&self, leaf: &Leaf) -> Result<(), Trouble> {
        let origin = &leaf.plan.id;
        let mut said = 0;
        for process in ["agent", "gateway"] {
            said += self.log_position(&format!("{origin}/{process}")).await?;
        }
        if said == 0 {
            return Ok(());
        }
        let mut story = Story::default();
        self.each_line(origin, |source, line| {
            // It was counted when it was stored.
            let _ = story.take(source, line);
        })
        .await?;
        self.stories.resume(origin, story);
        Ok(())
    }

    /// What the gateways of a step let through so far.
    pub(crate) async fn agent_spent(&self, step: &PlanId) -> Result<Spent, Trouble> {
        let mut spent = Spent::default();
        self.each_line(step, |source, line| {
            let (Source::Gateway, Entry::ModelCall { number, status, usage, cost_micros, .. }) =
                (source, &line.entry)
            else {
                return;
            };
            spent.requests = spent.requests.max(*number);
            spent.turns += u32::from((200..300).contains(status));
            spent.usage.add(*usage);
            spent.cost_micros = spent.cost_micros.saturating_add(*cost_micros);
        })
        .await?;
        Ok(spent)
    }

    /// Goes through what is stored of what a step's agent and those beside it said.
    async fn each_line(
        &self,
        origin: &PlanId,
        mut take: impl FnMut(Source, &Line),
    ) -> Result<(), Trouble> {
        let mut from = 0;
        loop {
            let store = &self.engine.store;
            let entries = store.transcript(self.build.id, from, READ_BYTES).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            from = last.seq + 1;
            for entry in &entries {
                let Ok(entry) = serde_json::from_str::<Value>(&entry.json) else { continue };
                if entry["origin"] != origin.as_str() {
                    continue;
                }
                let source = serde_json::from_value::<Source>(entry["source"].clone());
                if let (Ok(source), Ok(line)) = (source, serde_json::from_value::<Line>(entry)) {
                    take(source, &line);
                }
            }
        }
    }

    /// Adds lines to the story of a step's agent, once they are stored, and counts what they end.
    pub(super) fn tell_story(&self, step: &PlanId, source: Source, lines: &[Line]) {
        let agents = &self.engine.settings.metrics.agents;
        self.stories.with(step, |story| {
            for line in lines {
                for told in story.take(source, line) {
                    match told {
                        Told::Chat(chat) => {
                            let of = Chat {
                                provider: &chat.answer.provider,
                                model: &chat.model,
                                input_tokens: input_tokens(chat.usage),
                                output_tokens: chat.usage.output_tokens,
                                cost_micros: chat.cost_micros,
                                took: chat.took,
                                error: chat.error,
                            };
                            agents.asked(&counts::described(&self.build), &of);
                        }
                        // The model makes up names of tools that it does not have.
                        Told::Tool(tool) if tool.error == "denied" => {
                            agents.called("", tool.took, tool.error);
                        }
                        Told::Tool(tool) => agents.called(&tool.name, tool.took, tool.error),
                        // It is a part of a tool's.
                        Told::Mcp(_) => {}
                        // Programs make as many as they like.
                        Told::Connection(_) => {}
                        Told::End { took, error } => {
                            let (provider, model) = story.model();
                            agents.ended(provider, model, took, error);
                        }
                        Told::Budget(limit_of) => agents.budget_spent(limit_of),
                    }
                }
            }
        });
    }

    /// The spans of a step's agent, which is over.
    pub(crate) fn agent_spans(&self, plan: &Plan, now: Timestamp) -> Vec<Span> {
        let PlanStep::Task(task) = &plan.step else { return Vec::new() };
        let Some(agent) = &task.agent else { return Vec::new() };
        let Some(story) = self.stories.end(&plan.id) else { return Vec::new() };
        let invoked = Invoked {
            place: &self.place,
            step: &plan.id,
            name: &task.name,
            conversation: format!("{}/{}", self.build.id, plan.id),
            verdict: agent.verdict.as_ref(),
        };
        story.spans(&invoked, now)
    }

    /// What happened to the questions of a step that asks some.
    pub(crate) async fn approval_events(&self, plan: &Plan) -> Vec<SpanEvent> {
        let asks = match &plan.step {
            PlanStep::Approve(_) => true,
            PlanStep::Task(task) => task.agent.as_ref().is_some_and(|it| it.approval.is_some()),
            _ => false,
        };
        if !asks {
            return Vec::new();
        }
        let asked = self.engine.store.approvals_of_build(self.build.id).await.unwrap_or_default();
        let asked = asked.iter().filter(|asked| asked.plan == plan.id);
        asked.take(APPROVALS_TRACED_MAX).flat_map(approval_events).collect()
    }
}
