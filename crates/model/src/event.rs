//! What a build says while it runs: the 24 event types that clients parse. Their JSON is in `jb-wire`.

use crate::id::{PlanId, Timestamp};
use crate::plan::Plan;
use crate::status::BuildStatus;
use crate::value::{Metadata, Value, Version};

/// Which stream a log chunk came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    Stdout,
    Stderr,
}

/// The part of a task's configuration that start events show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskSummary {
    pub platform: String,
    pub image: String,
    pub path: String,
    pub args: Vec<String>,
    pub dir: String,
    /// Name and path, the path empty unless given.
    pub inputs: Vec<(String, String)>,
}

/// One event of a build's stream. `origin` is the plan node that speaks.
#[derive(Clone, Debug, PartialEq)]
pub enum BuildEvent {
    Status {
        status: BuildStatus,
        time: Timestamp,
    },
    Log {
        origin: PlanId,
        source: LogSource,
        time: Timestamp,
        payload: String,
    },
    Error {
        origin: PlanId,
        message: String,
        time: Timestamp,
    },
    InitializeTask {
        origin: PlanId,
        time: Timestamp,
        config: TaskSummary,
    },
    StartTask {
        origin: PlanId,
        time: Timestamp,
        config: TaskSummary,
    },
    FinishTask {
        origin: PlanId,
        time: Timestamp,
        exit_status: i32,
    },
    InitializeGet {
        origin: PlanId,
        time: Timestamp,
    },
    StartGet {
        origin: PlanId,
        time: Timestamp,
    },
    FinishGet {
        origin: PlanId,
        time: Timestamp,
        exit_status: i32,
        version: Option<Version>,
        metadata: Vec<Metadata>,
    },
    InitializePut {
        origin: PlanId,
        time: Timestamp,
    },
    StartPut {
        origin: PlanId,
        time: Timestamp,
    },
    FinishPut {
        origin: PlanId,
        time: Timestamp,
        exit_status: i32,
        version: Option<Version>,
        metadata: Vec<Metadata>,
    },
    InitializeCheck {
        origin: PlanId,
        time: Timestamp,
        name: String,
    },
    /// Generic steps: check, set_pipeline, load_var, across.
    Initialize {
        origin: PlanId,
        time: Timestamp,
    },
    Start {
        origin: PlanId,
        time: Timestamp,
    },
    Finish {
        origin: PlanId,
        time: Timestamp,
        succeeded: bool,
    },
    SetPipelineChanged {
        origin: PlanId,
        changed: bool,
    },
    WaitingForWorker {
        origin: PlanId,
        time: Timestamp,
    },
    SelectedWorker {
        origin: PlanId,
        time: Timestamp,
        worker: String,
    },
    StreamingVolume {
        origin: PlanId,
        time: Timestamp,
        volume: String,
        source_worker: String,
        dest_worker: String,
    },
    WaitingForStreamedVolume {
        origin: PlanId,
        time: Timestamp,
        volume: String,
        dest_worker: String,
    },
    /// The plans are shown in their public form.
    ImageCheck {
        origin: PlanId,
        time: Timestamp,
        plan: Plan,
    },
    ImageGet {
        origin: PlanId,
        time: Timestamp,
        plan: Plan,
    },
    AcrossSubsteps {
        origin: PlanId,
        time: Timestamp,
        substeps: Vec<AcrossSubstep>,
    },
}

/// One combination of an `across` step.
#[derive(Clone, Debug, PartialEq)]
pub struct AcrossSubstep {
    pub plan: Plan,
    pub values: Vec<Value>,
}
