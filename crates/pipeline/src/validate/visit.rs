//! Walking the steps of jobs.

use jb_model::config::{GetStep, JobConfig, Step, StepKind};

/// Calls `found` for every step of a job proper, hooks included, in the order Concourse visits them.
pub fn each_step<'a>(job: &'a JobConfig, found: &mut dyn FnMut(&'a Step)) {
    for step in &job.plan {
        visit(step, found);
    }
    let hooks = [&job.on_success, &job.on_failure, &job.on_abort, &job.on_error, &job.ensure];
    for hook in hooks.into_iter().flatten() {
        visit(hook, found);
    }
}

fn visit<'a>(step: &'a Step, found: &mut dyn FnMut(&'a Step)) {
    match &step.kind {
        StepKind::Try(inner) => visit(inner, found),
        StepKind::Do(steps) | StepKind::InParallel { steps, .. } => {
            for step in steps {
                visit(step, found);
            }
        }
        StepKind::Get(_)
        | StepKind::Put(_)
        | StepKind::Task(_)
        | StepKind::Run(_)
        | StepKind::SetPipeline(_)
        | StepKind::LoadVar(_)
        | StepKind::Approve(_) => found(step),
    }
    let hooks = &step.modifiers;
    let hooks =
        [&hooks.on_success, &hooks.on_failure, &hooks.on_abort, &hooks.on_error, &hooks.ensure];
    for hook in hooks.into_iter().flatten() {
        visit(hook, found);
    }
}

/// Calls `found` with the resource of every get and put of a job, and with the get itself.
pub fn each_get_and_put<'a>(
    job: &'a JobConfig,
    found: &mut dyn FnMut(&'a str, Option<&'a GetStep>),
) {
    each_step(job, &mut |step| match &step.kind {
        StepKind::Get(get) => found(get.resource_name(), Some(get)),
        StepKind::Put(put) => found(put.resource_name(), None),
        _ => {}
    });
}
