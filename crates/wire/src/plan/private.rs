//! The private form: everything a build needs. Clients choose the ids of what they post; they are kept.

use jb_model::plan::AcrossPlan;
use jb_model::{ArtifactId, Plan, PlanId, PlanStep};
use serde::{Deserialize, Deserializer, Serialize};

use super::approve::Approve;
use super::config::AcrossVarJson;
use super::{PlanJsonError, is_default, nullable, only};
use leaf::{Check, Get, LoadVar, Put, Run, SetPipeline, Task};

mod leaf;

/// Reads a private plan. Unknown fields are ignored.
///
/// # Errors
/// When it is no JSON, a field has another type, or a node does not hold exactly one known step. JSON nested more
/// than 128 deep is refused.
pub fn from_private(json: &str) -> Result<Plan, PlanJsonError> {
    read(json, 0)
}

/// Reads a plan that stands `depth` steps deep in another.
fn read(json: &str, depth: usize) -> Result<Plan, PlanJsonError> {
    serde_json::from_str::<Node>(json)?.into_plan(depth)
}

/// Writes a private plan.
///
/// # Errors
/// Never in practice: all keys are text.
pub fn to_private(plan: &Plan) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Node::of(plan)?)
}

/// Deepest nesting of steps. The JSON reader has a bound of its own, but each `across` template begins anew.
const MAX_DEPTH: usize = 100;

/// One node; exactly one of the step fields is set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Node {
    #[serde(deserialize_with = "nullable")]
    id: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    attempts: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    get: Option<Box<Get>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    put: Option<Box<Put>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Box<Check>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Box<Task>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<Box<Run>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_pipeline: Option<Box<SetPipeline>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_var: Option<Box<LoadVar>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approve: Option<Box<Approve>>,
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    sequence: Option<Vec<Self>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_parallel: Option<Box<InParallel>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    across: Option<Box<Across>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_success: Option<OnSuccess>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_failure: Option<OnFailure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_abort: Option<OnAbort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_error: Option<OnError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ensure: Option<Ensure>,
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    attempt: Option<Try>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<Box<Timeout>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Vec<Self>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_input: Option<ArtifactInput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_output: Option<ArtifactOutput>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct InParallel {
    #[serde(deserialize_with = "nullable")]
    steps: Vec<Node>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "limit")]
    limit: u32,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    fail_fast: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Across {
    #[serde(deserialize_with = "nullable")]
    vars: Vec<AcrossVarJson>,
    /// A plan as JSON text.
    substep_template: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    fail_fast: bool,
}

/// Hooks differ only in the key of the hook.
macro_rules! hooked {
    ($($name:ident $key:ident),*) => {$(
        #[derive(Clone, Debug, Serialize, Deserialize)]
        struct $name {
            step: Box<Node>,
            $key: Box<Node>,
        }

        impl $name {
            fn of(step: &Plan, hook: &Plan) -> Result<Self, serde_json::Error> {
                Ok(Self { step: Box::new(Node::of(step)?), $key: Box::new(Node::of(hook)?) })
            }

            fn into_plans(self, depth: usize) -> Result<(Box<Plan>, Box<Plan>), PlanJsonError> {
                Ok((Box::new(self.step.into_plan(depth)?), Box::new(self.$key.into_plan(depth)?)))
            }
        }
    )*};
}

