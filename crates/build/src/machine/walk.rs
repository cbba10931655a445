//! How the steps that hold others begin them and judge how they ended.

use jb_model::{BuildEvent, Timestamp};

use crate::machine::context::{ContextId, fault};
use crate::machine::nodes::{Hook, Kind, LeafPhase, Progress, State};
use crate::machine::verdict::{Fault, Verdict};
use crate::machine::{BuildMachine, CancelReason, Effect, IgnoredReason, NodeId, Todo};

impl BuildMachine {
    /// Does what is to be done until every node waits for the outside.
    pub(crate) fn walk(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let mut stack = Vec::new();
        loop {
            // What a step causes comes before what was to be done after it.
            stack.extend(self.todo.drain(..).rev());
            let Some(todo) = stack.pop() else { break };
            match todo {
                Todo::Begin(node, context) => self.begin(now, node, context, out),
                Todo::Settled(node) => match self.node(node).parent {
                    Some(parent) => self.child_settled(now, parent, node, out),
                    None => {
                        let status = self.verdict(node).outcome().build_status();
                        self.finish(now, status, out);
                    }
                },
            }
        }
    }

    fn begin(&mut self, now: Timestamp, id: NodeId, context: ContextId, out: &mut Vec<Effect>) {
        self.running.insert(id);
        self.node_mut(id).context = context;
        match self.node(id).kind.clone() {
            Kind::Leaf(leaf) => self.begin_leaf(now, id, &leaf, out),
            Kind::Do | Kind::Retry => {
                self.progress(id, Progress::Sequence { settled: 0 });
                self.next_in_sequence(
                    id,
                    0,
                    Verdict::plain(matches!(self.node(id).kind, Kind::Do)),
                );
            }
            Kind::Parallel { fail_fast, .. } => {
                let own = if fail_fast { self.contexts.child(context) } else { context };
                self.progress(id, Progress::Parallel { begun: 0, running: 0, context: own });
                self.fill(id);
            }
            Kind::Across => self.begin_across(now, id, out),
            Kind::Hooked(_) | Kind::Try => {
                self.progress(id, Progress::Child);
                self.begin_child(id, 0, context);
            }
            Kind::Timeout(Ok(duration)) => {
                let own = self.contexts.child(context);
                let deadline = now.after(duration);
                self.progress(id, Progress::Timeout { context: own, deadline });
                self.begin_child(id, 0, own);
            }
            Kind::Timeout(Err(message)) => {
                self.say_error(now, id, message.clone(), out);
                self.settle(id, Verdict::fault(Fault::Broken(message)));
            }
        }
    }

    fn child_settled(&mut self, now: Timestamp, id: NodeId, child: NodeId, out: &mut Vec<Effect>) {
        let verdict = self.verdict(child).clone();
        let context = self.node(id).context;
        match self.node(id).kind.clone() {
            Kind::Leaf(_) => self.image_settled(now, id, child, &verdict, out),
            Kind::Do => {
                let done = self.count_settled(id);
                if verdict.succeeded() {
                    self.next_in_sequence(id, done, verdict);
                } else {
                    self.settle(id, verdict);
                }
            }
            Kind::Retry => {
                let done = self.count_settled(id);
                if let Some(reason) = self.contexts.over(context) {
                    self.settle(id, Verdict::fault(fault(reason)));
                } else if verdict.succeeded() {
                    self.settle(id, verdict);
                } else {
                    self.next_in_sequence(id, done, verdict);
                }
            }
            Kind::Parallel { fail_fast, .. } => {
                self.one_less_running(id);
                if fail_fast
                    && !verdict.succeeded()
                    && let State::Running(Progress::Parallel { context, .. }) = self.node(id).state
                {
                    self.end_context(now, context, CancelReason::FailFast, out);
                }
                self.fill(id);
            }
            Kind::Across => self.substeps_settled(now, id, verdict, out),
            Kind::Hooked(hook) => {
                if self.node(id).children.first() == Some(&child) {
                    self.hooked_step_settled(id, hook, verdict);
                } else {
                    self.hook_settled(id, hook, verdict);
                }
            }
            // An abort is not swallowed, a time limit around it is.
            Kind::Try if verdict.interrupted() => self.settle(id, verdict),
            Kind::Try => self.settle(id, Verdict::plain(true)),
            Kind::Timeout(_) if verdict.timed_out() => self.settle(id, Verdict::plain(false)),
            Kind::Timeout(_) => self.settle(id, verdict),
        }
    }

