//! From a job's configuration and its inputs' versions to a plan.
//!
//! # Ids and shape
//!
//! Ids are a counter in hex. A step gets its id when it is complete: after the steps in it, the hook after its step,
//! each attempt as a copy with ids of its own. Only the template of `across` is compiled once; its ids are replaced
//! for each combination of values.
//!
//! Modifiers nest, from the inside: the step (or a `timeout` around it, where the step has no field for it),
//! `attempts`, `across`, `on_success`, `on_failure`, `on_abort`, `on_error`, `ensure`. A job is a `do` of its steps
//! with the job's hooks around it in the same order.

mod check;
mod image;

use std::collections::BTreeMap;

use jb_model::approval::ApprovePlan;
use jb_model::config::{GetStep, Modifiers, PutStep, RunStep, Step, StepKind, TaskStep};
use jb_model::plan::{AcrossPlan, GetPlan, PutPlan, RunPlan, TaskPlan, VersionSource};
use jb_model::{
    JobConfig, Object, PipelineConfig, Plan, PlanId, PlanStep, ResourceConfig, ResourceTypeConfig,
    Version,
};

use crate::error::PlanError;
use crate::plan_tree::{MAX_DEPTH, MAX_STEPS};

pub use check::{Checked, plan_check};
pub use image::{ImagePlans, TypePlanner, plan_task_image};

/// Gives plans their ids: a counter in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanIds {
    last: u64,
}

impl PlanIds {
    /// Ids that follow `last`; 0 makes the first one `1`.
    pub fn after(last: u64) -> Self {
        Self { last }
    }

    /// The last id given out, to go on from.
    pub fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn next(&mut self) -> PlanId {
        self.last = self.last.wrapping_add(1);
        PlanId(format!("{:x}", self.last))
    }

    pub(crate) fn plan(&mut self, step: PlanStep) -> Plan {
        Plan { id: self.next(), attempts: Vec::new(), step }
    }
}

/// How to plan.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Someone asked for this build: images of tasks and puts are checked without waiting for their interval.
    pub manual: bool,
    /// Sources merged under those of resources, types and images of a base type, by the type's name.
    pub base_defaults: BTreeMap<String, Object>,
}

/// Compiles a job.
///
/// `inputs` are the versions to get, by the name of the `get`.
///
/// # Errors
/// When a step names a resource or prototype that the pipeline lacks, a `get` has no version in `inputs`, or the plan
/// becomes too large.
pub fn plan_job(
    pipeline: &PipelineConfig,
    job: &JobConfig,
    inputs: &BTreeMap<String, Version>,
    ids: &mut PlanIds,
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    let types = TypePlanner::new(&pipeline.resource_types, &options.base_defaults);
    let mut planner = Planner { pipeline, types, inputs, ids, options, steps: 0 };
    let at = Place { tags: &job.tags, depth: 0 };
    let plan = planner.sequence(&job.plan, at)?;
    let hooks = Hooks {
        on_success: job.on_success.as_deref(),
        on_failure: job.on_failure.as_deref(),
        on_abort: job.on_abort.as_deref(),
        on_error: job.on_error.as_deref(),
        ensure: job.ensure.as_deref(),
    };
    planner.hooked(plan, &hooks, at)
}

struct Planner<'a> {
    pipeline: &'a PipelineConfig,
    types: TypePlanner<'a>,
    inputs: &'a BTreeMap<String, Version>,
    ids: &'a mut PlanIds,
    options: &'a PlanOptions,
    /// How many plans were made.
    steps: usize,
}

/// Where a step stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Tags of the nearest `do`, `in_parallel` or job around it that has any.
    tags: &'a [String],
    depth: usize,
}

struct Hooks<'a> {
    on_success: Option<&'a Step>,
    on_failure: Option<&'a Step>,
    on_abort: Option<&'a Step>,
    on_error: Option<&'a Step>,
    ensure: Option<&'a Step>,
}

impl<'a> Planner<'a> {
    fn step(&mut self, step: &'a Step, at: Place<'a>) -> Result<Plan, PlanError> {
        let at = Place { depth: at.depth + 1, ..at };
        if at.depth > MAX_DEPTH {
            return Err(PlanError::TooDeep { limit: MAX_DEPTH });
        }
        let modifiers = &step.modifiers;
        let mut plan = self.attempts(step, at)?;
        if let Some(across) = &modifiers.across {
            plan = self.add(PlanStep::Across(Box::new(AcrossPlan {
                vars: across.vars.clone(),
                fail_fast: across.fail_fast,
                template: plan,
            })))?;
        }
        let hooks = Hooks {
            on_success: modifiers.on_success.as_deref(),
            on_failure: modifiers.on_failure.as_deref(),
            on_abort: modifiers.on_abort.as_deref(),
            on_error: modifiers.on_error.as_deref(),
            ensure: modifiers.ensure.as_deref(),
        };
        self.hooked(plan, &hooks, at)
    }

