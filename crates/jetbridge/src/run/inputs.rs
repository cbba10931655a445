//! Inputs of a job that runs alone: local directories, and newest versions.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use jb_engine::Engine;
use jb_model::config::{GetStep, Step, StepKind};
use jb_model::plan::PlanStep;
use jb_model::{ArtifactId, PipelineConfig, Plan, TeamId};

/// Every step of a job's plan and of its hooks.
fn visit<'a>(step: &'a mut Step, take: &mut dyn FnMut(&mut GetStep)) {
    match &mut step.kind {
        StepKind::Get(get) => take(get),
        StepKind::Try(inner) => visit(inner, take),
        StepKind::Do(steps) | StepKind::InParallel { steps, .. } => {
            steps.iter_mut().for_each(|step| visit(step, take));
        }
        StepKind::Put(_)
        | StepKind::Task(_)
        | StepKind::Run(_)
        | StepKind::SetPipeline(_)
        | StepKind::LoadVar(_) => {}
    }
    let modifiers = &mut step.modifiers;
    let hooks: [&'a mut Option<Box<Step>>; 5] = [
        &mut modifiers.on_success,
        &mut modifiers.on_failure,
        &mut modifiers.on_error,
        &mut modifiers.on_abort,
        &mut modifiers.ensure,
    ];
    hooks.into_iter().flatten().for_each(|hook| visit(hook, take));
}

fn visit_job(pipeline: &mut PipelineConfig, job: usize, take: &mut dyn FnMut(&mut GetStep)) {
    let Some(job) = pipeline.jobs.get_mut(job) else { return };
    job.plan.iter_mut().for_each(|step| visit(step, take));
    let hooks = [
        &mut job.on_success,
        &mut job.on_failure,
        &mut job.on_error,
        &mut job.on_abort,
        &mut job.ensure,
    ];
    hooks.into_iter().flatten().for_each(|hook| visit(hook, take));
}

/// Lets every input take its newest version.
pub(crate) fn forget_passed(pipeline: &mut PipelineConfig) {
    for job in 0..pipeline.jobs.len() {
        visit_job(pipeline, job, &mut |get| get.passed.clear());
    }
}

/// The `get` steps of a job.
pub(crate) fn gets(pipeline: &PipelineConfig, job: &str) -> Vec<GetStep> {
    let mut copy = pipeline.clone();
    let mut found = Vec::new();
    if let Some(index) = copy.jobs.iter().position(|known| known.name == job) {
        visit_job(&mut copy, index, &mut |get| found.push(get.clone()));
    }
    found
}

/// Makes artifacts of local directories given as `name=dir`.
pub(crate) async fn upload(
    engine: &Engine,
    team: TeamId,
    inputs: &[String],
) -> anyhow::Result<BTreeMap<String, ArtifactId>> {
    let mut artifacts = BTreeMap::new();
    for input in inputs {
        let (name, dir) = input
            .split_once('=')
            .with_context(|| format!("-i `{input}` is not written as NAME=DIR"))?;
        let dir = PathBuf::from(dir);
        let tar = crate::local::tar_of(&dir)
            .with_context(|| format!("-i {name}: read {}", dir.display()))?;
        let volume = engine.upload(team, tar).await?;
        let now = engine.now();
        let artifact = engine.store.create_artifact(team, None, name, &volume, now).await?;
        artifacts.insert(name.to_owned(), artifact.id);
    }
    Ok(artifacts)
}

/// Replaces the gets of local inputs by their artifacts.
pub(crate) fn use_local(plan: &mut Plan, local: &BTreeMap<String, ArtifactId>) {
    if let PlanStep::Get(get) = &plan.step {
        if let Some(artifact) = local.get(&get.name) {
            let name = get.name.clone();
            plan.step = PlanStep::ArtifactInput { artifact: *artifact, name };
        }
        return;
    }
    for child in children(&mut plan.step) {
        use_local(child, local);
    }
}

fn children(step: &mut PlanStep) -> Vec<&mut Plan> {
    match step {
        PlanStep::Do(steps) | PlanStep::Retry(steps) | PlanStep::InParallel { steps, .. } => {
            steps.iter_mut().collect()
        }
        PlanStep::OnSuccess { step, hook }
        | PlanStep::OnFailure { step, hook }
        | PlanStep::OnError { step, hook }
        | PlanStep::OnAbort { step, hook }
        | PlanStep::Ensure { step, hook } => vec![step, hook],
        PlanStep::Try(step) | PlanStep::Timeout { step, .. } => vec![step],
        PlanStep::Across(across) => vec![&mut across.template],
        PlanStep::Get(_)
        | PlanStep::Put(_)
        | PlanStep::Check(_)
        | PlanStep::Task(_)
        | PlanStep::Run(_)
        | PlanStep::SetPipeline(_)
        | PlanStep::LoadVar(_)
        | PlanStep::ArtifactInput { .. }
        | PlanStep::ArtifactOutput { .. } => Vec::new(),
    }
}
