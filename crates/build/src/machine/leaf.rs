//! The life of a leaf: prepare, fetch the image, run.

use std::time::Duration;

use jb_model::{BuildEvent, Outcome, PlanId, PlanStep, Timestamp, duration};

use crate::machine::nodes::{Kind, Leaf, LeafPhase, LeafProgress, Progress, State};
use crate::machine::verdict::{Fault, TIMEOUT_EXCEEDED, Verdict};
use crate::machine::{
    BuildMachine, CancelReason, Effect, IgnoredReason, ImageNeed, LeafResult, NodeId, Phase,
};

impl BuildMachine {
    pub(crate) fn begin_leaf(
        &mut self,
        now: Timestamp,
        id: NodeId,
        leaf: &Leaf,
        out: &mut Vec<Effect>,
    ) {
        if let Some(reason) = self.contexts.over(self.node(id).context) {
            self.cut_short(now, id, reason, out);
        } else if let Err(message) = own_limit(leaf) {
            self.break_leaf(now, id, message, out);
        } else if leaf.prepares {
            self.enter(id, LeafPhase::Preparing, out);
        } else {
            self.enter(id, LeafPhase::Launching, out);
        }
    }

    pub(crate) fn prepared(
        &mut self,
        now: Timestamp,
        node: &PlanId,
        images: Vec<ImageNeed>,
        out: &mut Vec<Effect>,
    ) -> Result<(), IgnoredReason> {
        let (id, leaf, progress) = self.running_leaf(node)?;
        if progress.at != LeafPhase::Preparing {
            return Err(IgnoredReason::NotExpected);
        }
        if let Some(reason) = progress.cancelled {
            self.cut_short(now, id, reason, out);
            return Ok(());
        }
        if images.is_empty() {
            self.enter(id, LeafPhase::Launching, out);
            return Ok(());
        }
        for image in images.iter().filter(|_| leaf.announces_image) {
            if let Some(plan) = image.check.clone() {
                let origin = node.clone();
                out.push(Effect::Emit(BuildEvent::ImageCheck { origin, time: now, plan }));
            }
            let (origin, plan) = (node.clone(), image.get.clone());
            out.push(Effect::Emit(BuildEvent::ImageGet { origin, time: now, plan }));
        }
        for plan in images.into_iter().flat_map(|image| image.check.into_iter().chain([image.get]))
        {
            match self.add_tree(plan, Some(id), &[]) {
                Ok(child) => self.node_mut(id).children.push(child),
                Err(error) => {
                    let message = format!("the plan of the image cannot be used: {error}");
                    self.break_leaf(now, id, message, out);
                    return Ok(());
                }
            }
        }
        self.enter(id, LeafPhase::FetchingImage, out);
        self.begin_nth(id, 0);
        Ok(())
    }

    /// One of the leaf's image plans has ended.
    pub(crate) fn image_settled(
        &mut self,
        now: Timestamp,
        id: NodeId,
        child: NodeId,
        verdict: &Verdict,
        out: &mut Vec<Effect>,
    ) {
        let next = 1 + self.node(id).children.iter().take_while(|other| **other != child).count();
        let last = next >= self.node(id).children.len();
        if let Some(reason) = self.contexts.over(self.node(id).context) {
            self.cut_short(now, id, reason, out);
        } else if verdict.faulted() {
            self.say_error(now, id, verdict.message(), out);
            self.settle(id, verdict.clone());
        } else if verdict.failed() {
            let what = match self.trees.get(self.node(child).tree).map(|plan| &plan.step) {
                Some(PlanStep::Check(_)) => "image check failed",
                _ => "image fetching failed",
            };
            self.break_leaf(now, id, what.to_owned(), out);
        } else if last {
            self.enter(id, LeafPhase::Launching, out);
        } else {
            self.begin_nth(id, next);
        }
    }