    fn attempts(&mut self, step: &'a Step, at: Place<'a>) -> Result<Plan, PlanError> {
        let Some(count) = step.modifiers.attempts else { return self.kind(step, at) };
        let mut attempts = Vec::new();
        for _ in 0..count {
            attempts.push(self.kind(step, at)?);
        }
        self.add(PlanStep::Retry(attempts))
    }

    fn hooked(
        &mut self,
        mut plan: Plan,
        hooks: &Hooks<'a>,
        at: Place<'a>,
    ) -> Result<Plan, PlanError> {
        type Wrap = fn(Box<Plan>, Box<Plan>) -> PlanStep;
        let order: [(Option<&'a Step>, Wrap); 5] = [
            (hooks.on_success, |step, hook| PlanStep::OnSuccess { step, hook }),
            (hooks.on_failure, |step, hook| PlanStep::OnFailure { step, hook }),
            (hooks.on_abort, |step, hook| PlanStep::OnAbort { step, hook }),
            (hooks.on_error, |step, hook| PlanStep::OnError { step, hook }),
            (hooks.ensure, |step, hook| PlanStep::Ensure { step, hook }),
        ];
        for (hook, wrap) in order {
            if let Some(hook) = hook {
                let hook = self.step(hook, at)?;
                plan = self.add(wrap(Box::new(plan), Box::new(hook)))?;
            }
        }
        Ok(plan)
    }

    /// The step without `attempts`, `across` and hooks.
    fn kind(&mut self, step: &'a Step, at: Place<'a>) -> Result<Plan, PlanError> {
        let modifiers = &step.modifiers;
        let inside = match (&step.kind, modifiers.tags.as_slice()) {
            (StepKind::Do(_) | StepKind::InParallel { .. }, tags) if !tags.is_empty() => {
                Place { tags, ..at }
            }
            _ => at,
        };
        let plan = match &step.kind {
            StepKind::Get(get) => return self.get(get, modifiers, at),
            StepKind::Put(put) => return self.put(put, modifiers, at),
            StepKind::Task(task) => return self.task(task, modifiers, at),
            StepKind::Run(run) => return self.run(run, modifiers, at),
            StepKind::Approve(step) => {
                let (step, timeout) = (step.clone(), modifiers.timeout.clone().unwrap_or_default());
                return self.add(PlanStep::Approve(Box::new(ApprovePlan { step, timeout })));
            }
            StepKind::SetPipeline(set) => self.add(PlanStep::SetPipeline(Box::new(set.clone())))?,
            StepKind::LoadVar(load) => self.add(PlanStep::LoadVar(Box::new(load.clone())))?,
            StepKind::Try(tried) => {
                let tried = self.step(tried, at)?;
                self.add(PlanStep::Try(Box::new(tried)))?
            }
            StepKind::Do(steps) => self.sequence(steps, inside)?,
            StepKind::InParallel { steps, limit, fail_fast } => {
                let steps = self.steps(steps, inside)?;
                let (limit, fail_fast) = (*limit, *fail_fast);
                self.add(PlanStep::InParallel { steps, limit, fail_fast })?
            }
        };
        match &modifiers.timeout {
            Some(duration) => {
                let (step, duration) = (Box::new(plan), duration.clone());
                self.add(PlanStep::Timeout { step, duration })
            }
            None => Ok(plan),
        }
    }

    fn sequence(&mut self, steps: &'a [Step], at: Place<'a>) -> Result<Plan, PlanError> {
        let steps = self.steps(steps, at)?;
        self.add(PlanStep::Do(steps))
    }

    fn steps(&mut self, steps: &'a [Step], at: Place<'a>) -> Result<Vec<Plan>, PlanError> {
        steps.iter().map(|step| self.step(step, at)).collect()
    }

    fn get(
        &mut self,
        get: &GetStep,
        modifiers: &Modifiers,
        at: Place<'a>,
    ) -> Result<Plan, PlanError> {
        let resource = self.resource(get.resource_name())?;
        let version = self.inputs.get(&get.name).cloned();
        let version = version.ok_or_else(|| PlanError::VersionNotProvided(get.name.clone()))?;
        let made = GetPlan {
            name: get.name.clone(),
            kind: resource.kind.clone(),
            resource: resource.name.clone(),
            source: self.types.with_defaults(&resource.kind, &resource.source),
            params: get.params.clone(),
            version: VersionSource::Fixed(version),
            image: jb_model::plan::TypeImage::default(),
            tags: tags(modifiers, at),
            timeout: modifiers.timeout.clone().unwrap_or_default(),
        };
        self.add_get(made, false)
    }

    fn put(
        &mut self,
        put: &PutStep,
        modifiers: &Modifiers,
        at: Place<'a>,
    ) -> Result<Plan, PlanError> {
        let resource = self.resource(put.resource_name())?;
        let source = self.types.with_defaults(&resource.kind, &resource.source);
        let tags = tags(modifiers, at);
        let timeout = modifiers.timeout.clone().unwrap_or_default();
        let id = self.ids.next();
        let made = PutPlan {
            name: put.name.clone(),
            kind: resource.kind.clone(),
            resource: resource.name.clone(),
            source: source.clone(),
            params: put.params.clone(),
            inputs: put.inputs.clone(),
            image: self.types.image(&id, &resource.kind, &tags, self.options.manual)?,
            tags: tags.clone(),
            timeout: timeout.clone(),
            expose_build_created_by: resource.expose_build_created_by,
        };
        self.count()?;
        let made = Plan { id, attempts: Vec::new(), step: PlanStep::Put(Box::new(made)) };
        if put.no_get {
            return Ok(made);
        }
        let get = GetPlan {
            name: put.name.clone(),
            kind: resource.kind.clone(),
            resource: resource.name.clone(),
            source,
            params: put.get_params.clone(),
            version: VersionSource::From(made.id.clone()),
            image: jb_model::plan::TypeImage::default(),
            tags,
            timeout,
        };
        let get = self.add_get(get, self.options.manual)?;
        self.add(PlanStep::OnSuccess { step: Box::new(made), hook: Box::new(get) })
    }

    /// Completes a get with the image for its type.
    fn add_get(&mut self, mut get: GetPlan, skip_interval: bool) -> Result<Plan, PlanError> {
        let id = self.ids.next();
        get.image = self.types.image(&id, &get.kind, &get.tags, skip_interval)?;
        self.count()?;
        Ok(Plan { id, attempts: Vec::new(), step: PlanStep::Get(Box::new(get)) })
    }

    fn task(
        &mut self,
        task: &TaskStep,
        modifiers: &Modifiers,
        at: Place<'a>,
    ) -> Result<Plan, PlanError> {
        self.add(PlanStep::Task(Box::new(TaskPlan {
            name: task.name.clone(),
            privileged: task.privileged,
            hermetic: task.hermetic,
            config_path: task.file.clone(),
            config: task.config.clone(),
            vars: task.vars.clone(),
            limits: task.limits,
            params: task.params.clone(),
            input_mapping: task.input_mapping.clone(),
            output_mapping: task.output_mapping.clone(),
            image_artifact: task.image.clone(),
            tags: tags(modifiers, at),
            timeout: modifiers.timeout.clone().unwrap_or_default(),
            resource_types: self.types.configs().to_vec(),
            check_skip_interval: self.options.manual,
            agent: task.agent.clone(),
        })))
    }

    fn run(
        &mut self,
        run: &RunStep,
        modifiers: &Modifiers,
        at: Place<'a>,
    ) -> Result<Plan, PlanError> {
        let prototype = named(&self.pipeline.prototypes, &run.kind)
            .ok_or_else(|| PlanError::UnknownPrototype(run.kind.clone()))?;
        self.add(PlanStep::Run(Box::new(RunPlan {
            message: run.message.clone(),
            kind: run.kind.clone(),
            object: merged(&prototype.defaults, &run.params),
            privileged: run.privileged,
            limits: run.limits,
            tags: tags(modifiers, at),
            timeout: modifiers.timeout.clone().unwrap_or_default(),
        })))
    }

    fn resource(&self, name: &str) -> Result<&'a ResourceConfig, PlanError> {
        let resource = self.pipeline.resources.iter().find(|resource| resource.name == name);
        resource.ok_or_else(|| PlanError::UnknownResource(name.to_owned()))
    }

    fn add(&mut self, step: PlanStep) -> Result<Plan, PlanError> {
        self.count()?;
        Ok(self.ids.plan(step))
    }

    fn count(&mut self) -> Result<(), PlanError> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(PlanError::TooManySteps { limit: MAX_STEPS });
        }
        Ok(())
    }
}

/// A leaf's own tags, or those around it: the nearest that are not empty replace all others.
fn tags(modifiers: &Modifiers, at: Place<'_>) -> Vec<String> {
    if modifiers.tags.is_empty() { at.tags.to_vec() } else { modifiers.tags.clone() }
}

/// `over` on top of `under`, key by key at the first level only.
fn merged(under: &Object, over: &Object) -> Object {
    let mut merged = under.clone();
    merged.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
    merged
}

fn named<'a>(types: &'a [ResourceTypeConfig], name: &str) -> Option<&'a ResourceTypeConfig> {
    types.iter().find(|candidate| candidate.name == name)
}

#[cfg(test)]
mod tests;
