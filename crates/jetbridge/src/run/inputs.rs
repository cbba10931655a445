//! Inputs of a job that runs alone: local directories, and newest versions.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use jb_engine::Engine;
use jb_model::config::{GetStep, Step, StepKind};
use jb_model::plan::PlanStep;
use jb_model::{ArtifactId, PipelineConfig, Plan, TeamId};
use jb_pipeline::validate::each_get_and_put;

/// Takes every `get` in a step and in its hooks.
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
        | StepKind::LoadVar(_)
        | StepKind::Approve(_) => {}
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

/// Lets every input take its newest version.
pub(crate) fn forget_passed(pipeline: &mut PipelineConfig) {
    let mut forget = |get: &mut GetStep| get.passed.clear();
    for job in &mut pipeline.jobs {
        job.plan.iter_mut().for_each(|step| visit(step, &mut forget));
        let hooks = [
            &mut job.on_success,
            &mut job.on_failure,
            &mut job.on_error,
            &mut job.on_abort,
            &mut job.ensure,
        ];
        hooks.into_iter().flatten().for_each(|hook| visit(hook, &mut forget));
    }
}

/// The `get` steps of a job.
pub(crate) fn gets<'a>(pipeline: &'a PipelineConfig, job: &str) -> Vec<&'a GetStep> {
    let mut found = Vec::new();
    for job in pipeline.jobs.iter().filter(|known| known.name == job) {
        each_get_and_put(job, &mut |_, get| found.extend(get));
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
    if let PlanStep::Across(across) = &mut plan.step {
        use_local(&mut across.template, local);
    }
    for child in plan.children_mut() {
        use_local(child, local);
    }
}
