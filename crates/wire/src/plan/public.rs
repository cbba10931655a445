//! The public form: the tree that the API shows for a build, and that events carry.
//!
//! It can be read back into a plan, which then lacks what is not public; writing that one gives the same form again.

use jb_model::config::{AcrossVar, LoadVarStep, MaxInFlight, SetPipelineStep};
use jb_model::plan::{
    AcrossPlan, CheckPlan, GetPlan, PutPlan, RunPlan, TaskPlan, TypeImage, VersionSource,
};
use jb_model::{ArtifactId, Object, Plan, PlanId, PlanStep, Value, Version};
use serde::{Deserialize, Serialize};

use super::{PlanJsonError, is_default, nullable, only};

/// The answer to "what is this build's plan".
#[derive(Clone, Debug, Serialize)]
pub struct PublicBuildPlan {
    schema: &'static str,
    plan: PublicPlan,
}

impl PublicBuildPlan {
    pub fn new(plan: &Plan) -> Self {
        Self { schema: "exec.v2", plan: PublicPlan::from(plan) }
    }
}

/// A node of a public plan; at most one of the step fields is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicPlan {
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_parallel: Option<InParallel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    across: Option<Across>,
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    sequence: Option<Vec<Self>>,
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
    load_var: Option<LoadVar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_abort: Option<OnAbort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_error: Option<OnError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ensure: Option<Ensure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_success: Option<OnSuccess>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_failure: Option<OnFailure>,
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    attempt: Option<Try>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<Timeout>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Vec<Self>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_input: Option<ArtifactInput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_output: Option<ArtifactOutput>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct InParallel {
    #[serde(deserialize_with = "nullable")]
    steps: Vec<PublicPlan>,
    #[serde(default, skip_serializing_if = "is_default")]
    limit: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    fail_fast: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Across {
    #[serde(deserialize_with = "nullable")]
    vars: Vec<Named>,
    #[serde(default, skip_serializing_if = "is_default")]
    fail_fast: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Get {
    name: String,
    r#type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_get_plan: Option<Box<PublicPlan>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_check_plan: Option<Box<PublicPlan>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Put {
    name: String,
    r#type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_get_plan: Option<Box<PublicPlan>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_check_plan: Option<Box<PublicPlan>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Check {
    name: String,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_get_plan: Option<Box<PublicPlan>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_check_plan: Option<Box<PublicPlan>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Task {
    name: String,
    privileged: bool,
    hermetic: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Run {
    message: String,
    r#type: String,
    privileged: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct SetPipeline {
    name: String,
    team: String,
    /// `null` when there are none.
    instance_vars: Option<Object>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LoadVar {
    name: String,
}

/// Hooks differ only in the key of the hook.
macro_rules! hooked {
    ($($name:ident $key:ident),*) => {$(
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        struct $name {
            step: Box<PublicPlan>,
            $key: Box<PublicPlan>,
        }

        impl $name {
            fn of(step: &Plan, hook: &Plan) -> Self {
                Self { step: boxed(step), $key: boxed(hook) }
            }

            fn into_plans(self) -> Result<(Box<Plan>, Box<Plan>), PlanJsonError> {
                Ok((unboxed(self.step)?, unboxed(self.$key)?))
            }
        }
    )*};
}

hooked! { OnSuccess on_success, OnFailure on_failure, OnAbort on_abort, OnError on_error, Ensure ensure }

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Try {
    step: Box<PublicPlan>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Timeout {
    step: Box<PublicPlan>,
    duration: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ArtifactInput {
    artifact_id: i64,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ArtifactOutput {
    name: String,
}

fn boxed(plan: &Plan) -> Box<PublicPlan> {
    Box::new(PublicPlan::from(plan))
}

fn unboxed(plan: Box<PublicPlan>) -> Result<Box<Plan>, PlanJsonError> {
    plan.into_plan().map(Box::new)
}

fn list(plans: &[Plan]) -> Vec<PublicPlan> {
    plans.iter().map(PublicPlan::from).collect()
}

fn unlist(plans: Vec<PublicPlan>) -> Result<Vec<Plan>, PlanJsonError> {
    plans.into_iter().map(PublicPlan::into_plan).collect()
}

fn image(plan: &Option<Box<Plan>>) -> Option<Box<PublicPlan>> {
    plan.as_deref().map(boxed)
}

fn type_image(
    get: Option<Box<PublicPlan>>,
    check: Option<Box<PublicPlan>>,
) -> Result<TypeImage, PlanJsonError> {
    Ok(TypeImage {
        get: get.map(unboxed).transpose()?,
        check: check.map(unboxed).transpose()?,
        ..TypeImage::default()
    })
}

impl From<&Plan> for PublicPlan {
    fn from(plan: &Plan) -> Self {
        let mut public = Self { id: plan.id.0.clone(), ..Self::default() };
        match &plan.step {
            PlanStep::Get(get) => public.get = Some(Box::new(Get::of(get))),
            PlanStep::Put(put) => public.put = Some(Box::new(Put::of(put))),
            PlanStep::Check(check) => public.check = Some(Box::new(Check::of(check))),
            PlanStep::Task(task) => {
                let TaskPlan { name, privileged, hermetic, .. } = task.as_ref();
                let (privileged, hermetic) = (*privileged, *hermetic);
                public.task = Some(Box::new(Task { name: name.clone(), privileged, hermetic }));
            }
            PlanStep::Run(run) => {
                let (message, r#type) = (run.message.clone(), run.kind.clone());
                public.run = Some(Box::new(Run { message, r#type, privileged: run.privileged }));
            }
            // As its second spelling is shown: clients that know no approvals know that.
            PlanStep::Approve(approve) => {
                let (message, r#type) = (approve.step.name.clone(), "approval".to_owned());
                public.run = Some(Box::new(Run { message, r#type, privileged: false }));
            }
            PlanStep::SetPipeline(set) => {
                let instance_vars = set.instance_vars.clone();
                public.set_pipeline = Some(Box::new(SetPipeline {
                    name: set.name.clone(),
                    team: set.team.clone(),
                    instance_vars: Some(instance_vars).filter(|vars| !vars.is_empty()),
                }));
            }
            PlanStep::LoadVar(load) => {
                public.load_var = Some(LoadVar { name: load.name.clone() });
            }
            PlanStep::Do(steps) => public.sequence = Some(list(steps)),
            PlanStep::Retry(steps) => public.retry = Some(list(steps)),
            PlanStep::InParallel { steps, limit, fail_fast } => {
                let (limit, fail_fast) = (*limit, *fail_fast);
                public.in_parallel = Some(InParallel { steps: list(steps), limit, fail_fast });
            }
            PlanStep::Across(across) => {
                let vars = across.vars.iter().map(|var| Named { name: var.var.clone() }).collect();
                public.across = Some(Across { vars, fail_fast: across.fail_fast });
            }
            PlanStep::OnSuccess { step, hook } => {
                public.on_success = Some(OnSuccess::of(step, hook));
            }
            PlanStep::OnFailure { step, hook } => {
                public.on_failure = Some(OnFailure::of(step, hook));
            }
            PlanStep::OnError { step, hook } => public.on_error = Some(OnError::of(step, hook)),
            PlanStep::OnAbort { step, hook } => public.on_abort = Some(OnAbort::of(step, hook)),
            PlanStep::Ensure { step, hook } => public.ensure = Some(Ensure::of(step, hook)),
            PlanStep::Try(step) => public.attempt = Some(Try { step: boxed(step) }),
            PlanStep::Timeout { step, duration } => {
                public.timeout = Some(Timeout { step: boxed(step), duration: duration.clone() });
            }
            PlanStep::ArtifactInput { artifact, name } => {
                let (artifact_id, name) = (artifact.0, name.clone());
                public.artifact_input = Some(ArtifactInput { artifact_id, name });
            }
            PlanStep::ArtifactOutput { name } => {
                public.artifact_output = Some(ArtifactOutput { name: name.clone() });
            }
        }
        public
    }
}

impl PublicPlan {
    /// Reads the form back. The plan lacks what is not public: sources, params, tags, templates.
    ///
    /// # Errors
    /// When a node does not hold exactly one known step.
    pub fn into_plan(self) -> Result<Plan, PlanJsonError> {
        let id = self.id;
        let mut steps = Vec::new();
        if let Some(get) = self.get {
            steps.push(PlanStep::Get(Box::new(get.into_plan()?)));
        }
        if let Some(put) = self.put {
            steps.push(PlanStep::Put(Box::new(put.into_plan()?)));
        }
        if let Some(check) = self.check {
            steps.push(PlanStep::Check(Box::new(check.into_plan()?)));
        }
        steps.extend(self.task.map(|task| PlanStep::Task(Box::new(task.into_plan()))));
        steps.extend(self.run.map(|run| PlanStep::Run(Box::new(run.into_plan()))));
        steps.extend(self.set_pipeline.map(|set| {
            let SetPipeline { name, team, instance_vars } = *set;
            let instance_vars = instance_vars.unwrap_or_default();
            let step = SetPipelineStep { name, team, instance_vars, ..SetPipelineStep::default() };
            PlanStep::SetPipeline(Box::new(step))
        }));
        steps.extend(self.load_var.map(|LoadVar { name }| {
            PlanStep::LoadVar(Box::new(LoadVarStep { name, ..LoadVarStep::default() }))
        }));
        if let Some(sequence) = self.sequence {
            steps.push(PlanStep::Do(unlist(sequence)?));
        }
        if let Some(InParallel { steps: parallel, limit, fail_fast }) = self.in_parallel {
            steps.push(PlanStep::InParallel { steps: unlist(parallel)?, limit, fail_fast });
        }
        steps.extend(self.across.map(|across| PlanStep::Across(Box::new(across.into_plan()))));
        if let Some((step, hook)) = self.on_success.map(OnSuccess::into_plans).transpose()? {
            steps.push(PlanStep::OnSuccess { step, hook });
        }
        if let Some((step, hook)) = self.on_failure.map(OnFailure::into_plans).transpose()? {
            steps.push(PlanStep::OnFailure { step, hook });
        }
        if let Some((step, hook)) = self.on_abort.map(OnAbort::into_plans).transpose()? {
            steps.push(PlanStep::OnAbort { step, hook });
        }
        if let Some((step, hook)) = self.on_error.map(OnError::into_plans).transpose()? {
            steps.push(PlanStep::OnError { step, hook });
        }
        if let Some((step, hook)) = self.ensure.map(Ensure::into_plans).transpose()? {
            steps.push(PlanStep::Ensure { step, hook });
        }
        if let Some(Try { step }) = self.attempt {
            steps.push(PlanStep::Try(unboxed(step)?));
        }
        if let Some(Timeout { step, duration }) = self.timeout {
            steps.push(PlanStep::Timeout { step: unboxed(step)?, duration });
        }
        if let Some(retry) = self.retry {
            steps.push(PlanStep::Retry(unlist(retry)?));
        }
        steps.extend(self.artifact_input.map(|ArtifactInput { artifact_id, name }| {
            PlanStep::ArtifactInput { artifact: ArtifactId(artifact_id), name }
        }));
        let output = self.artifact_output;
        steps.extend(output.map(|ArtifactOutput { name }| PlanStep::ArtifactOutput { name }));

        only(PlanId(id), Vec::new(), steps)
    }
}

impl Get {
    fn of(get: &GetPlan) -> Self {
        Self {
            name: get.name.clone(),
            r#type: get.kind.clone(),
            resource: get.resource.clone(),
            version: match &get.version {
                VersionSource::Fixed(version) => Some(version.clone()),
                VersionSource::From(_) => None,
            },
            image_get_plan: image(&get.image.get),
            image_check_plan: image(&get.image.check),
        }
    }

    fn into_plan(self) -> Result<GetPlan, PlanJsonError> {
        // Whose version an unfixed get takes is not public.
        let unknown = || VersionSource::From(PlanId(String::new()));
        Ok(GetPlan {
            name: self.name,
            kind: self.r#type,
            resource: self.resource,
            source: Object::new(),
            params: Object::new(),
            version: self.version.map_or_else(unknown, VersionSource::Fixed),
            image: type_image(self.image_get_plan, self.image_check_plan)?,
            tags: Vec::new(),
            timeout: String::new(),
        })
    }
}

impl Put {
    fn of(put: &PutPlan) -> Self {
        Self {
            name: put.name.clone(),
            r#type: put.kind.clone(),
            resource: put.resource.clone(),
            image_get_plan: image(&put.image.get),
            image_check_plan: image(&put.image.check),
        }
    }

    fn into_plan(self) -> Result<PutPlan, PlanJsonError> {
        Ok(PutPlan {
            name: self.name,
            kind: self.r#type,
            resource: self.resource,
            source: Object::new(),
            params: Object::new(),
            inputs: jb_model::config::PutInputs::default(),
            image: type_image(self.image_get_plan, self.image_check_plan)?,
            tags: Vec::new(),
            timeout: String::new(),
            expose_build_created_by: false,
        })
    }
}

impl Check {
    fn of(check: &CheckPlan) -> Self {
        Self {
            name: check.name.clone(),
            r#type: check.kind.clone(),
            image_get_plan: image(&check.image.get),
            image_check_plan: image(&check.image.check),
        }
    }

    fn into_plan(self) -> Result<CheckPlan, PlanJsonError> {
        Ok(CheckPlan {
            name: self.name,
            kind: self.r#type,
            source: Object::new(),
            from_version: None,
            resource: String::new(),
            resource_type: String::new(),
            prototype: String::new(),
            interval: String::new(),
            skip_interval: false,
            timeout: String::new(),
            image: type_image(self.image_get_plan, self.image_check_plan)?,
            tags: Vec::new(),
        })
    }
}

impl Task {
    fn into_plan(self) -> TaskPlan {
        TaskPlan {
            name: self.name,
            privileged: self.privileged,
            hermetic: self.hermetic,
            config_path: String::new(),
            config: None,
            vars: Object::new(),
            limits: None,
            params: Object::new(),
            input_mapping: std::collections::BTreeMap::new(),
            output_mapping: std::collections::BTreeMap::new(),
            image_artifact: String::new(),
            tags: Vec::new(),
            timeout: String::new(),
            resource_types: Vec::new(),
            check_skip_interval: false,
            agent: None,
        }
    }
}

impl Run {
    fn into_plan(self) -> RunPlan {
        RunPlan {
            message: self.message,
            kind: self.r#type,
            object: Object::new(),
            privileged: self.privileged,
            limits: None,
            tags: Vec::new(),
            timeout: String::new(),
        }
    }
}

impl Across {
    fn into_plan(self) -> AcrossPlan {
        let var = |Named { name }| AcrossVar {
            var: name,
            values: Value::Null,
            max_in_flight: MaxInFlight::Limit(1),
        };
        AcrossPlan {
            vars: self.vars.into_iter().map(var).collect(),
            fail_fast: self.fail_fast,
            // The template is not public.
            template: Plan {
                id: PlanId(String::new()),
                attempts: Vec::new(),
                step: PlanStep::Do(Vec::new()),
            },
        }
    }
}