    fn hooked_step_settled(&mut self, id: NodeId, hook: Hook, verdict: Verdict) {
        let context = self.node(id).context;
        let hook_context = match hook {
            Hook::Success => verdict.succeeded().then_some(context),
            Hook::Failure => verdict.failed().then_some(context),
            // Whatever interrupted the step must not reach its hook.
            Hook::Abort => verdict.interrupted().then(|| self.contexts.root()),
            Hook::Error => (verdict.faulted() && !verdict.interrupted())
                .then(|| self.contexts.for_on_error(context)),
            Hook::Ensure => Some(self.contexts.for_ensure(context)),
        };
        match hook_context {
            Some(context) => self.begin_child(id, 1, context),
            None => self.settle(id, verdict),
        }
    }

    fn hook_settled(&mut self, id: NodeId, hook: Hook, of_hook: Verdict) {
        let of_step = self.node(id).children.first().map(|step| self.verdict(*step).clone());
        let of_step = of_step.unwrap_or_else(|| Verdict::plain(true));
        let verdict = match hook {
            Hook::Success => of_hook,
            Hook::Failure if of_hook.faulted() => of_hook,
            Hook::Failure | Hook::Abort => of_step,
            Hook::Error => Verdict::gather([&of_step, &of_hook]),
            Hook::Ensure => match self.contexts.over(self.node(id).context) {
                Some(reason) => Verdict::fault(fault(reason)),
                None if of_step.faulted() || of_hook.faulted() => {
                    Verdict::gather([&of_step, &of_hook])
                }
                None => Verdict::plain(of_step.succeeded() && of_hook.succeeded()),
            },
        };
        self.settle(id, verdict);
    }

    /// Begins the next step of a `do` or attempt of a retry, or ends it with `last`.
    fn next_in_sequence(&mut self, id: NodeId, next: usize, last: Verdict) {
        if next < self.node(id).children.len() {
            let context = self.node(id).context;
            self.begin_child(id, next, context);
        } else {
            self.settle(id, last);
        }
    }

    /// Begins as many parallel steps as may run; ends when none is left.
    fn fill(&mut self, id: NodeId) {
        let Kind::Parallel { limit, .. } = self.node(id).kind else { return };
        let count = self.node(id).children.len();
        let State::Running(Progress::Parallel { mut begun, mut running, context }) =
            self.node(id).state
        else {
            return;
        };
        while running < limit && begun < count && self.contexts.over(context).is_none() {
            self.begin_child(id, begun, context);
            begun += 1;
            running += 1;
        }
        self.progress(id, Progress::Parallel { begun, running, context });
        if running == 0 {
            self.settle(id, self.judge_parallel(id, begun));
        }
    }

    fn judge_parallel(&self, id: NodeId, begun: usize) -> Verdict {
        let node = self.node(id);
        if let Some(reason) = self.contexts.over(node.context) {
            return Verdict::fault(fault(reason));
        }
        let verdicts = || node.children.iter().take(begun).map(|child| self.verdict(*child));
        // Interrupted siblings are the consequence, not the fault.
        let faulty = || verdicts().filter(|verdict| verdict.faulted() && !verdict.interrupted());
        if faulty().next().is_some() {
            return Verdict::gather(faulty());
        }
        Verdict::plain(verdicts().all(Verdict::succeeded))
    }

    fn begin_child(&mut self, id: NodeId, slot: usize, context: ContextId) {
        if let Some(child) = self.node(id).children.get(slot) {
            self.todo.push(Todo::Begin(*child, context));
        }
    }

    fn count_settled(&mut self, id: NodeId) -> usize {
        match &mut self.node_mut(id).state {
            State::Running(Progress::Sequence { settled }) => {
                *settled += 1;
                *settled
            }
            _ => usize::MAX,
        }
    }