    pub(crate) fn started(
        &mut self,
        now: Timestamp,
        node: &PlanId,
        timeout: Option<Duration>,
    ) -> Result<(), IgnoredReason> {
        let (id, leaf, progress) = self.running_leaf(node)?;
        if progress.at != LeafPhase::Launching {
            return Err(IgnoredReason::NotExpected);
        }
        // A text that is no duration was refused when the leaf began, unless it holds a var.
        let limit = timeout.or_else(|| own_limit(&leaf).ok().flatten());
        let deadline = limit.map(|limit| now.after(limit));
        let at = LeafPhase::Running { began: now, deadline };
        self.progress(id, Progress::Leaf(LeafProgress { at, cancelled: progress.cancelled }));
        Ok(())
    }

    pub(crate) fn finished(
        &mut self,
        now: Timestamp,
        node: &PlanId,
        phase: Phase,
        result: LeafResult,
        out: &mut Vec<Effect>,
    ) -> Result<(), IgnoredReason> {
        let (id, leaf, progress) = self.running_leaf(node)?;
        if phase_of(progress.at) != Some(phase) {
            return Err(IgnoredReason::NotExpected);
        }
        match (progress.cancelled, result.outcome) {
            (_, Outcome::Succeeded) => self.settle(id, Verdict::plain(true)),
            (Some(CancelReason::Timeout), _) if leaf.process && phase == Phase::Run => {
                self.say_error(now, id, TIMEOUT_EXCEEDED.to_owned(), out);
                self.settle(id, Verdict::plain(false));
            }
            (Some(reason), _) => self.cut_short(now, id, reason, out),
            (None, Outcome::Aborted) => self.cut_short(now, id, CancelReason::Abort, out),
            (None, Outcome::Failed) => {
                if let Some(message) = result.message {
                    self.say_error(now, id, message, out);
                }
                self.settle(id, Verdict::plain(false));
            }
            (None, Outcome::Errored) => {
                let message = result.message.unwrap_or_else(|| "unknown error".to_owned());
                self.break_leaf(now, id, message, out);
            }
        }
        Ok(())
    }

    pub(crate) fn cancel_leaf(&mut self, id: NodeId, reason: CancelReason, out: &mut Vec<Effect>) {
        let node = self.node_mut(id);
        if let State::Running(Progress::Leaf(leaf)) = &mut node.state {
            leaf.cancelled = Some(reason);
            if let Some(node) = node.id.clone() {
                out.push(Effect::Cancel { node, reason });
            }
        }
    }

    fn break_leaf(&mut self, now: Timestamp, id: NodeId, message: String, out: &mut Vec<Effect>) {
        self.say_error(now, id, message.clone(), out);
        self.settle(id, Verdict::fault(Fault::Broken(message)));
    }

    /// Enters a phase and gives out its effect.
    fn enter(&mut self, id: NodeId, at: LeafPhase, out: &mut Vec<Effect>) {
        self.progress(id, Progress::Leaf(LeafProgress { at, cancelled: None }));
        if let Some(phase) = phase_of(at)
            && let Some(node) = self.node(id).id.clone()
        {
            out.push(Effect::Run { node, phase });
        }
    }

    fn running_leaf(&self, node: &PlanId) -> Result<(NodeId, Leaf, LeafProgress), IgnoredReason> {
        let id = *self.ids.get(node).ok_or(IgnoredReason::UnknownNode)?;
        let node = self.node(id);
        match (&node.kind, &node.state) {
            (Kind::Leaf(leaf), State::Running(Progress::Leaf(progress))) => {
                Ok((id, leaf.clone(), progress.clone()))
            }
            _ => Err(IgnoredReason::NotExpected),
        }
    }
}

/// Which effect of a leaf is out in that phase.
pub(crate) fn phase_of(at: LeafPhase) -> Option<Phase> {
    match at {
        LeafPhase::Preparing => Some(Phase::Prepare),
        LeafPhase::FetchingImage => None,
        LeafPhase::Launching | LeafPhase::Running { .. } => Some(Phase::Run),
    }
}

/// The time limit that the plan writes. One with a var in it is left to the driver.
fn own_limit(leaf: &Leaf) -> Result<Option<Duration>, String> {
    if leaf.timeout.is_empty() || leaf.timeout.contains("((") {
        return Ok(None);
    }
    duration::parse(&leaf.timeout).map(Some).map_err(|error| format!("parse timeout: {error}"))
}
