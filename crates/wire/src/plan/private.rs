//! The private form: everything a build needs. Clients choose the ids of what they post; they are kept.

use std::collections::BTreeMap;

use jb_model::config::{LoadVarStep, SetPipelineStep};
use jb_model::plan::{
    AcrossPlan, CheckPlan, GetPlan, PutPlan, RunPlan, TaskPlan, TypeImage, VersionSource,
};
use jb_model::{ArtifactId, Object, Plan, PlanId, PlanStep, Version};
use serde::{Deserialize, Deserializer, Serialize};

use super::agent::AgentJson;
use super::config::{AcrossVarJson, LimitsJson, PutInputsJson, ResourceTypeJson, TaskConfigJson};
use super::{PlanJsonError, is_default, nullable};

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
struct Image {
    #[serde(skip_serializing_if = "Option::is_none")]
    check_plan: Option<Box<Node>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    get_plan: Option<Box<Node>>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    base_type: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    privileged: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Get {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(deserialize_with = "nullable")]
    source: Object,
    #[serde(deserialize_with = "nullable")]
    image: Image,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_from: Option<String>,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    params: Object,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    resource: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    timeout: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Put {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(deserialize_with = "nullable")]
    source: Object,
    #[serde(deserialize_with = "nullable")]
    image: Image,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    params: Object,
    #[serde(skip_serializing_if = "is_default")]
    inputs: PutInputsJson,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    resource: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    timeout: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    expose_build_created_by: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Check {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(deserialize_with = "nullable")]
    source: Object,
    #[serde(deserialize_with = "nullable")]
    image: Image,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_version: Option<Version>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    resource_type: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    prototype: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    interval: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    skip_interval: bool,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    timeout: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Task {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    privileged: bool,
    #[serde(deserialize_with = "nullable")]
    hermetic: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    config_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<TaskConfigJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_limits: Option<LimitsJson>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    image: String,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    vars: Object,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    params: Object,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    input_mapping: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    output_mapping: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    timeout: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    resource_types: Vec<ResourceTypeJson>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    check_skip_interval: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Box<AgentJson>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Run {
    #[serde(deserialize_with = "nullable")]
    message: String,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    object: Object,
    #[serde(deserialize_with = "nullable")]
    privileged: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_limits: Option<LimitsJson>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    timeout: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SetPipeline {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    file: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    team: String,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    vars: Object,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    var_files: Vec<String>,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    instance_vars: Object,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct LoadVar {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    file: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    format: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    reveal: bool,
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

        let mut steps = steps.into_iter();
        match (steps.next(), steps.next()) {
            (Some(step), None) => Ok(Plan { id: PlanId(id), attempts: self.attempts, step }),
            (None, _) => Err(PlanJsonError::NoStep(id)),
            (Some(_), Some(_)) => Err(PlanJsonError::ManySteps(id)),
        }
    }
}

impl Image {
    fn of(image: &TypeImage) -> Result<Self, serde_json::Error> {
        let node = |plan: &Option<Box<Plan>>| {
            plan.as_deref().map(|plan| Node::of(plan).map(Box::new)).transpose()
        };
        Ok(Self {
            check_plan: node(&image.check)?,
            get_plan: node(&image.get)?,
            base_type: image.base_type.clone(),
            privileged: image.privileged,
        })
    }

    fn into_image(self, depth: usize) -> Result<TypeImage, PlanJsonError> {
        let plan = |node: Option<Box<Node>>| {
            node.map(|node| node.into_plan(depth).map(Box::new)).transpose()
        };
        Ok(TypeImage {
            base_type: self.base_type,
            privileged: self.privileged,
            check: plan(self.check_plan)?,
            get: plan(self.get_plan)?,
        })
    }
}

impl Get {
    fn of(get: &GetPlan) -> Result<Self, serde_json::Error> {
        let (version, version_from) = match &get.version {
            VersionSource::Fixed(version) => (Some(version.clone()), None),
            VersionSource::From(id) => (None, Some(id.0.clone())),
        };
        Ok(Self {
            name: get.name.clone(),
            r#type: get.kind.clone(),
            source: get.source.clone(),
            image: Image::of(&get.image)?,
            version,
            version_from,
            params: get.params.clone(),
            resource: get.resource.clone(),
            tags: get.tags.clone(),
            timeout: get.timeout.clone(),
        })
    }

    fn into_plan(self, depth: usize) -> Result<GetPlan, PlanJsonError> {
        Ok(GetPlan {
            name: self.name,
            kind: self.r#type,
            resource: self.resource,
            source: self.source,
            params: self.params,
            version: match (self.version, self.version_from) {
                (None, Some(id)) => VersionSource::From(PlanId(id)),
                (version, _) => VersionSource::Fixed(version.unwrap_or_default()),
            },
            image: self.image.into_image(depth)?,
            tags: self.tags,
            timeout: self.timeout,
        })
    }
}

impl Put {
    fn of(put: &PutPlan) -> Result<Self, serde_json::Error> {
        Ok(Self {
            name: put.name.clone(),
            r#type: put.kind.clone(),
            source: put.source.clone(),
            image: Image::of(&put.image)?,
            params: put.params.clone(),
            inputs: PutInputsJson(put.inputs.clone()),
            resource: put.resource.clone(),
            tags: put.tags.clone(),
            timeout: put.timeout.clone(),
            expose_build_created_by: put.expose_build_created_by,
        })
    }

    fn into_plan(self, depth: usize) -> Result<PutPlan, PlanJsonError> {
        Ok(PutPlan {
            name: self.name,
            kind: self.r#type,
            resource: self.resource,
            source: self.source,
            params: self.params,
            inputs: self.inputs.0,
            image: self.image.into_image(depth)?,
            tags: self.tags,
            timeout: self.timeout,
            expose_build_created_by: self.expose_build_created_by,
        })
    }
}

impl Check {
    fn of(check: &CheckPlan) -> Result<Self, serde_json::Error> {
        Ok(Self {
            name: check.name.clone(),
            r#type: check.kind.clone(),
            source: check.source.clone(),
            image: Image::of(&check.image)?,
            from_version: check.from_version.clone(),
            resource: check.resource.clone(),
            resource_type: check.resource_type.clone(),
            prototype: check.prototype.clone(),
            interval: check.interval.clone(),
            skip_interval: check.skip_interval,
            timeout: check.timeout.clone(),
            tags: check.tags.clone(),
        })
    }

    fn into_plan(self, depth: usize) -> Result<CheckPlan, PlanJsonError> {
        Ok(CheckPlan {
            name: self.name,
            kind: self.r#type,
            source: self.source,
            from_version: self.from_version,
            resource: self.resource,
            resource_type: self.resource_type,
            prototype: self.prototype,
            interval: self.interval,
            skip_interval: self.skip_interval,
            timeout: self.timeout,
            image: self.image.into_image(depth)?,
            tags: self.tags,
        })
    }
}

impl Task {
    fn of(task: &TaskPlan) -> Self {
        Self {
            name: task.name.clone(),
            privileged: task.privileged,
            hermetic: task.hermetic,
            tags: task.tags.clone(),
            config_path: task.config_path.clone(),
            config: task.config.clone().map(TaskConfigJson::from),
            container_limits: task.limits.map(LimitsJson::from),
            image: task.image_artifact.clone(),
            vars: task.vars.clone(),
            params: task.params.clone(),
            input_mapping: task.input_mapping.clone(),
            output_mapping: task.output_mapping.clone(),
            timeout: task.timeout.clone(),
            resource_types: task
                .resource_types
                .iter()
                .cloned()
                .map(ResourceTypeJson::from)
                .collect(),
            check_skip_interval: task.check_skip_interval,
            agent: task.agent.as_deref().map(AgentJson::of).map(Box::new),
        }
    }

    fn into_plan(self) -> Result<TaskPlan, PlanJsonError> {
        Ok(TaskPlan {
            name: self.name,
            privileged: self.privileged,
            hermetic: self.hermetic,
            config_path: self.config_path,
            config: self.config.map(Into::into),
            vars: self.vars,
            limits: self.container_limits.map(Into::into),
            params: self.params,
            input_mapping: self.input_mapping,
            output_mapping: self.output_mapping,
            image_artifact: self.image,
            tags: self.tags,
            timeout: self.timeout,
            resource_types: self.resource_types.into_iter().map(Into::into).collect(),
            check_skip_interval: self.check_skip_interval,
            agent: self.agent.map(|agent| agent.into_agent()).transpose()?.map(Box::new),
        })
    }
}

impl Run {
    fn of(run: &RunPlan) -> Self {
        Self {
            message: run.message.clone(),
            r#type: run.kind.clone(),
            object: run.object.clone(),
            privileged: run.privileged,
            tags: run.tags.clone(),
            container_limits: run.limits.map(LimitsJson::from),
            timeout: run.timeout.clone(),
        }
    }

    fn into_plan(self) -> RunPlan {
        RunPlan {
            message: self.message,
            kind: self.r#type,
            object: self.object,
            privileged: self.privileged,
            limits: self.container_limits.map(Into::into),
            tags: self.tags,
            timeout: self.timeout,
        }
    }
}

impl SetPipeline {
    fn of(set: &SetPipelineStep) -> Self {
        let SetPipelineStep { name, file, team, vars, var_files, instance_vars } = set.clone();
        Self { name, file, team, vars, var_files, instance_vars }
    }

    fn into_step(self) -> SetPipelineStep {
        let Self { name, file, team, vars, var_files, instance_vars } = self;
        SetPipelineStep { name, file, team, vars, var_files, instance_vars }
    }
}

impl LoadVar {
    fn of(load: &LoadVarStep) -> Self {
        let LoadVarStep { name, file, format, reveal } = load.clone();
        Self { name, file, format, reveal }
    }

    fn into_step(self) -> LoadVarStep {
        let Self { name, file, format, reveal } = self;
        LoadVarStep { name, file, format, reveal }
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
