//! Walking plans: the children of a step, attempts, and the ids of `across` substeps.

use std::collections::BTreeMap;

use jb_model::plan::{TypeImage, VersionSource};
use jb_model::{Plan, PlanId, PlanStep};

use crate::error::PlanError;

/// Most steps one build may have, `across` substeps and image plans included.
pub(crate) const MAX_STEPS: usize = 50_000;
/// Deepest nesting of steps.
pub(crate) const MAX_DEPTH: usize = 200;

/// The steps inside a step, in the order in which they are numbered: a hook after what it is for.
/// Neither image plans nor the template of `across` are steps of the tree.
pub(crate) fn children(plan: &Plan) -> Vec<&Plan> {
    match &plan.step {
        PlanStep::Do(steps) | PlanStep::Retry(steps) | PlanStep::InParallel { steps, .. } => {
            steps.iter().collect()
        }
        PlanStep::OnSuccess { step, hook }
        | PlanStep::OnFailure { step, hook }
        | PlanStep::OnError { step, hook }
        | PlanStep::OnAbort { step, hook }
        | PlanStep::Ensure { step, hook } => vec![step, hook],
        PlanStep::Try(step) | PlanStep::Timeout { step, .. } => vec![step],
        PlanStep::Get(_)
        | PlanStep::Put(_)
        | PlanStep::Check(_)
        | PlanStep::Task(_)
        | PlanStep::Run(_)
        | PlanStep::SetPipeline(_)
        | PlanStep::LoadVar(_)
        | PlanStep::Across(_)
        | PlanStep::ArtifactInput { .. }
        | PlanStep::ArtifactOutput { .. } => Vec::new(),
    }
}

/// Same as [`children`], to change them.
pub(crate) fn children_mut(plan: &mut Plan) -> Vec<&mut Plan> {
    match &mut plan.step {
        PlanStep::Do(steps) | PlanStep::Retry(steps) | PlanStep::InParallel { steps, .. } => {
            steps.iter_mut().collect()
        }
        PlanStep::OnSuccess { step, hook }
        | PlanStep::OnFailure { step, hook }
        | PlanStep::OnError { step, hook }
        | PlanStep::OnAbort { step, hook }
        | PlanStep::Ensure { step, hook } => vec![step, hook],
        PlanStep::Try(step) | PlanStep::Timeout { step, .. } => vec![step],
        PlanStep::Get(_)
        | PlanStep::Put(_)
        | PlanStep::Check(_)
        | PlanStep::Task(_)
        | PlanStep::Run(_)
        | PlanStep::SetPipeline(_)
        | PlanStep::LoadVar(_)
        | PlanStep::Across(_)
        | PlanStep::ArtifactInput { .. }
        | PlanStep::ArtifactOutput { .. } => Vec::new(),
    }
}

/// The image plans of a leaf's type, if it has any.
pub(crate) fn type_image_mut(plan: &mut Plan) -> Option<&mut TypeImage> {
    match &mut plan.step {
        PlanStep::Get(get) => Some(&mut get.image),
        PlanStep::Put(put) => Some(&mut put.image),
        PlanStep::Check(check) => Some(&mut check.image),
        _ => None,
    }
}

/// Refuses plans that are too deep to walk by recursion. `depth` is the depth of `plan` itself.
pub(crate) fn bound_depth(plan: &Plan, depth: usize) -> Result<(), PlanError> {
    if depth > MAX_DEPTH {
        return Err(PlanError::TooDeep { limit: MAX_DEPTH });
    }
    children(plan).into_iter().try_for_each(|child| bound_depth(child, depth + 1))
}

/// Writes into every step which attempt it is: that of the step around it, plus its own number directly under a
/// retry.
pub(crate) fn number_attempts(plan: &mut Plan, attempts: &[u32]) {
    plan.attempts = attempts.to_vec();
    let retry = matches!(plan.step, PlanStep::Retry(_));
    for (child, number) in children_mut(plan).into_iter().zip(1..) {
        if retry {
            let mut own = attempts.to_vec();
            own.push(number);
            number_attempts(child, &own);
        } else {
            number_attempts(child, attempts);
        }
    }
}

/// Gives the steps of a substep their ids `<prefix>/<n>`, `n` counting depth first with image plans after the step
/// they belong to, and keeps `version_from` pointing at the same steps.
pub(crate) fn renumber(plan: &mut Plan, prefix: &str) {
    let mut ids = BTreeMap::new();
    let mut next = 0_usize;
    each_mut(plan, &mut |plan| {
        let id = PlanId(format!("{prefix}/{next}"));
        next += 1;
        ids.insert(std::mem::replace(&mut plan.id, id.clone()), id);
    });
    each_mut(plan, &mut |plan| {
        if let PlanStep::Get(get) = &mut plan.step
            && let VersionSource::From(id) = &mut get.version
            && let Some(new) = ids.get(id)
        {
            *id = new.clone();
        }
    });
}

/// Calls `f` on a step, its image plans and all inside it, depth first.
fn each_mut(plan: &mut Plan, f: &mut impl FnMut(&mut Plan)) {
    f(plan);
    if let Some(image) = type_image_mut(plan) {
        for plan in [&mut image.check, &mut image.get].into_iter().flatten() {
            each_mut(plan, f);
        }
    }
    for child in children_mut(plan) {
        each_mut(child, f);
    }
}