hooked! { OnSuccess on_success, OnFailure on_failure, OnAbort on_abort, OnError on_error, Ensure ensure }

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Try {
    step: Box<Node>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Timeout {
    step: Box<Node>,
    duration: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ArtifactInput {
    artifact_id: i64,
    #[serde(default)]
    name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ArtifactOutput {
    name: String,
}

/// No limit is written as nothing, zero or a negative number.
fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let limit: Option<i64> = Option::deserialize(deserializer)?;
    Ok(limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(0))
}

fn nodes(plans: &[Plan]) -> Result<Vec<Node>, serde_json::Error> {
    plans.iter().map(Node::of).collect()
}

fn plans(nodes: Vec<Node>, depth: usize) -> Result<Vec<Plan>, PlanJsonError> {
    nodes.into_iter().map(|node| node.into_plan(depth)).collect()
}

impl Node {
    fn of(plan: &Plan) -> Result<Self, serde_json::Error> {
        let mut node =
            Self { id: plan.id.0.clone(), attempts: plan.attempts.clone(), ..Self::default() };
        match &plan.step {
            PlanStep::Get(get) => node.get = Some(Box::new(Get::of(get)?)),
            PlanStep::Put(put) => node.put = Some(Box::new(Put::of(put)?)),
            PlanStep::Check(check) => node.check = Some(Box::new(Check::of(check)?)),
            PlanStep::Task(task) => node.task = Some(Box::new(Task::of(task))),
            PlanStep::Run(run) => node.run = Some(Box::new(Run::of(run))),
            PlanStep::SetPipeline(set) => node.set_pipeline = Some(Box::new(SetPipeline::of(set))),
            PlanStep::LoadVar(load) => node.load_var = Some(Box::new(LoadVar::of(load))),
            PlanStep::Approve(plan) => node.approve = Some(Box::new(Approve::of(plan))),
            PlanStep::Do(steps) => node.sequence = Some(nodes(steps)?),
            PlanStep::Retry(steps) => node.retry = Some(nodes(steps)?),
            PlanStep::InParallel { steps, limit, fail_fast } => {
                let (steps, limit, fail_fast) = (nodes(steps)?, *limit, *fail_fast);
                node.in_parallel = Some(Box::new(InParallel { steps, limit, fail_fast }));
            }
            PlanStep::Across(across) => node.across = Some(Box::new(Across::of(across)?)),
            PlanStep::OnSuccess { step, hook } => {
                node.on_success = Some(OnSuccess::of(step, hook)?)
            }
            PlanStep::OnFailure { step, hook } => {
                node.on_failure = Some(OnFailure::of(step, hook)?)
            }
            PlanStep::OnError { step, hook } => node.on_error = Some(OnError::of(step, hook)?),
            PlanStep::OnAbort { step, hook } => node.on_abort = Some(OnAbort::of(step, hook)?),
            PlanStep::Ensure { step, hook } => node.ensure = Some(Ensure::of(step, hook)?),
            PlanStep::Try(step) => node.attempt = Some(Try { step: Box::new(Self::of(step)?) }),
            PlanStep::Timeout { step, duration } => {
                let (step, duration) = (Box::new(Self::of(step)?), duration.clone());
                node.timeout = Some(Box::new(Timeout { step, duration }));
            }
            PlanStep::ArtifactInput { artifact, name } => {
                node.artifact_input =
                    Some(ArtifactInput { artifact_id: artifact.0, name: name.clone() });
            }
            PlanStep::ArtifactOutput { name } => {
                node.artifact_output = Some(ArtifactOutput { name: name.clone() });
            }
        }
        Ok(node)
    }

    fn into_plan(self, depth: usize) -> Result<Plan, PlanJsonError> {
        let id = self.id;
        if depth > MAX_DEPTH {
            return Err(PlanJsonError::TooDeep(id));
        }
        let depth = depth + 1;
        let mut steps = Vec::new();
        if let Some(get) = self.get {
            steps.push(PlanStep::Get(Box::new(get.into_plan(depth)?)));
        }
        if let Some(put) = self.put {
            steps.push(PlanStep::Put(Box::new(put.into_plan(depth)?)));
        }
        if let Some(check) = self.check {
            steps.push(PlanStep::Check(Box::new(check.into_plan(depth)?)));
        }
        if let Some(task) = self.task {
            steps.push(PlanStep::Task(Box::new((*task).into_plan()?)));
        }
        steps.extend(self.run.map(|run| PlanStep::Run(Box::new(run.into_plan()))));
        steps.extend(self.set_pipeline.map(|set| PlanStep::SetPipeline(Box::new(set.into_step()))));
        steps.extend(self.load_var.map(|load| PlanStep::LoadVar(Box::new(load.into_step()))));
        if let Some(approve) = self.approve {
            steps.push(PlanStep::Approve(Box::new(approve.into_plan()?)));
        }
        if let Some(sequence) = self.sequence {
            steps.push(PlanStep::Do(plans(sequence, depth)?));
        }
        if let Some(in_parallel) = self.in_parallel {
            let InParallel { steps: parallel, limit, fail_fast } = *in_parallel;
            steps.push(PlanStep::InParallel { steps: plans(parallel, depth)?, limit, fail_fast });
        }
        if let Some(across) = self.across {
            steps.push(PlanStep::Across(Box::new(across.into_plan(&id, depth)?)));
        }
        if let Some((step, hook)) = self.on_success.map(|it| it.into_plans(depth)).transpose()? {
            steps.push(PlanStep::OnSuccess { step, hook });
        }
        if let Some((step, hook)) = self.on_failure.map(|it| it.into_plans(depth)).transpose()? {
            steps.push(PlanStep::OnFailure { step, hook });
        }
        if let Some((step, hook)) = self.on_abort.map(|it| it.into_plans(depth)).transpose()? {
            steps.push(PlanStep::OnAbort { step, hook });
        }
        if let Some((step, hook)) = self.on_error.map(|it| it.into_plans(depth)).transpose()? {
            steps.push(PlanStep::OnError { step, hook });
        }
        if let Some((step, hook)) = self.ensure.map(|it| it.into_plans(depth)).transpose()? {
            steps.push(PlanStep::Ensure { step, hook });
        }
        if let Some(attempt) = self.attempt {
            steps.push(PlanStep::Try(Box::new(attempt.step.into_plan(depth)?)));
        }
        if let Some(timeout) = self.timeout {
            let Timeout { step, duration } = *timeout;
            steps.push(PlanStep::Timeout { step: Box::new(step.into_plan(depth)?), duration });
        }
        if let Some(retry) = self.retry {
            steps.push(PlanStep::Retry(plans(retry, depth)?));
        }
        steps.extend(self.artifact_input.map(|ArtifactInput { artifact_id, name }| {
            PlanStep::ArtifactInput { artifact: ArtifactId(artifact_id), name }
        }));
        let output = self.artifact_output;
        steps.extend(output.map(|ArtifactOutput { name }| PlanStep::ArtifactOutput { name }));

        only(PlanId(id), self.attempts, steps)
    }
}

impl Across {
    fn of(across: &AcrossPlan) -> Result<Self, serde_json::Error> {
        Ok(Self {
            vars: across.vars.iter().cloned().map(AcrossVarJson::from).collect(),
            substep_template: to_private(&across.template)?,
            fail_fast: across.fail_fast,
        })
    }

    fn into_plan(self, id: &str, depth: usize) -> Result<AcrossPlan, PlanJsonError> {
        let template = read(&self.substep_template, depth)
            .map_err(|error| PlanJsonError::Template(id.to_owned(), Box::new(error)))?;
        let vars = self.vars.into_iter().map(Into::into).collect();
        Ok(AcrossPlan { vars, fail_fast: self.fail_fast, template })
    }
}
