//! Calls that wait for people: who asks about which, and where the answers come in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jb_agent_protocol::Entry;
use jb_agent_protocol::approval::{APPROVALS_MAX, Asked, Decision, INPUT_BYTES_MAX};
use jb_agent_protocol::transcript::ToolOutcome;
use jb_model::agent::ShellGrant;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Call;
use crate::output::{Output, cut};
use crate::tools::{Called, arguments};

/// What people decided, by the ids of what they were asked. Clones are the same place.
#[derive(Clone)]
pub struct Decisions(watch::Sender<BTreeMap<String, Decision>>);

impl Default for Decisions {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Decisions {
    /// Takes a decision. What was decided stays so, however often it is said.
    pub fn take(&self, decision: Decision) {
        self.0.send_if_modified(|known| {
            let room = known.len() < APPROVALS_MAX as usize;
            let new = room && !known.contains_key(&decision.id);
            if new {
                known.insert(decision.id.clone(), decision);
            }
            new
        });
    }

    async fn of(&self, id: &str) -> Decision {
        let mut known = self.0.subscribe();
        let decided = known.wait_for(|known| known.contains_key(id)).await;
        match decided.ok().and_then(|known| known.get(id).cloned()) {
            Some(decision) => decision,
            // There is always one who may decide: this.
            None => std::future::pending().await,
        }
    }
}

/// Which calls people are asked about, and what they said.
pub(super) struct Approvals {
    tools: Vec<String>,
    shell: Vec<ShellGrant>,
    decisions: Decisions,
    asked: AtomicU32,
}

/// What a call waits for.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Wait {
    Nobody,
    /// The decision about this.
    People(String),
    /// Nothing any more: it cannot be asked about.
    Refused(Called),
}

/// What is known of a call that waits no more.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// What people said, if they were asked.
    pub(super) decision: Option<Decision>,
    /// Why the call is not made, if it is not.
    pub(super) refused: Option<Called>,
}

impl Approvals {
    pub(super) fn new(asked: &Asked, decisions: Decisions) -> Result<Self, String> {
        let shell = asked.shell.iter().map(|pattern| {
            ShellGrant::parse(pattern)
                .map_err(|error| format!("what is asked for, `{pattern}`: {error}"))
        });
        let shell = shell.collect::<Result<_, _>>()?;
        Ok(Self { tools: asked.tools.clone(), shell, decisions, asked: AtomicU32::new(0) })
    }

    /// Whether a call is one of those that wait.
    pub(super) fn names(&self, call: &Call) -> bool {
        let matches = |argv: &[String]| self.shell.iter().any(|pattern| pattern.allows(argv));
        self.tools.contains(&call.name)
            || (call.name == "shell" && arguments(&call.input).is_ok_and(|argv| matches(&argv)))
    }

    /// Asks people about a call.
    pub(super) fn ask(&self, call: &Call, output: &Output) -> Wait {
        let refused = |text: String| Wait::Refused(Called::new(ToolOutcome::Denied, text));
        let bytes = call.input.to_string().len();
        if bytes > INPUT_BYTES_MAX {
            return refused(format!(
                "people are asked before this is done, and what they are asked has at most {INPUT_BYTES_MAX} bytes; \
                 this call has {bytes}"
            ));
        }
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if number > APPROVALS_MAX {
            return refused(format!(
                "people were asked {APPROVALS_MAX} times in this step, and are not asked again"
            ));
        }
        let id = format!("a{number}");
        output.say(Entry::ApprovalAsked {
            id: id.clone(),
            call: cut(&call.id, 200),
            name: call.name.clone(),
            input: call.input.clone(),
        });
        Wait::People(id)
    }

    /// How many calls were asked about.
    pub(super) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Goes on counting where an earlier run was.
    pub(super) fn go_on(&self, asked: u32) {
        self.asked.store(asked, Ordering::Relaxed);
    }

    /// What becomes of a call that waits, if that is known within a time.
    ///
    /// # Errors
    /// The id of what is to be decided still.
    pub(super) async fn decision_within(
        &self,
        wait: &Wait,
        time: Option<Duration>,
    ) -> Result<Decided, String> {
        let (Wait::People(id), Some(time)) = (wait, time) else {
            return Ok(self.decision(wait).await);
        };
        tokio::time::timeout(time, self.decision(wait)).await.map_err(|_| id.clone())
    }

    /// What becomes of a call that waits, however long people take.
    pub(super) async fn decision(&self, wait: &Wait) -> Decided {
        let id = match wait {
            Wait::Nobody => return Decided::default(),
            Wait::Refused(called) => {
                return Decided { decision: None, refused: Some(called.clone()) };
            }
            Wait::People(id) => id,
        };
        let decision = self.decisions.of(id).await;
        let refused = (!decision.approved).then(|| {
            let colon = if decision.comment.is_empty() { "" } else { ": " };
            let text = format!("denied by a person{colon}{}", decision.comment);
            Called::new(ToolOutcome::Denied, text)
        });
        Decided { decision: Some(decision), refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_decision_stands() {
        let decisions = Decisions::default();
        let decide = |id: &str, approved, comment: &str| {
            let (id, by, comment) = (id.to_owned(), "ann".to_owned(), comment.to_owned());
            decisions.take(Decision { id, approved, by, comment });
        };
        decide("a2", true, "");
        decide("a1", false, "no");
        decide("a1", true, "yes");
        let approvals = Approvals::new(&Asked::default(), decisions.clone());
        let Ok(approvals) = approvals else { unreachable!("nothing is asked for") };
        let of = async |id: &str| approvals.decision(&Wait::People(id.to_owned())).await;
        let Decided { decision, refused } = of("a1").await;
        assert_eq!(decision.map(|it| (it.approved, it.comment)), Some((false, "no".to_owned())));
        assert_eq!(refused.map(|it| it.text), Some("denied by a person: no".to_owned()));
        assert_eq!(of("a2").await.refused, None);
    }
}
