//! The flat form of a plan.

use std::time::Duration;

use jb_model::{Plan, PlanId, PlanStep, Timestamp, duration};

use crate::error::PlanError;
use crate::machine::context::{ContextId, Contexts};
use crate::machine::verdict::Verdict;
use crate::machine::{BuildMachine, CancelReason, NodeId};
use crate::plan_tree::{MAX_STEPS, bound_depth, number_attempts};

/// Most vars of one `across` step.
const MAX_ACROSS_VARS: usize = 32;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// None for the inner levels of an `across` step with several vars.
    pub(crate) id: Option<PlanId>,
    pub(crate) parent: Option<NodeId>,
    /// Steps inside; for leaves their image plans, for `across` the outermost var's level.
    pub(crate) children: Vec<NodeId>,
    /// Which of the machine's plan trees this is a step of, and which child of the parent there.
    pub(crate) tree: usize,
    pub(crate) slot: usize,
    pub(crate) kind: Kind,
    pub(crate) context: ContextId,
    pub(crate) state: State,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Leaf(Leaf),
    Do,
    Retry,
    /// Also one level of an `across` step.
    Parallel {
        limit: usize,
        fail_fast: bool,
    },
    Across,
    Hooked(Hook),
    Try,
    /// The duration, or why there is none.
    Timeout(Result<Duration, String>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    /// It runs a process in a container. Such a step fails when its time is up, others have an error.
    pub(crate) process: bool,
    /// It may need an image, and a task file.
    pub(crate) prepares: bool,
    /// Its image plans are announced by events. Those of other leaves are part of the public plan.
    pub(crate) announces_image: bool,
    /// As the plan writes it.
    pub(crate) timeout: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Success,
    Failure,
    Error,
    Abort,
    Ensure,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    Waiting,
    Running(Progress),
    Done(Verdict),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Progress {
    /// Waits for its only running child: hooks, try, across with its substeps.
    Child,
    /// Do and retry: how many children have settled.
    Sequence {
        settled: usize,
    },
    Parallel {
        begun: usize,
        running: usize,
        context: ContextId,
    },
    Timeout {
        context: ContextId,
        deadline: Timestamp,
    },
    /// An across step that waits for its values.
    Resolving,
    Leaf(LeafProgress),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LeafProgress {
    pub(crate) at: LeafPhase,
    /// Why it was told to stop.
    pub(crate) cancelled: Option<CancelReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafPhase {
    Preparing,
    /// Its children, the image plans, run.
    FetchingImage,
    /// The effect was given out, its process may not have begun.
    Launching,
    Running {
        began: Timestamp,
        deadline: Option<Timestamp>,
    },
}

impl BuildMachine {
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// Adds a plan's steps as nodes and gives the topmost one. Adds nothing when the plan cannot be had.
    pub(crate) fn add_tree(
        &mut self,
        mut plan: Plan,
        parent: Option<NodeId>,
        attempts: &[u32],
    ) -> Result<NodeId, PlanError> {
        bound_depth(&plan, 1)?;
        number_attempts(&mut plan, attempts);
        let first = self.nodes.len();
        let added = self.add_steps(&plan, parent, self.trees.len(), 0);
        match added {
            Ok(top) => {
                self.trees.push(plan);
                Ok(top)
            }
            Err(error) => {
                self.nodes.truncate(first);
                self.ids.retain(|_, id| id.0 < first);
                Err(error)
            }
        }
    }

    fn add_steps(
        &mut self,
        plan: &Plan,
        parent: Option<NodeId>,
        tree: usize,
        slot: usize,
    ) -> Result<NodeId, PlanError> {
        if let PlanStep::Across(across) = &plan.step
            && (across.vars.is_empty() || across.vars.len() > MAX_ACROSS_VARS)
        {
            return Err(if across.vars.is_empty() {
                PlanError::AcrossWithoutVars(plan.id.clone())
            } else {
                PlanError::TooDeep { limit: MAX_ACROSS_VARS }
            });
        }
        let node = self.add_node(Some(plan.id.clone()), kind(&plan.step), parent, (tree, slot))?;
        for (slot, child) in plan.children().into_iter().enumerate() {
            let child = self.add_steps(child, Some(node), tree, slot)?;
            self.nodes[node.0].children.push(child);
        }
        Ok(node)
    }

    pub(crate) fn add_node(
        &mut self,
        id: Option<PlanId>,
        kind: Kind,
        parent: Option<NodeId>,
        (tree, slot): (usize, usize),
    ) -> Result<NodeId, PlanError> {
        if self.nodes.len() >= MAX_STEPS {
            return Err(PlanError::TooManySteps { limit: MAX_STEPS });
        }
        let node = NodeId(self.nodes.len());
        if let Some(id) = &id {
            if self.ids.contains_key(id) {
                return Err(PlanError::DuplicateId(id.clone()));
            }
            self.ids.insert(id.clone(), node);
        }
        self.nodes.push(Node {
            id,
            parent,
            children: Vec::new(),
            tree,
            slot,
            kind,
            context: Contexts::BUILD,
            state: State::Waiting,
        });
        Ok(node)
    }
}

fn kind(step: &PlanStep) -> Kind {
    let container = |timeout: &str, announces_image: bool| {
        let timeout = timeout.to_owned();
        Kind::Leaf(Leaf { process: true, prepares: true, announces_image, timeout })
    };
    let leaf = |process: bool, timeout: &str| {
        let timeout = timeout.to_owned();
        Kind::Leaf(Leaf { process, prepares: false, announces_image: false, timeout })
    };
    match step {
        PlanStep::Get(get) => container(&get.timeout, false),
        PlanStep::Put(put) => container(&put.timeout, false),
        PlanStep::Check(check) => container(&check.timeout, false),
        PlanStep::Task(task) => container(&task.timeout, true),
        PlanStep::Run(run) => leaf(true, &run.timeout),
        PlanStep::SetPipeline(_)
        | PlanStep::LoadVar(_)
        | PlanStep::Approve(_)
        | PlanStep::ArtifactInput { .. }
        | PlanStep::ArtifactOutput { .. } => leaf(false, ""),
        PlanStep::Do(_) => Kind::Do,
        PlanStep::Retry(_) => Kind::Retry,
        PlanStep::InParallel { limit, fail_fast, .. } => {
            let limit = usize::try_from(*limit).ok().filter(|limit| *limit > 0);
            Kind::Parallel { limit: limit.unwrap_or(usize::MAX), fail_fast: *fail_fast }
        }
        PlanStep::Across(_) => Kind::Across,
        PlanStep::OnSuccess { .. } => Kind::Hooked(Hook::Success),
        PlanStep::OnFailure { .. } => Kind::Hooked(Hook::Failure),
        PlanStep::OnError { .. } => Kind::Hooked(Hook::Error),
        PlanStep::OnAbort { .. } => Kind::Hooked(Hook::Abort),
        PlanStep::Ensure { .. } => Kind::Hooked(Hook::Ensure),
        PlanStep::Try(_) => Kind::Try,
        PlanStep::Timeout { duration: text, .. } => {
            Kind::Timeout(duration::parse(text).map_err(|error| format!("parse timeout: {error}")))
        }
    }
}
