//! What the driver asks about nodes.

use jb_model::{BuildStatus, Plan, PlanId, Timestamp, Value};

use crate::machine::leaf::phase_of;
use crate::machine::nodes::{Hook, Kind, LeafPhase, Node, Progress, State};
use crate::machine::{BuildMachine, Effect, Life, NodeId};

impl BuildMachine {
    /// When to apply the next `Tick`, if no other event comes first.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadlines().map(|(deadline, _)| deadline).min()
    }

    /// The effects that were given out and not answered, to be performed again after a restart.
    pub fn outstanding(&self, out: &mut Vec<Effect>) {
        if let Life::Over(status) = self.life {
            out.push(Effect::Finish(status));
        }
        for node in self.running.iter().map(|id| self.node(*id)) {
            let Some(id) = &node.id else { continue };
            match &node.state {
                State::Running(Progress::Resolving) => {
                    out.push(Effect::ResolveAcross { node: id.clone() });
                }
                State::Running(Progress::Leaf(leaf)) => {
                    if let Some(phase) = phase_of(leaf.at) {
                        out.push(Effect::Run { node: id.clone(), phase });
                        if let Some(reason) = leaf.cancelled {
                            out.push(Effect::Cancel { node: id.clone(), reason });
                        }
                    }
                }
                State::Waiting | State::Running(_) | State::Done(_) => {}
            }
        }
    }

    /// When the process of a running leaf began.
    pub fn began(&self, node: &PlanId) -> Option<Timestamp> {
        match &self.node(*self.ids.get(node)?).state {
            State::Running(Progress::Leaf(leaf)) => match leaf.at {
                LeafPhase::Running { began, .. } => Some(began),
                LeafPhase::Preparing | LeafPhase::FetchingImage | LeafPhase::Launching => None,
            },
            State::Waiting | State::Running(_) | State::Done(_) => None,
        }
    }

    /// The plan of a node, with its attempt: of the build's plan, of `across` substeps that are known, of image plans
    /// that are known.
    pub fn plan_of(&self, node: &PlanId) -> Option<&Plan> {
        let id = *self.ids.get(node)?;
        let node = self.node(id);
        let mut slots = Vec::new();
        let mut at = node;
        while let Some(parent) = at.parent.map(|parent| self.node(parent))
            && parent.tree == node.tree
        {
            slots.push(at.slot);
            at = parent;
        }
        let mut plan = self.trees.get(node.tree)?;
        for slot in slots.into_iter().rev() {
            plan = plan.children().get(slot).copied()?;
        }
        Some(plan)
    }

    /// The local scopes that a node is in, innermost first. Vars and artifacts that a node makes belong to the first
    /// of them (to the build if there is none); it sees those of all, nearest first.
    ///
    /// Each `across` substep is a scope, named by its topmost plan. So is each image plan, whose artifact is for its
    /// leaf only: the driver looks there when it needs the image.
    pub fn scope_of(&self, node: &PlanId) -> Vec<PlanId> {
        self.ancestry(node)
            .filter(|(id, node)| self.combinations.contains_key(id) || self.is_image(node))
            .filter_map(|(_, node)| node.id.clone())
            .collect()
    }

    /// The values of the `across` substeps around a node, innermost first, each in the order of its vars.
    pub fn across_vars_of(&self, node: &PlanId) -> Vec<(String, Value)> {
        self.ancestry(node)
            .filter_map(|(id, _)| self.combinations.get(&id))
            .flat_map(|values| values.iter().cloned())
            .collect()
    }

    /// The leaf whose image a node fetches, if it is an image plan.
    pub fn image_of(&self, node: &PlanId) -> Option<&PlanId> {
        let node = self.node(*self.ids.get(node)?);
        if self.is_image(node) { self.node(node.parent?).id.as_ref() } else { None }
    }

    /// The image plans of a leaf that needs them: check (if any) and get.
    pub fn images_of(&self, node: &PlanId) -> Vec<&PlanId> {
        let Some(node) = self.ids.get(node).map(|id| self.node(*id)) else { return Vec::new() };
        match node.kind {
            Kind::Leaf(_) => {
                node.children.iter().filter_map(|child| self.node(*child).id.as_ref()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What the step was that the hook around this node is for: `BUILD_STATUS` inside `on_*` hooks. None outside of
    /// them, in `ensure` hooks and in image plans.
    pub fn hook_status(&self, node: &PlanId) -> Option<BuildStatus> {
        let mut id = *self.ids.get(node)?;
        while let Some(parent_id) = self.node(id).parent {
            let parent = self.node(parent_id);
            let status = match parent.kind {
                Kind::Leaf(_) => return None,
                Kind::Hooked(hook) if parent.children.get(1) == Some(&id) => match hook {
                    Hook::Success => Some(BuildStatus::Succeeded),
                    Hook::Failure => Some(BuildStatus::Failed),
                    Hook::Error => Some(BuildStatus::Errored),
                    Hook::Abort => Some(BuildStatus::Aborted),
                    Hook::Ensure => None,
                },
                _ => None,
            };
            if status.is_some() {
                return status;
            }
            id = parent_id;
        }
        None
    }

    fn is_image(&self, node: &Node) -> bool {
        node.parent.is_some_and(|parent| matches!(self.node(parent).kind, Kind::Leaf(_)))
    }

    /// A node and all around it, innermost first.
    fn ancestry(&self, node: &PlanId) -> impl Iterator<Item = (NodeId, &Node)> {
        let first = self.ids.get(node).copied();
        std::iter::successors(first, |id| self.node(*id).parent).map(|id| (id, self.node(id)))
    }
}
