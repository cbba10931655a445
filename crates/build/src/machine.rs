//! The build machine: a plan, flattened to nodes, and the events that happened to it.
//!
//! The driver persists the plan and the machine's events in order. After a restart it makes a new machine from the
//! plan, applies the stored events (discarding the effects) and performs what [`BuildMachine::outstanding`] gives.
//! [`BuildMachine::apply`] is therefore a function of the plan and the events alone.
//!
//! # A leaf's life
//!
//! | state | event | next |
//! |---|---|---|
//! | waiting | its turn comes | `Run{Prepare}` for get, put, check and task, `Run{Run}` for the others |
//! | preparing | `Prepared` without images | `Run{Run}` |
//! | preparing | `Prepared{images}` | the image plans become nodes of their own: of each image check, then get, each a leaf with its own life; then `Run{Run}` |
//! | preparing, running | `Finished` of that phase | done |
//! | running | `Started` | its time limit counts from now |
//! | running | time limit, abort, `fail_fast`, or the limit of a `timeout` around it | `Cancel`; still the driver must answer `Finished` |
//!
//! Every `Run` is answered by `Prepared` (only in phase `Prepare`) or by one `Finished`, also after a `Cancel`. A
//! leaf that was cancelled and still succeeded did succeed; any other outcome counts as what cut it short.
//!
//! # Who says what
//!
//! The machine emits: `error` events (a leaf's message, `interrupted`, `timeout exceeded`), for `across` steps
//! `initialize`, `start`, `across-substeps` and `finish`, for tasks `image-check` and `image-get`, and the final
//! `status`. Everything else (initialize, start and finish of leaves, logs, the `started` status) is the driver's.
//!
//! # Time limits
//!
//! The `timeout` of a leaf is read as a Go duration and counts from `Started`. The driver can give another limit in
//! `Started`: the server's default, or what a var in `timeout` came to. A `timeout` step around others counts from
//! the start of the step in it; there a text that is no duration is an error of the build.

mod across;
mod context;
mod leaf;
mod nodes;
mod query;
mod verdict;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jb_model::plan::TypeImage;
use jb_model::{BuildEvent, BuildStatus, Outcome, Plan, PlanId, Timestamp, Value};

use crate::error::PlanError;
use context::{ContextId, Contexts};
use nodes::Node;

/// Index of a node: a step of the plan, of an `across` substep or of an image plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// Which part of a leaf an effect or event is about.
///
/// Image plans are nodes of their own with plan ids of their own, so a leaf itself has only two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Read the task file, say `initialize`, find out what image is needed. Answered by `Prepared` or `Finished`.
    Prepare,
    /// Run the step. Answered by `Finished`.
    Run,
}

/// How to fetch an image of a leaf.
///
/// This is part of a stored event: sources must still hold their `((vars))`, not the values of secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageNeed {
    /// Finds the version; none when it is pinned.
    pub check: Option<Plan>,
    pub get: Plan,
}

impl ImageNeed {
    /// What a leaf's type asks for; nothing for base types.
    pub fn of_type(image: &TypeImage) -> Option<Self> {
        let get = image.get.as_deref()?.clone();
        Some(Self { check: image.check.as_deref().cloned(), get })
    }
}

/// How a leaf's phase ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafResult {
    pub outcome: Outcome,
    /// Text for the error event. Nothing is shown for a success.
    pub message: Option<String>,
}

impl LeafResult {
    pub fn succeeded() -> Self {
        Self { outcome: Outcome::Succeeded, message: None }
    }

    pub fn failed() -> Self {
        Self { outcome: Outcome::Failed, message: None }
    }

    pub fn errored(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Errored, message: Some(message.into()) }
    }

    pub fn aborted() -> Self {
        Self { outcome: Outcome::Aborted, message: None }
    }
}

/// What can happen to a build.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Start,
    /// Someone aborts the build. Only the first one matters.
    Abort,
    /// A leaf is ready to fetch its images, one after another, or to run if it needs none.
    Prepared {
        node: PlanId,
        images: Vec<ImageNeed>,
    },
    /// A leaf's process began. Only the first one counts: attaching again does not extend a time limit.
    Started {
        node: PlanId,
        /// Takes the place of the limit that the plan writes: the server's default, or a resolved var.
        timeout: Option<Duration>,
    },
    Finished {
        node: PlanId,
        phase: Phase,
        result: LeafResult,
    },
    /// The values of an `across` step, one list per var, or why they cannot be had.
    AcrossValues {
        node: PlanId,
        values: Result<Vec<Vec<Value>>, String>,
    },
    /// A deadline may have passed.
    Tick,
}

