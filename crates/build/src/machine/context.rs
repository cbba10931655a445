//! What can cut steps short: the build's abort, a failed sibling under `fail_fast`, a passed time limit.
//!
//! Contexts form trees. The first one ends with the build's abort. A hook that must run although its step's context
//! is over gets the root of a tree of its own, which nothing but its own limits can end.

use crate::machine::CancelReason;
use crate::machine::verdict::Fault;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContextId(usize);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Context {
    parent: Option<ContextId>,
    over: Option<CancelReason>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contexts(Vec<Context>);

impl Contexts {
    pub(crate) const BUILD: ContextId = ContextId(0);

    /// Adds the root of a new tree; the first call makes [`Self::BUILD`].
    pub(crate) fn root(&mut self) -> ContextId {
        self.0.push(Context { parent: None, over: None });
        ContextId(self.0.len() - 1)
    }

    pub(crate) fn child(&mut self, parent: ContextId) -> ContextId {
        let over = self.over(parent);
        self.0.push(Context { parent: Some(parent), over });
        ContextId(self.0.len() - 1)
    }

    /// Why the context is over, if it is.
    pub(crate) fn over(&self, id: ContextId) -> Option<CancelReason> {
        self.0.get(id.0).and_then(|context| context.over)
    }

    /// Ends a context and all below it. Those that are over already keep their reason.
    pub(crate) fn end(&mut self, id: ContextId, reason: CancelReason) {
        // Parents come before their children, so one pass reaches every depth.
        for at in id.0..self.0.len() {
            let inherited = self.0[at].parent.and_then(|parent| self.over(parent));
            let reason = if at == id.0 { Some(reason) } else { inherited };
            let context = &mut self.0[at];
            context.over = context.over.or(reason);
        }
    }

    /// Where an `ensure` hook runs: with its step, or apart when that is over.
    pub(crate) fn for_ensure(&mut self, id: ContextId) -> ContextId {
        if self.over(id).is_some() { self.root() } else { id }
    }

    /// Where an `on_error` hook runs: out of reach of the limits and siblings around its step, but not of an abort of
    /// the build that comes later.
    pub(crate) fn for_on_error(&mut self, id: ContextId) -> ContextId {
        let mut root = id;
        while let Some(parent) = self.0.get(root.0).and_then(|context| context.parent) {
            root = parent;
        }
        if self.over(root).is_some() { self.root() } else { root }
    }
}

/// What a step says that could not run, or not to its end, because its context is over.
pub(crate) fn fault(reason: CancelReason) -> Fault {
    match reason {
        CancelReason::Abort | CancelReason::FailFast => Fault::Interrupted,
        CancelReason::Timeout => Fault::TimedOut,
    }
}
