//! What an agent that stopped waits for, with none of its containers there.
//!
//! Where it stands follows from the store: what the harness said last, that what it left was kept, and the questions. So a
//! server that starts again finds the same run, however often it dies and however long people take.

use jb_agent_protocol::suspension::Left;
use jb_model::{ContainerHandle, Timestamp};

use super::Step;
use super::approvals::Held;
use super::runs::{Handles, Run};
use crate::build::{BuildContext, PutAway, Suspended};
use crate::leaf::Trouble;

/// What is to be done for a step.
pub(super) enum Next {
    Run(Box<Run>),
    /// It is over without another run.
    Over(Held),
}

/// Where a step's agent stands. Pure.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// This run is to be followed, from where it is: to its beginning or to its end.
    Runs(u32),
    /// It stopped after this run, of which all is kept.
    Stopped(u32),
}

fn stand(suspended: Option<&Suspended>, put_away: Option<&PutAway>) -> Standing {
    match (suspended, put_away) {
        (None, _) => Standing::Runs(0),
        (Some(said), Some(kept)) if kept.run == said.run => Standing::Stopped(said.run),
        // A server before this one may not have heard or kept all.
        (Some(said), _) => Standing::Runs(said.run),
    }
}

impl Step<'_> {
    /// The run that is to be followed; of an agent that stopped, once people have decided what it waits for.
    pub(super) async fn next(&self, began: Timestamp) -> Result<Next, Trouble> {
        let (context, leaf) = (self.context, self.leaf);
        let suspended = context.agent_suspended(leaf).await?;
        let put_away = context.agent_put_away(leaf).await?;
        let last = match stand(suspended.as_ref(), put_away.as_ref()) {
            Standing::Runs(number) => {
                let mut run = Run::new(context, &leaf.plan, number);
                // It is there already and only found. Should it not be, nothing is begun from the start.
                run.left = suspended
                    .is_some()
                    .then(|| Left { digest: String::new(), decided: Vec::new() });
                return Ok(Next::Run(Box::new(run)));
            }
            Standing::Stopped(number) => number,
        };
        let Some(Suspended { needs, digest, .. }) = suspended else {
            return Err(Trouble::new("an agent stopped without a word"));
        };
        let handles = Handles::new(context, &leaf.plan, last);
        let mut containers = Containers { context, left: vec![handles.agent.clone()] };
        containers.left.extend(handles.beside(self.agent));
        match self.limits.held(context, leaf, began, &needs, &mut containers).await? {
            Held::Decided(decided) => {
                let mut run = Run::new(context, &leaf.plan, last + 1);
                run.left = Some(Left { digest, decided });
                run.spent = context.agent_spent(&leaf.plan.id).await?;
                Ok(Next::Run(Box::new(run)))
            }
            held => Ok(Next::Over(held)),
        }
    }
}

/// Containers of a run that is over.
pub(super) struct Containers<'a> {
    context: &'a BuildContext,
    left: Vec<ContainerHandle>,
}

impl Containers<'_> {
    /// Removes what is left of them. What cannot be removed now is tried again when this is called again.
    pub(super) async fn remove(&mut self) -> Result<(), Trouble> {
        for handle in std::mem::take(&mut self.left) {
            let engine = &self.context.engine;
            if engine.store.container(&handle).await?.is_some()
                && !engine.collector.remove_container(&handle).await
            {
                self.left.push(handle);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_followed_until_all_of_it_is_kept() {
        let said = |run| Suspended { run, needs: "a1".to_owned(), digest: String::new() };
        let kept = |run| PutAway { run, outputs: Vec::new() };
        assert_eq!(stand(None, None), Standing::Runs(0));
        assert_eq!(stand(Some(&said(0)), None), Standing::Runs(0));
        assert_eq!(stand(Some(&said(0)), Some(&kept(0))), Standing::Stopped(0));
        assert_eq!(stand(Some(&said(1)), Some(&kept(0))), Standing::Runs(1));
        assert_eq!(stand(Some(&said(1)), Some(&kept(1))), Standing::Stopped(1));
    }
}
