//! Calls of an agent's tools that wait for people.

use std::time::Duration;

use jb_agent_protocol::{Entry, approval};
use jb_model::PlanId;
use jb_model::approval::Approvers;
use jb_store::{ApprovalRecord, NewApproval};

use super::BuildContext;
use crate::process::Speaker;

/// Whom a step asks about calls of its agent's tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    pub approvers: Approvers,
    pub quorum: u32,
    /// How long a question waits, as it is written and as it is meant.
    pub timeout: (String, Option<Duration>),
}

impl BuildContext {
    /// Finds or makes the question about a call that an agent says waits, and gives what the log says of it.
    pub(super) async fn ask_about_call(
        &self,
        step: &PlanId,
        speaker: Speaker<'_>,
        entry: &Entry,
    ) -> jb_store::Result<Option<String>> {
        let (Some(asking), Entry::ApprovalAsked { id, name, input, .. }) = (speaker.asking, entry)
        else {
            return Ok(None);
        };
        let now = self.now();
        let new = NewApproval {
            build: self.build.id,
            plan: step,
            call: id,
            name: speaker.agent,
            message: &approval::shown(name, input),
            artifacts: &[],
            approvers: &asking.approvers,
            quorum: asking.quorum,
            asked_by: self.build.created_by.as_deref(),
            expires_at: asking.timeout.1.map(|timeout| now.after(timeout)),
        };
        let asked = self.engine.store.ask_approval(new, now).await?;
        Ok(Some(question(&asked, &asking.timeout.0)))
    }
}

/// What a build's log shows of a question that waits for so long, as it is written.
pub(crate) fn question(approval: &ApprovalRecord, timeout: &str) -> String {
    let (name, approvers, id) = (&approval.name, &approval.approvers, approval.id);
    let about = if approval.call.is_empty() { "" } else { "of a call of " };
    let mut text = format!("waiting for approval {about}`{name}` by {approvers}");
    if approval.quorum > 1 {
        text.push_str(&format!(", {} people", approval.quorum));
    }
    if !timeout.is_empty() {
        text.push_str(&format!(", for {timeout}"));
    }
    text.push('\n');
    for line in approval.message.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    if !approval.artifacts.is_empty() {
        let names: Vec<&str> = approval.artifacts.iter().map(|it| it.name.as_str()).collect();
        text.push_str(&format!("to look at: {}\n", names.join(", ")));
    }
    text.push_str(&format!("answer with `jetbridge approve {id}` or `jetbridge deny {id}`\n"));
    text
}
