//! What ends or holds up an agent from outside: people who decide about its calls, and the time that it has.
//!
//! A question is a row that is found or made when the agent says that a call waits. Here the rows are watched, and what was
//! decided is passed on to the harness. After a restart everything is passed on again: the harness knows what it has.

use std::collections::BTreeSet;
use std::time::Duration;

use jb_agent_protocol::approval::{Decision, TEXT_BYTES_MAX};
use jb_model::agent::AgentConfig;
use jb_model::approval::ApprovalStatus;
use jb_model::{ApprovalId, Timestamp};
use jb_store::{ApprovalRecord, build_changed};

use super::suspension::Containers;
use crate::build::{Asking, BuildContext};
use crate::leaf::{Leaf, Trouble, approve};
use crate::process::{Error, Process};

/// Another server's nudge may be lost with its connection: look again after this time.
const BACKSTOP: Duration = Duration::from_secs(30);

/// What holds for one run of a step.
pub(super) struct Limits {
    pub(super) asking: Option<Asking>,
    /// How long the agent may work; while a call waits for people it does not.
    time: Option<Duration>,
}

/// Why an agent is ended before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Nobody decided in time about a call.
    Expired(ApprovalId),
    OutOfTime,
}

/// What became of a question while nothing of its agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It is decided, with all that is decided so far.
    Decided(Vec<Decision>),
    Over(Over),
    Cancelled,
}

/// Where the questions of a step stand.
#[derive(Debug, Default, PartialEq, Eq)]
struct Standing {
    over: Option<Over>,
    /// What to tell the harness.
    decided: Vec<(ApprovalId, Decision)>,
    /// When to look again though nothing changed.
    next: Option<Timestamp>,
}

impl Limits {
    pub(super) async fn resolve(
        context: &BuildContext,
        leaf: &Leaf,
        agent: &AgentConfig,
    ) -> Result<Self, Trouble> {
        let duration = async |what: &str, written: &str| match written {
            "" => Ok(None),
            written => context.duration(leaf, what, written).await,
        };
        let asking = match &agent.approval {
            Some(approval) => Some(Asking {
                approvers: approve::approvers(context, leaf, &approval.approvers).await?,
                quorum: approval.quorum,
                timeout: (
                    context.interpolate_text(leaf, &approval.timeout).await?,
                    duration("approval.timeout", &approval.timeout).await?,
                ),
            }),
            None => None,
        };
        Ok(Self { asking, time: duration("budget.time", &agent.budget.time).await? })
    }

