//! Pipeline and task configuration as the language means it, after parsing and before planning.
//!
//! Durations stay as written: they may hold `((vars))` until a build resolves them.

use crate::agent::AgentConfig;
use crate::approval::ApproveStep;
use crate::value::{Object, Value, Version};

/// A whole pipeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PipelineConfig {
    pub groups: Vec<GroupConfig>,
    pub var_sources: Vec<VarSourceConfig>,
    pub resources: Vec<ResourceConfig>,
    pub resource_types: Vec<ResourceTypeConfig>,
    pub prototypes: Vec<ResourceTypeConfig>,
    pub jobs: Vec<JobConfig>,
    pub display: Option<DisplayConfig>,
    /// Free-form data of the user's, shown with the pipeline and otherwise ignored.
    pub user_data: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupConfig {
    pub name: String,
    /// Job names or globs.
    pub jobs: Vec<String>,
    pub resources: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct VarSourceConfig {
    pub name: String,
    pub kind: String,
    pub config: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DisplayConfig {
    pub background_image: String,
    pub background_filter: String,
}

/// How often something is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CheckEvery {
    #[default]
    Default,
    Never,
    Every(std::time::Duration),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceConfig {
    pub name: String,
    pub old_name: String,
    pub public: bool,
    pub webhook_token: String,
    pub kind: String,
    pub source: Object,
    pub check_every: CheckEvery,
    /// As written, e.g. `10m`; empty means the server's default.
    pub check_timeout: String,
    pub tags: Vec<String>,
    /// A version pinned in the file; may be partial.
    pub version: Option<Version>,
    pub icon: String,
    pub expose_build_created_by: bool,
}

/// A resource type, or a prototype, which has the same shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceTypeConfig {
    pub name: String,
    pub kind: String,
    pub source: Object,
    pub defaults: Object,
    pub privileged: bool,
    pub check_every: CheckEvery,
    pub tags: Vec<String>,
    pub params: Object,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobConfig {
    pub name: String,
    pub old_name: String,
    pub public: bool,
    pub disable_manual_trigger: bool,
    pub disable_reruns: bool,
    pub serial: bool,
    pub serial_groups: Vec<String>,
    pub interruptible: bool,
    /// 0 means no limit of its own; see [`JobConfig::max_in_flight`].
    pub raw_max_in_flight: u32,
    pub build_logs_to_retain: u32,
    pub build_log_retention: Option<LogRetention>,
    pub tags: Vec<String>,
    pub on_success: Option<Box<Step>>,
    pub on_failure: Option<Box<Step>>,
    pub on_error: Option<Box<Step>>,
    pub on_abort: Option<Box<Step>>,
    pub ensure: Option<Box<Step>>,
    pub plan: Vec<Step>,
}

impl JobConfig {
    /// How many builds of this job may run at once: 1 if serial in any way, else the file's number, 0 for no limit.
    pub fn max_in_flight(&self) -> u32 {
        if self.serial || !self.serial_groups.is_empty() { 1 } else { self.raw_max_in_flight }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRetention {
    pub builds: u32,
    pub minimum_succeeded_builds: u32,
    pub days: u32,
}

/// A step with its modifiers, outermost last: `across` wraps `attempts` wraps ... as the planner documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub kind: StepKind,
    pub modifiers: Modifiers,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modifiers {
    pub tags: Vec<String>,
    pub attempts: Option<u32>,
    /// As written, for every kind of step (a field of get/put/task/run, a wrapper elsewhere).
    pub timeout: Option<String>,
    pub across: Option<Across>,
    pub on_success: Option<Box<Step>>,
    pub on_failure: Option<Box<Step>>,
    pub on_error: Option<Box<Step>>,
    pub on_abort: Option<Box<Step>>,
    pub ensure: Option<Box<Step>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Across {
    pub vars: Vec<AcrossVar>,
    pub fail_fast: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AcrossVar {
    pub var: String,
    /// A list, or a string holding a var that becomes one.
    pub values: Value,
    pub max_in_flight: MaxInFlight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxInFlight {
    All,
    Limit(u32),
}

#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    Get(GetStep),
    Put(PutStep),
    Task(Box<TaskStep>),
    Run(RunStep),
    SetPipeline(SetPipelineStep),
    LoadVar(LoadVarStep),
    Approve(ApproveStep),
    Try(Box<Step>),
    Do(Vec<Step>),
    InParallel { steps: Vec<Step>, limit: u32, fail_fast: bool },
}

/// Which versions a `get` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VersionChoice {
    #[default]
    Latest,
    Every,
    Pinned(Version),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct GetStep {
    pub name: String,
    /// Empty means `name`.
    pub resource: String,
    pub version: VersionChoice,
    pub params: Object,
    pub passed: Vec<String>,
    pub trigger: bool,
}

impl GetStep {
    pub fn resource_name(&self) -> &str {
        if self.resource.is_empty() { &self.name } else { &self.resource }
    }
}

/// Which artifacts a `put` sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PutInputs {
    #[default]
    Detect,
    All,
    Only(Vec<String>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutStep {
    pub name: String,
    pub resource: String,
    pub params: Object,
    pub inputs: PutInputs,
    pub get_params: Object,
    pub no_get: bool,
}

impl PutStep {
    pub fn resource_name(&self) -> &str {
        if self.resource.is_empty() { &self.name } else { &self.resource }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskStep {
    pub name: String,
    pub privileged: bool,
    pub hermetic: bool,
    pub file: String,
    pub config: Option<TaskConfig>,
    pub limits: Option<ContainerLimits>,
    pub params: Object,
    pub vars: Object,
    pub input_mapping: std::collections::BTreeMap<String, String>,
    pub output_mapping: std::collections::BTreeMap<String, String>,
    /// Name of the artifact to use as the image.
    pub image: String,
    /// Makes it an agent step: the container runs an agent instead of the configuration's `run`.
    pub agent: Option<Box<AgentConfig>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunStep {
    pub message: String,
    pub kind: String,
    pub params: Object,
    pub privileged: bool,
    pub limits: Option<ContainerLimits>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetPipelineStep {
    pub name: String,
    pub file: String,
    pub team: String,
    pub vars: Object,
    pub var_files: Vec<String>,
    pub instance_vars: Object,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadVarStep {
    pub name: String,
    pub file: String,
    /// `json`, `yml`, `yaml`, `trim`, `raw` or empty for "by extension".
    pub format: String,
    pub reveal: bool,
}

/// CPU shares and memory bytes; `None` means the server's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerLimits {
    pub cpu_shares: Option<u64>,
    pub memory_bytes: Option<u64>,
}

/// A task file, or a task step's `config`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskConfig {
    pub platform: String,
    pub rootfs_uri: String,
    pub image_resource: Option<ImageResource>,
    pub limits: Option<ContainerLimits>,
    /// Environment; values are text by the time a task runs.
    pub params: std::collections::BTreeMap<String, String>,
    pub run: TaskRun,
    pub inputs: Vec<TaskInput>,
    pub outputs: Vec<TaskOutput>,
    pub caches: Vec<TaskCache>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageResource {
    pub name: String,
    pub kind: String,
    pub source: Object,
    pub version: Option<Version>,
    pub params: Object,
    pub tags: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskRun {
    /// Empty means the image's entrypoint.
    pub path: String,
    pub args: Vec<String>,
    pub dir: String,
    pub user: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskInput {
    pub name: String,
    pub path: String,
    pub optional: bool,
}

impl TaskInput {
    pub fn resolved_path(&self) -> &str {
        if self.path.is_empty() { &self.name } else { &self.path }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskOutput {
    pub name: String,
    pub path: String,
}

impl TaskOutput {
    pub fn resolved_path(&self) -> &str {
        if self.path.is_empty() { &self.name } else { &self.path }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskCache {
    pub path: String,
    /// As written; empty means no expiry of its own.
    pub ttl: String,
}
