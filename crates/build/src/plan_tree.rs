//! Walking plans: how deep they are, attempts, and the ids of `across` substeps.

use std::collections::BTreeMap;

use jb_model::plan::{TypeImage, VersionSource};
use jb_model::{Plan, PlanId, PlanStep};

use crate::error::PlanError;

/// Most steps one build may have, `across` substeps and image plans included.
pub(crate) const MAX_STEPS: usize = 50_000;
/// Deepest nesting of steps.
pub(crate) const MAX_DEPTH: usize = 200;

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
    plan.children().into_iter().try_for_each(|child| bound_depth(child, depth + 1))
}

/// Writes into every step which attempt it is: that of the step around it, plus its own number directly under a
/// retry.
pub(crate) fn number_attempts(plan: &mut Plan, attempts: &[u32]) {
    plan.attempts = attempts.to_vec();
    let retry = matches!(plan.step, PlanStep::Retry(_));
    for (child, number) in plan.children_mut().into_iter().zip(1..) {
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
    for child in plan.children_mut() {
        each_mut(child, f);
    }
}