    /// Passes on what people decide, until the agent is to be ended. Its harness has begun.
    pub(super) async fn watch(
        &self,
        context: &BuildContext,
        leaf: &Leaf,
        began: Timestamp,
        harness: &Process<'_>,
    ) -> Result<(), Trouble> {
        // From before the questions are read: an answer in between is told of.
        let mut changes = context.engine.store.subscribe();
        let mut told = BTreeSet::new();
        loop {
            let standing = self.look(context, leaf, began).await?;
            for (id, decision) in standing.decided {
                if told.insert(id) {
                    let mut line = serde_json::to_vec(&decision)?;
                    line.push(b'\n');
                    match harness.tell(&line).await {
                        Err(Error::Store(error)) => return Err(error.into()),
                        // What became of it is told by its output.
                        Err(error) => {
                            tracing::warn!(%error, "telling an agent what people decided")
                        }
                        Ok(()) => {}
                    }
                }
            }
            if standing.over.is_some() {
                return Ok(());
            }
            let now = context.now();
            let wait = standing.next.map_or(BACKSTOP, |at| at.since(now).min(BACKSTOP));
            tokio::select! {
                () = build_changed(&mut changes, context.build.id), if self.asking.is_some() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Waits until people have decided about the call with this id. Meanwhile what is left of the agent's containers goes.
    pub(super) async fn held(
        &self,
        context: &BuildContext,
        leaf: &Leaf,
        began: Timestamp,
        needs: &str,
        containers: &mut Containers<'_>,
    ) -> Result<Held, Trouble> {
        // From before the questions are read: an answer in between is told of.
        let mut changes = context.engine.store.subscribe();
        loop {
            containers.remove().await?;
            let standing = self.look(context, leaf, began).await?;
            if leaf.cancel.is_requested() {
                return Ok(Held::Cancelled);
            }
            if let Some(over) = standing.over {
                return Ok(Held::Over(over));
            }
            let decided: Vec<Decision> = standing.decided.into_iter().map(|(_, it)| it).collect();
            if decided.iter().any(|decision| decision.id == needs) {
                return Ok(Held::Decided(decided));
            }
            let wait = standing.next.map_or(BACKSTOP, |at| at.since(context.now()).min(BACKSTOP));
            tokio::select! {
                () = build_changed(&mut changes, context.build.id) => {}
                () = leaf.cancel.requested() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Why the agent is ended, if it is.
    pub(super) async fn over(
        &self,
        context: &BuildContext,
        leaf: &Leaf,
        began: Timestamp,
    ) -> Result<Option<Over>, Trouble> {
        Ok(self.look(context, leaf, began).await?.over)
    }

    /// Withdraws what the agent still asks when it is over.
    pub(super) async fn withdraw(
        &self,
        context: &BuildContext,
        leaf: &Leaf,
    ) -> Result<(), Trouble> {
        for asked in self.questions(context, leaf).await? {
            if asked.status == ApprovalStatus::Waiting {
                let (store, status) = (&context.engine.store, ApprovalStatus::Withdrawn);
                store.end_approval(asked.id, status, context.now()).await?;
            }
        }
        Ok(())
    }

    async fn questions(
        &self,
        context: &BuildContext,
        leaf: &Leaf,
    ) -> Result<Vec<ApprovalRecord>, Trouble> {
        if self.asking.is_none() {
            return Ok(Vec::new());
        }
        let asked = context.engine.store.approvals_of_build(context.build.id).await?;
        let own = |it: &ApprovalRecord| it.plan == leaf.plan.id && !it.call.is_empty();
        Ok(asked.into_iter().filter(own).collect())
    }

    async fn look(
        &self,
        context: &BuildContext,
        leaf: &Leaf,
        began: Timestamp,
    ) -> Result<Standing, Trouble> {
        let now = context.now();
        let mut asked = self.questions(context, leaf).await?;
        for question in &mut asked {
            let late = question.expires_at.is_some_and(|end| end <= now);
            if question.status == ApprovalStatus::Waiting && late {
                // Whatever was answered before stands.
                let (store, status) = (&context.engine.store, ApprovalStatus::Expired);
                *question = store.end_approval(question.id, status, now).await?;
            }
        }
        let mut standing = stand(&asked, self.time.map(|time| (began, time)), now);
        for (_, decision) in &mut standing.decided {
            for text in [&mut decision.by, &mut decision.comment] {
                *text = bounded(context.mask_all(std::mem::take(text)));
            }
        }
        Ok(standing)
    }
}

/// Where these questions stand now, and an agent that began then and may work so long. Pure.
fn stand(
    asked: &[ApprovalRecord],
    time: Option<(Timestamp, Duration)>,
    now: Timestamp,
) -> Standing {
    let mut standing = Standing::default();
    for question in asked {
        match question.status {
            ApprovalStatus::Waiting => {
                standing.next = [standing.next, question.expires_at].into_iter().flatten().min();
            }
            ApprovalStatus::Approved | ApprovalStatus::Rejected => {
                standing.decided.push((question.id, decision(question)));
            }
            ApprovalStatus::Expired => standing.over = Some(Over::Expired(question.id)),
            ApprovalStatus::Withdrawn => {}
        }
    }
    let waits = asked.iter().any(|question| question.status == ApprovalStatus::Waiting);
    if let Some((began, time)) = time.filter(|_| !waits) {
        let end = began.after(time).after(waited(asked));
        if standing.over.is_none() && end <= now {
            standing.over = Some(Over::OutOfTime);
        }
        standing.next = Some(end);
    }
    standing
}

/// How long at least one of these waited. None of them waits any more.
fn waited(asked: &[ApprovalRecord]) -> Duration {
    let mut spans: Vec<(Timestamp, Timestamp)> =
        asked.iter().map(|it| (it.asked_at, it.ended_at.unwrap_or(it.asked_at))).collect();
    spans.sort_unstable();
    let mut waited = Duration::ZERO;
    let mut counted = Timestamp(i64::MIN);
    for (begin, end) in spans {
        let begin = begin.max(counted);
        waited += end.since(begin);
        counted = counted.max(end);
    }
    waited
}

fn decision(question: &ApprovalRecord) -> Decision {
    let approved = question.status == ApprovalStatus::Approved;
    let counted = question.answers.iter().filter(|answer| answer.approves == approved);
    let (mut by, mut comments) = (Vec::new(), Vec::new());
    for answer in counted {
        by.push(answer.name.as_str());
        comments.extend(Some(answer.comment.as_str()).filter(|text| !text.is_empty()));
    }
    let (by, comment) = (by.join(", "), comments.join("; "));
    Decision { id: question.call.clone(), approved, by, comment }
}

/// As much of a text as a decision has room for.
fn bounded(text: String) -> String {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests;