/// Why a leaf is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CancelReason {
    Abort,
    Timeout,
    FailFast,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Perform this phase of a leaf. (build, node, phase) is the idempotence key.
    Run {
        node: PlanId,
        phase: Phase,
    },
    /// Interpolate the values of an `across` step and answer `AcrossValues`. Needs no `Cancel`: when the build is
    /// aborted meanwhile, the answer is ignored.
    ResolveAcross {
        node: PlanId,
    },
    /// Stop a leaf. The driver still answers with `Finished` of the phase that is running.
    Cancel {
        node: PlanId,
        reason: CancelReason,
    },
    Emit(BuildEvent),
    /// The build is over. Comes after everything else.
    Finish(BuildStatus),
}

/// Whether an event changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Changed,
    /// Nothing happened and the event need not be stored.
    Ignored(IgnoredReason),
}

/// Why an event changed nothing. All of these can happen in good order: late answers, repeats, races with an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoredReason {
    NotStarted,
    AlreadyStarted,
    AlreadyAborting,
    /// The build is over.
    Over,
    UnknownNode,
    /// The node exists but does not wait for this.
    NotExpected,
    /// No deadline has passed.
    NothingDue,
}

/// Where the build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Pending,
    Running { aborting: bool },
    Over(BuildStatus),
}

/// What the walk still has to do within one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    Begin(NodeId, ContextId),
    Settled(NodeId),
}

/// One build of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildMachine {
    life: Life,
    /// The build's plan, then image plans and substeps as they come.
    trees: Vec<Plan>,
    nodes: Vec<Node>,
    ids: BTreeMap<PlanId, NodeId>,
    /// The values of each `across` substep, by its topmost node.
    combinations: BTreeMap<NodeId, Vec<(String, Value)>>,
    contexts: Contexts,
    /// Nodes that have begun and not settled.
    running: BTreeSet<NodeId>,
    /// What the step at hand causes, in order. Empty between events.
    todo: Vec<Todo>,
}

impl BuildMachine {
    /// A machine for a build of this plan, which waits for `Start`.
    ///
    /// # Errors
    /// When the plan is too large or deep, uses an id twice, or has an `across` step without vars.
    pub fn new(plan: Plan) -> Result<Self, PlanError> {
        let mut machine = Self {
            life: Life::Pending,
            trees: Vec::new(),
            nodes: Vec::new(),
            ids: BTreeMap::new(),
            combinations: BTreeMap::new(),
            contexts: Contexts::default(),
            running: BTreeSet::new(),
            todo: Vec::new(),
        };
        let attempts = plan.attempts.clone();
        machine.add_tree(plan, None, &attempts)?;
        machine.contexts.root();
        Ok(machine)
    }

    /// Lets an event happen. Effects are added to `out` in the order in which to perform them.
    pub fn apply(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) -> Applied {
        let applied = match (self.life, event) {
            (Life::Over(_), _) => Err(IgnoredReason::Over),
            (Life::Pending, Event::Start) => {
                self.life = Life::Running { aborting: false };
                self.todo.push(Todo::Begin(NodeId(0), Contexts::BUILD));
                Ok(())
            }
            (Life::Pending, Event::Abort) => {
                self.finish(now, BuildStatus::Aborted, out);
                Ok(())
            }
            (Life::Pending, _) => Err(IgnoredReason::NotStarted),
            (Life::Running { .. }, Event::Start) => Err(IgnoredReason::AlreadyStarted),
            (Life::Running { aborting: true }, Event::Abort) => Err(IgnoredReason::AlreadyAborting),
            (Life::Running { aborting: false }, Event::Abort) => {
                self.life = Life::Running { aborting: true };
                self.end_context(now, Contexts::BUILD, CancelReason::Abort, out);
                Ok(())
            }
            (Life::Running { .. }, Event::Prepared { node, images }) => {
                self.prepared(now, &node, images, out)
            }
            (Life::Running { .. }, Event::Started { node, timeout }) => {
                self.started(now, &node, timeout)
            }
            (Life::Running { .. }, Event::Finished { node, phase, result }) => {
                self.finished(now, &node, phase, result, out)
            }
            (Life::Running { .. }, Event::AcrossValues { node, values }) => {
                self.across_values(now, &node, values, out)
            }
            (Life::Running { .. }, Event::Tick) => self.expire(now, out),
        };
        self.walk(now, out);
        match applied {
            Ok(()) => Applied::Changed,
            Err(reason) => Applied::Ignored(reason),
        }
    }

    /// The build's final status, once it is over.
    pub fn status(&self) -> Option<BuildStatus> {
        match self.life {
            Life::Over(status) => Some(status),
            Life::Pending | Life::Running { .. } => None,
        }
    }

    fn finish(&mut self, now: Timestamp, status: BuildStatus, out: &mut Vec<Effect>) {
        self.life = Life::Over(status);
        out.push(Effect::Emit(BuildEvent::Status { status, time: now }));
        out.push(Effect::Finish(status));
    }
}

#[cfg(test)]
mod tests;
