//! A build's plan: the tree that the build machine walks. Its JSON, private and public, is in `jb-wire`.

use crate::agent::AgentConfig;
use crate::approval::ApprovePlan;
use crate::config::{
    AcrossVar, ContainerLimits, LoadVarStep, PutInputs, ResourceTypeConfig, SetPipelineStep,
    TaskConfig,
};
use crate::id::{ArtifactId, PlanId};
use crate::value::{Object, Version};

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub id: PlanId,
    /// Dotted attempt of the step, e.g. `[2]` or `[1, 3]`; empty outside `attempts`.
    pub attempts: Vec<u32>,
    pub step: PlanStep,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PlanStep {
    Get(Box<GetPlan>),
    Put(Box<PutPlan>),
    Check(Box<CheckPlan>),
    Task(Box<TaskPlan>),
    Run(Box<RunPlan>),
    SetPipeline(Box<SetPipelineStep>),
    LoadVar(Box<LoadVarStep>),
    Approve(Box<ApprovePlan>),
    Do(Vec<Plan>),
    /// Each child is one attempt; the next runs when the one before did not succeed.
    Retry(Vec<Plan>),
    InParallel {
        steps: Vec<Plan>,
        limit: u32,
        fail_fast: bool,
    },
    Across(Box<AcrossPlan>),
    OnSuccess {
        step: Box<Plan>,
        hook: Box<Plan>,
    },
    OnFailure {
        step: Box<Plan>,
        hook: Box<Plan>,
    },
    OnError {
        step: Box<Plan>,
        hook: Box<Plan>,
    },
    OnAbort {
        step: Box<Plan>,
        hook: Box<Plan>,
    },
    Ensure {
        step: Box<Plan>,
        hook: Box<Plan>,
    },
    Try(Box<Plan>),
    /// `timeout` around a step that has no field of its own for it.
    Timeout {
        step: Box<Plan>,
        duration: String,
    },
    ArtifactInput {
        artifact: ArtifactId,
        name: String,
    },
    ArtifactOutput {
        name: String,
    },
}

/// The steps inside a plan, by reference or to change them.
macro_rules! children {
    ($step:expr, $iter:ident) => {
        match $step {
            PlanStep::Do(steps) | PlanStep::Retry(steps) | PlanStep::InParallel { steps, .. } => {
                steps.$iter().collect()
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
            | PlanStep::Approve(_)
            | PlanStep::Across(_)
            | PlanStep::ArtifactInput { .. }
            | PlanStep::ArtifactOutput { .. } => Vec::new(),
        }
    };
}

impl Plan {
    /// The steps inside this one, in the order in which they are numbered: a hook after what it is for.
    /// Neither image plans nor the template of `across` are steps of the tree.
    pub fn children(&self) -> Vec<&Self> {
        children!(&self.step, iter)
    }

    /// Same as [`Plan::children`], to change them.
    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        children!(&mut self.step, iter_mut)
    }
}

/// Where a type's image comes from: check and get plans, or a base type that the worker knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TypeImage {
    /// The base type at the end of the chain.
    pub base_type: String,
    pub privileged: bool,
    pub check: Option<Box<Plan>>,
    pub get: Option<Box<Plan>>,
}

/// Where the version of a `get` comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum VersionSource {
    Fixed(Version),
    /// What that `put` or `check` made.
    From(PlanId),
}

#[derive(Clone, Debug, PartialEq)]
pub struct GetPlan {
    /// The artifact's name.
    pub name: String,
    pub kind: String,
    /// Empty for gets of images.
    pub resource: String,
    pub source: Object,
    pub params: Object,
    pub version: VersionSource,
    pub image: TypeImage,
    pub tags: Vec<String>,
    pub timeout: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PutPlan {
    pub name: String,
    pub kind: String,
    pub resource: String,
    pub source: Object,
    pub params: Object,
    pub inputs: PutInputs,
    pub image: TypeImage,
    pub tags: Vec<String>,
    pub timeout: String,
    pub expose_build_created_by: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CheckPlan {
    pub name: String,
    pub kind: String,
    pub source: Object,
    pub from_version: Option<Version>,
    /// One of these is set when versions are saved to a scope; none for images of tasks.
    pub resource: String,
    pub resource_type: String,
    pub prototype: String,
    /// Go-style duration as written, `never`, or empty.
    pub interval: String,
    pub skip_interval: bool,
    pub timeout: String,
    pub image: TypeImage,
    pub tags: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TaskPlan {
    pub name: String,
    pub privileged: bool,
    pub hermetic: bool,
    /// `artifact/path` of the task file, or empty.
    pub config_path: String,
    pub config: Option<TaskConfig>,
    pub vars: Object,
    pub limits: Option<ContainerLimits>,
    pub params: Object,
    pub input_mapping: std::collections::BTreeMap<String, String>,
    pub output_mapping: std::collections::BTreeMap<String, String>,
    pub image_artifact: String,
    pub tags: Vec<String>,
    pub timeout: String,
    /// The pipeline's types, for planning the image once the task file is read.
    pub resource_types: Vec<ResourceTypeConfig>,
    pub check_skip_interval: bool,
    /// Set for agent steps, whose container runs an agent.
    pub agent: Option<Box<AgentConfig>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RunPlan {
    pub message: String,
    pub kind: String,
    pub object: Object,
    pub privileged: bool,
    pub limits: Option<ContainerLimits>,
    pub tags: Vec<String>,
    pub timeout: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AcrossPlan {
    pub vars: Vec<AcrossVar>,
    pub fail_fast: bool,
    /// The substep; instantiated once per combination with fresh ids `<across id>/<i>/<n>`,
    /// `i` the combination, `n` the depth-first position in the template.
    pub template: Plan,
}