    fn one_less_running(&mut self, id: NodeId) {
        if let State::Running(Progress::Parallel { running, .. }) = &mut self.node_mut(id).state {
            *running = running.saturating_sub(1);
        }
    }

    pub(crate) fn begin_nth(&mut self, id: NodeId, slot: usize) {
        let context = self.node(id).context;
        self.begin_child(id, slot, context);
    }

    pub(crate) fn progress(&mut self, id: NodeId, progress: Progress) {
        self.node_mut(id).state = State::Running(progress);
    }

    pub(crate) fn settle(&mut self, id: NodeId, verdict: Verdict) {
        self.node_mut(id).state = State::Done(verdict);
        self.running.remove(&id);
        self.todo.push(Todo::Settled(id));
    }

    /// How a node ended. A node that has not ended counts as interrupted; callers ask only about those that have.
    pub(crate) fn verdict(&self, id: NodeId) -> &Verdict {
        static NOT_ENDED: std::sync::OnceLock<Verdict> = std::sync::OnceLock::new();
        match &self.node(id).state {
            State::Done(verdict) => verdict,
            State::Waiting | State::Running(_) => {
                NOT_ENDED.get_or_init(|| Verdict::fault(Fault::Interrupted))
            }
        }
    }

    /// Ends a context and tells every leaf in it to stop.
    pub(crate) fn end_context(
        &mut self,
        now: Timestamp,
        context: ContextId,
        reason: CancelReason,
        out: &mut Vec<Effect>,
    ) {
        self.contexts.end(context, reason);
        let running: Vec<NodeId> = self.running.iter().copied().collect();
        for id in running {
            let Some(reason) = self.contexts.over(self.node(id).context) else { continue };
            match &self.node(id).state {
                State::Running(Progress::Leaf(leaf))
                    if leaf.cancelled.is_none() && leaf.at != LeafPhase::FetchingImage =>
                {
                    self.cancel_leaf(id, reason, out);
                }
                State::Running(Progress::Resolving) => self.cut_short(now, id, reason, out),
                _ => {}
            }
        }
    }

    /// Ends what has run out of time.
    pub(crate) fn expire(
        &mut self,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) -> Result<(), IgnoredReason> {
        let due: Vec<NodeId> =
            self.deadlines().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| id).collect();
        if due.is_empty() {
            return Err(IgnoredReason::NothingDue);
        }
        for id in due {
            match self.node(id).state {
                State::Running(Progress::Timeout { context, .. }) => {
                    self.end_context(now, context, CancelReason::Timeout, out);
                }
                State::Running(Progress::Leaf(ref leaf)) if leaf.cancelled.is_none() => {
                    self.cancel_leaf(id, CancelReason::Timeout, out);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What waits for its time to be up, and until when.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (Timestamp, NodeId)> + '_ {
        self.running.iter().filter_map(|id| match &self.node(*id).state {
            State::Running(Progress::Timeout { context, deadline }) => {
                self.contexts.over(*context).is_none().then_some((*deadline, *id))
            }
            State::Running(Progress::Leaf(leaf)) if leaf.cancelled.is_none() => match leaf.at {
                LeafPhase::Running { deadline, .. } => deadline.map(|deadline| (deadline, *id)),
                LeafPhase::Preparing | LeafPhase::FetchingImage | LeafPhase::Launching => None,
            },
            State::Waiting | State::Running(_) | State::Done(_) => None,
        })
    }

    /// Settles a node that could not run, or not to its end, because its context is over.
    pub(crate) fn cut_short(
        &mut self,
        now: Timestamp,
        id: NodeId,
        reason: CancelReason,
        out: &mut Vec<Effect>,
    ) {
        let verdict = Verdict::fault(fault(reason));
        self.say_error(now, id, verdict.message(), out);
        self.settle(id, verdict);
    }

    pub(crate) fn say_error(
        &self,
        now: Timestamp,
        id: NodeId,
        message: String,
        out: &mut Vec<Effect>,
    ) {
        if let Some(origin) = self.node(id).id.clone() {
            out.push(Effect::Emit(BuildEvent::Error { origin, message, time: now }));
        }
    }
}
