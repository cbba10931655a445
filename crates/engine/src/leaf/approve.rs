//! The `approve` step: a question to people. It is a row of the store, so that it outlives the server; while it waits
//! there is no container.

use std::time::Duration;

use jb_model::approval::{ApprovalStatus, ApprovePlan, Approvers};
use jb_model::{BuildEvent, Outcome, Timestamp};
use jb_store::{ApprovalAnswer, ApprovalArtifact, ApprovalRecord, NewApproval, build_changed};

use super::{Done, Leaf, Trouble, generic_start};
use crate::build::{BuildContext, question};

/// Another server's nudge may be lost with its connection: look again after this time.
const BACKSTOP: Duration = Duration::from_secs(30);

pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &ApprovePlan,
    timeout: Option<Duration>,
) -> Result<Done, Trouble> {
    let store = &context.engine.store;
    // From before the question is read: an answer in between is told of.
    let mut changes = store.subscribe();
    let origin = &leaf.plan.id;
    let mut approval = ask(context, leaf, plan, timeout).await?;
    context.once(origin, "start", generic_start(origin, context.now())).await?;
    context.say(leaf, &question(&approval, &plan.timeout)).await?;
    loop {
        for answer in &approval.answers {
            context.say(leaf, &said(answer)).await?;
        }
        if let Some(outcome) = outcome(approval.status) {
            return end(context, leaf, &approval, outcome).await;
        }
        let now = context.now();
        let ended = if leaf.cancel.is_requested() {
            Some(ApprovalStatus::Withdrawn)
        } else {
            let late = approval.expires_at.is_some_and(|end| end <= now);
            late.then_some(ApprovalStatus::Expired)
        };
        if let Some(status) = ended {
            // Whatever was answered before stands.
            approval = store.end_approval(approval.id, status, now).await?;
            continue;
        }
        tokio::select! {
            () = build_changed(&mut changes, context.build.id) => {}
            () = leaf.cancel.requested() => {}
            () = tokio::time::sleep(wait(approval.expires_at, now)) => {}
        }
        let known = store.approval(approval.id).await?;
        approval = known.ok_or_else(|| Trouble::new("the approval is gone with its build"))?;
    }
}

/// How long to wait before looking again.
fn wait(expires_at: Option<Timestamp>, now: Timestamp) -> Duration {
    expires_at.map_or(BACKSTOP, |end| end.since(now).min(BACKSTOP))
}

async fn ask(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &ApprovePlan,
    timeout: Option<Duration>,
) -> Result<ApprovalRecord, Trouble> {
    let step = &plan.step;
    let message = context.interpolate_text(leaf, &step.message).await?;
    let approvers = approvers(context, leaf, &step.approvers).await?;
    let visible = context.artifacts(leaf).await?;
    let mut artifacts = Vec::with_capacity(step.artifacts.len());
    for name in &step.artifacts {
        let name = context.interpolate_text(leaf, name).await?;
        let volume = visible.get(&name).ok_or_else(|| {
            let known: Vec<&str> = visible.keys().map(String::as_str).collect();
            Trouble::new(format!(
                "approve `{}`: unknown artifact `{name}` to look at; there are: {}",
                step.name,
                known.join(", ")
            ))
        })?;
        artifacts.push(ApprovalArtifact { id: context.publish(&name, volume).await?, name });
    }
    let now = context.now();
    let new = NewApproval {
        build: context.build.id,
        plan: &leaf.plan.id,
        call: "",
        name: &step.name,
        message: &context.mask(message),
        artifacts: &artifacts,
        approvers: &approvers,
        quorum: step.quorum,
        asked_by: context.build.created_by.as_deref(),
        expires_at: timeout.map(|timeout| now.after(timeout)),
    };
    Ok(context.engine.store.ask_approval(new, now).await?)
}

/// Who may answer, with the vars in their names resolved.
pub(super) async fn approvers(
    context: &BuildContext,
    leaf: &Leaf,
    written: &Approvers,
) -> Result<Approvers, Trouble> {
    let mut approvers = written.clone();
    let Approvers { roles, users, groups } = &mut approvers;
    for name in roles.iter_mut().chain(users).chain(groups) {
        *name = context.interpolate_text(leaf, name).await?;
    }
    Ok(approvers.or_default())
}

fn said(answer: &ApprovalAnswer) -> String {
    let word = if answer.approves { "approved" } else { "rejected" };
    let comment = if answer.comment.is_empty() { "" } else { ": " };
    format!("{word} by {}{comment}{}\n", answer.name, answer.comment)
}

fn outcome(status: ApprovalStatus) -> Option<Outcome> {
    match status {
        ApprovalStatus::Waiting => None,
        ApprovalStatus::Approved => Some(Outcome::Succeeded),
        ApprovalStatus::Rejected => Some(Outcome::Failed),
        ApprovalStatus::Expired | ApprovalStatus::Withdrawn => Some(Outcome::Aborted),
    }
}

async fn end(
    context: &BuildContext,
    leaf: &Leaf,
    approval: &ApprovalRecord,
    outcome: Outcome,
) -> Result<Done, Trouble> {
    if approval.status == ApprovalStatus::Expired {
        let (given, quorum) = (approval.answers.len(), approval.quorum);
        let text = format!("approval `{}` expired: {given} of {quorum} approved\n", approval.name);
        context.say(leaf, &text).await?;
    }
    let succeeded = outcome == Outcome::Succeeded;
    let event = BuildEvent::Finish { origin: leaf.plan.id.clone(), time: context.now(), succeeded };
    Ok(Done::new(outcome, vec![event]))
}
