//! The data of each event. Structs are shared by events of the same shape; field order is that of the stream.

use jb_model::event::{AcrossSubstep, LogSource, TaskSummary};
use jb_model::{BuildEvent, BuildStatus, Metadata, PlanId, Timestamp, Value, Version};
use serde::{Deserialize, Serialize};

use super::EventJsonError;
use crate::api::to_text as json;
use crate::plan::{PublicPlan, is_default, nullable};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Origin {
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
}

#[derive(Serialize, Deserialize)]
struct Status {
    status: String,
    time: i64,
}

#[derive(Serialize, Deserialize)]
struct Log {
    time: i64,
    origin: Origin,
    payload: String,
}

#[derive(Serialize, Deserialize)]
struct Failure {
    message: String,
    origin: Origin,
    #[serde(default)]
    time: i64,
}

#[derive(Serialize, Deserialize)]
struct TaskEvent {
    time: i64,
    origin: Origin,
    config: TaskConfig,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct TaskConfig {
    platform: String,
    image: String,
    run: TaskRun,
    inputs: Option<Vec<TaskInput>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct TaskRun {
    path: String,
    args: Option<Vec<String>>,
    dir: String,
}

#[derive(Serialize, Deserialize)]
struct TaskInput {
    name: String,
    #[serde(default)]
    path: String,
}

#[derive(Serialize, Deserialize)]
struct FinishTask {
    time: i64,
    exit_status: i32,
    origin: Origin,
}

/// The start of something; the time came late to these and is left out when unknown.
#[derive(Serialize, Deserialize)]
struct Begin {
    origin: Origin,
    #[serde(default, skip_serializing_if = "is_default")]
    time: i64,
}

#[derive(Serialize, Deserialize)]
struct BeginNamed {
    origin: Origin,
    #[serde(default, skip_serializing_if = "is_default")]
    time: i64,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct FinishVersioned {
    origin: Origin,
    time: i64,
    exit_status: i32,
    version: Option<Version>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    metadata: Vec<Field>,
}

#[derive(Serialize, Deserialize)]
struct Field {
    name: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
struct Finish {
    origin: Origin,
    time: i64,
    succeeded: bool,
}

#[derive(Serialize, Deserialize)]
struct Changed {
    origin: Origin,
    changed: bool,
}

#[derive(Serialize, Deserialize)]
struct Waiting {
    time: i64,
    origin: Origin,
}

#[derive(Serialize, Deserialize)]
struct SelectedWorker {
    time: i64,
    origin: Origin,
    selected_worker: String,
}

#[derive(Serialize, Deserialize)]
struct StreamingVolume {
    time: i64,
    origin: Origin,
    volume: String,
    source_worker: String,
    dest_worker: String,
}

#[derive(Serialize, Deserialize)]
struct WaitingForVolume {
    time: i64,
    origin: Origin,
    volume: String,
    dest_worker: String,
}

#[derive(Serialize, Deserialize)]
struct Image {
    time: i64,
    origin: Origin,
    plan: PublicPlan,
}

#[derive(Serialize, Deserialize)]
struct Across {
    time: i64,
    origin: Origin,
    #[serde(deserialize_with = "nullable")]
    substeps: Vec<Substep>,
}

#[derive(Serialize, Deserialize)]
struct Substep {
    step: PublicPlan,
    #[serde(deserialize_with = "nullable")]
    values: Vec<Value>,
}

fn at(id: &PlanId) -> Origin {
    Origin { id: id.0.clone(), source: String::new() }
}

fn plan_id(origin: Origin) -> PlanId {
    PlanId(origin.id)
}

fn time(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1_000_000))
}

/// Writes an event's data.
#[expect(clippy::too_many_lines, reason = "one arm for each shape")]
pub(super) fn write(event: &BuildEvent) -> Result<String, serde_json::Error> {
    let to = |seconds: &Timestamp| seconds.unix_seconds();
    match event {
        BuildEvent::Status { status, time } => {
            json(&Status { status: status.to_string(), time: to(time) })
        }
        BuildEvent::Log { origin, source, time, payload } => {
            let source = match source {
                LogSource::Stdout => "stdout",
                LogSource::Stderr => "stderr",
            };
            let origin = Origin { id: origin.0.clone(), source: source.to_owned() };
            json(&Log { time: to(time), origin, payload: payload.clone() })
        }
        BuildEvent::Error { origin, message, time } => {
            json(&Failure { message: message.clone(), origin: at(origin), time: to(time) })
        }
        BuildEvent::InitializeTask { origin, time, config }
        | BuildEvent::StartTask { origin, time, config } => {
            json(&TaskEvent { time: to(time), origin: at(origin), config: TaskConfig::of(config) })
        }
        BuildEvent::FinishTask { origin, time, exit_status } => {
            json(&FinishTask { time: to(time), exit_status: *exit_status, origin: at(origin) })
        }
        BuildEvent::InitializeGet { origin, time }
        | BuildEvent::StartGet { origin, time }
        | BuildEvent::InitializePut { origin, time }
        | BuildEvent::StartPut { origin, time }
        | BuildEvent::Initialize { origin, time }
        | BuildEvent::Start { origin, time } => json(&Begin { origin: at(origin), time: to(time) }),
        BuildEvent::InitializeCheck { origin, time, name } => {
            json(&BeginNamed { origin: at(origin), time: to(time), name: name.clone() })
        }
        BuildEvent::FinishGet { origin, time, exit_status, version, metadata }
        | BuildEvent::FinishPut { origin, time, exit_status, version, metadata } => {
            json(&FinishVersioned {
                origin: at(origin),
                time: to(time),
                exit_status: *exit_status,
                version: version.clone(),
                metadata: metadata
                    .iter()
                    .map(|Metadata { name, value }| Field {
                        name: name.clone(),
                        value: value.clone(),
                    })
                    .collect(),
            })
        }
        BuildEvent::Finish { origin, time, succeeded } => {
            json(&Finish { origin: at(origin), time: to(time), succeeded: *succeeded })
        }
        BuildEvent::SetPipelineChanged { origin, changed } => {
            json(&Changed { origin: at(origin), changed: *changed })
        }
        BuildEvent::WaitingForWorker { origin, time } => {
            json(&Waiting { time: to(time), origin: at(origin) })
        }
        BuildEvent::SelectedWorker { origin, time, worker } => json(&SelectedWorker {
            time: to(time),
            origin: at(origin),
            selected_worker: worker.clone(),
        }),
        BuildEvent::StreamingVolume { origin, time, volume, source_worker, dest_worker } => {
            json(&StreamingVolume {
                time: to(time),
                origin: at(origin),
                volume: volume.clone(),
                source_worker: source_worker.clone(),
                dest_worker: dest_worker.clone(),
            })
        }
        BuildEvent::WaitingForStreamedVolume { origin, time, volume, dest_worker } => {
            json(&WaitingForVolume {
                time: to(time),
                origin: at(origin),
                volume: volume.clone(),
                dest_worker: dest_worker.clone(),
            })
        }
        BuildEvent::ImageCheck { origin, time, plan }
        | BuildEvent::ImageGet { origin, time, plan } => {
            json(&Image { time: to(time), origin: at(origin), plan: PublicPlan::from(plan) })
        }
        BuildEvent::AcrossSubsteps { origin, time, substeps } => json(&Across {
            time: to(time),
            origin: at(origin),
            substeps: substeps
                .iter()
                .map(|AcrossSubstep { plan, values }| Substep {
                    step: PublicPlan::from(plan),
                    values: values.clone(),
                })
                .collect(),
        }),
    }
}

/// Reads the data of the event with that name.
pub(super) fn read(event: &str, json: &str) -> Result<BuildEvent, EventJsonError> {
    Ok(match event {
        "status" => {
            let data: Status = serde_json::from_str(json)?;
            let status: BuildStatus = data.status.parse().map_err(EventJsonError::Status)?;
            BuildEvent::Status { status, time: time(data.time) }
        }
        "log" => {
            let data: Log = serde_json::from_str(json)?;
            let source = match data.origin.source.as_str() {
                "stderr" => LogSource::Stderr,
                _ => LogSource::Stdout,
            };
            let (origin, time) = (plan_id(data.origin), time(data.time));
            BuildEvent::Log { origin, source, time, payload: data.payload }
        }
        "error" => {
            let data: Failure = serde_json::from_str(json)?;
            let (origin, time) = (plan_id(data.origin), time(data.time));
            BuildEvent::Error { origin, message: data.message, time }
        }
        "initialize-task" | "start-task" => {
            let data: TaskEvent = serde_json::from_str(json)?;
            let (origin, time, config) =
                (plan_id(data.origin), time(data.time), data.config.into_summary());
            if event == "start-task" {
                BuildEvent::StartTask { origin, time, config }
            } else {
                BuildEvent::InitializeTask { origin, time, config }
            }
        }
        "finish-task" => {
            let FinishTask { time: seconds, exit_status, origin } = serde_json::from_str(json)?;
            BuildEvent::FinishTask { origin: plan_id(origin), time: time(seconds), exit_status }
        }
        "initialize-get" | "start-get" | "initialize-put" | "start-put" | "initialize"
        | "start" => {
            let data: Begin = serde_json::from_str(json)?;
            let (origin, time) = (plan_id(data.origin), time(data.time));
            match event {
                "initialize-get" => BuildEvent::InitializeGet { origin, time },
                "start-get" => BuildEvent::StartGet { origin, time },
                "initialize-put" => BuildEvent::InitializePut { origin, time },
                "start-put" => BuildEvent::StartPut { origin, time },
                "initialize" => BuildEvent::Initialize { origin, time },
                _ => BuildEvent::Start { origin, time },
            }
        }
        "initialize-check" => {
            let BeginNamed { origin, time: seconds, name } = serde_json::from_str(json)?;
            BuildEvent::InitializeCheck { origin: plan_id(origin), time: time(seconds), name }
        }
        "finish-get" | "finish-put" => {
            let data: FinishVersioned = serde_json::from_str(json)?;
            let (origin, time) = (plan_id(data.origin), time(data.time));
            let FinishVersioned { exit_status, version, .. } = data;
            let metadata = data.metadata.into_iter();
            let metadata = metadata.map(|Field { name, value }| Metadata { name, value }).collect();
            if event == "finish-get" {
                BuildEvent::FinishGet { origin, time, exit_status, version, metadata }
            } else {
                BuildEvent::FinishPut { origin, time, exit_status, version, metadata }
            }
        }
        "finish" => {
            let Finish { origin, time: seconds, succeeded } = serde_json::from_str(json)?;
            BuildEvent::Finish { origin: plan_id(origin), time: time(seconds), succeeded }
        }
        other => return read_placement(other, json),
    })
}

/// Events about pipelines, workers, volumes, images and substeps.
fn read_placement(event: &str, json: &str) -> Result<BuildEvent, EventJsonError> {
    Ok(match event {
        "set-pipeline-changed" => {
            let Changed { origin, changed } = serde_json::from_str(json)?;
            BuildEvent::SetPipelineChanged { origin: plan_id(origin), changed }
        }
        "waiting-for-worker" => {
            let Waiting { time: seconds, origin } = serde_json::from_str(json)?;
            BuildEvent::WaitingForWorker { origin: plan_id(origin), time: time(seconds) }
        }
        "selected-worker" => {
            let data: SelectedWorker = serde_json::from_str(json)?;
            let (origin, time) = (plan_id(data.origin), time(data.time));
            BuildEvent::SelectedWorker { origin, time, worker: data.selected_worker }
        }
        "streaming-volume" => {
            let data: StreamingVolume = serde_json::from_str(json)?;
            BuildEvent::StreamingVolume {
                origin: plan_id(data.origin),
                time: time(data.time),
                volume: data.volume,
                source_worker: data.source_worker,
                dest_worker: data.dest_worker,
            }
        }
        "waiting-for-streamed-volume" => {
            let data: WaitingForVolume = serde_json::from_str(json)?;
            BuildEvent::WaitingForStreamedVolume {
                origin: plan_id(data.origin),
                time: time(data.time),
                volume: data.volume,
                dest_worker: data.dest_worker,
            }
        }
        "image-check" | "image-get" => {
            let data: Image = serde_json::from_str(json)?;
            let (origin, time) = (plan_id(data.origin), time(data.time));
            let plan = data.plan.into_plan()?;
            if event == "image-check" {
                BuildEvent::ImageCheck { origin, time, plan }
            } else {
                BuildEvent::ImageGet { origin, time, plan }
            }
        }
        "across-substeps" => {
            let data: Across = serde_json::from_str(json)?;
            let substep = |Substep { step, values }| {
                step.into_plan().map(|plan| AcrossSubstep { plan, values })
            };
            BuildEvent::AcrossSubsteps {
                origin: plan_id(data.origin),
                time: time(data.time),
                substeps: data.substeps.into_iter().map(substep).collect::<Result<_, _>>()?,
            }
        }
        other => return Err(EventJsonError::UnknownType(other.to_owned())),
    })
}

impl TaskConfig {
    fn of(summary: &TaskSummary) -> Self {
        let TaskSummary { platform, image, path, args, dir, inputs } = summary.clone();
        let inputs: Vec<TaskInput> =
            inputs.into_iter().map(|(name, path)| TaskInput { name, path }).collect();
        Self {
            platform,
            image,
            run: TaskRun { path, args: Some(args).filter(|args| !args.is_empty()), dir },
            inputs: Some(inputs).filter(|inputs| !inputs.is_empty()),
        }
    }

    fn into_summary(self) -> TaskSummary {
        let Self { platform, image, run: TaskRun { path, args, dir }, inputs } = self;
        let inputs = inputs.unwrap_or_default().into_iter();
        TaskSummary {
            platform,
            image,
            path,
            args: args.unwrap_or_default(),
            dir,
            inputs: inputs.map(|TaskInput { name, path }| (name, path)).collect(),
        }
    }
}
