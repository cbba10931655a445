//! Build events as JSON: the envelope that clients of the event stream read, and the same read back.
//!
//! Field order, presence and escaping are those of Concourse, so that the text itself is the same. Times are whole
//! seconds.

mod data;

use jb_model::BuildEvent;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Why a JSON text is no event.
#[derive(Debug)]
pub enum EventJsonError {
    /// It is no JSON, or a field has another type.
    Json(serde_json::Error),
    /// No event has that name.
    UnknownType(String),
    /// The event is known, this major version of it is not.
    UnknownVersion { event: String, version: String },
    /// It carries a plan that cannot be read.
    Plan(crate::plan::PlanJsonError),
    /// It carries a status that does not exist.
    Status(String),
}

impl std::fmt::Display for EventJsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json(error) => write!(f, "the event cannot be read: {error}"),
            Self::UnknownType(event) => write!(f, "unknown event type: {event}"),
            Self::UnknownVersion { event, version } => {
                write!(f, "unknown event version: {event} version {version}")
            }
            Self::Plan(error) => write!(f, "the event's plan cannot be read: {error}"),
            Self::Status(error) => write!(f, "the event cannot be read: {error}"),
        }
    }
}

impl std::error::Error for EventJsonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::Plan(error) => Some(error),
            Self::UnknownType(_) | Self::UnknownVersion { .. } | Self::Status(_) => None,
        }
    }
}

impl From<serde_json::Error> for EventJsonError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<crate::plan::PlanJsonError> for EventJsonError {
    fn from(error: crate::plan::PlanJsonError) -> Self {
        Self::Plan(error)
    }
}

/// The name and version of an event.
pub fn name(event: &BuildEvent) -> (&'static str, &'static str) {
    match event {
        BuildEvent::Status { .. } => ("status", "1.0"),
        BuildEvent::Log { .. } => ("log", "5.1"),
        BuildEvent::Error { .. } => ("error", "4.1"),
        BuildEvent::InitializeTask { .. } => ("initialize-task", "4.0"),
        BuildEvent::StartTask { .. } => ("start-task", "5.0"),
        BuildEvent::FinishTask { .. } => ("finish-task", "4.0"),
        BuildEvent::InitializeGet { .. } => ("initialize-get", "2.0"),
        BuildEvent::StartGet { .. } => ("start-get", "1.0"),
        BuildEvent::FinishGet { .. } => ("finish-get", "5.1"),
        BuildEvent::InitializePut { .. } => ("initialize-put", "2.0"),
        BuildEvent::StartPut { .. } => ("start-put", "1.0"),
        BuildEvent::FinishPut { .. } => ("finish-put", "5.1"),
        BuildEvent::InitializeCheck { .. } => ("initialize-check", "1.0"),
        BuildEvent::Initialize { .. } => ("initialize", "1.0"),
        BuildEvent::Start { .. } => ("start", "1.0"),
        BuildEvent::Finish { .. } => ("finish", "1.0"),
        BuildEvent::SetPipelineChanged { .. } => ("set-pipeline-changed", "1.0"),
        BuildEvent::WaitingForWorker { .. } => ("waiting-for-worker", "1.0"),
        BuildEvent::SelectedWorker { .. } => ("selected-worker", "1.0"),
        BuildEvent::StreamingVolume { .. } => ("streaming-volume", "1.0"),
        BuildEvent::WaitingForStreamedVolume { .. } => ("waiting-for-streamed-volume", "1.0"),
        BuildEvent::ImageCheck { .. } => ("image-check", "1.1"),
        BuildEvent::ImageGet { .. } => ("image-get", "1.1"),
        BuildEvent::AcrossSubsteps { .. } => ("across-substeps", "1.0"),
    }
}

/// The `data` of an event.
///
/// # Errors
/// Never in practice: all keys are text.
pub fn to_data(event: &BuildEvent) -> Result<String, serde_json::Error> {
    data::write(event)
}

/// The envelope of an event that has no number yet, as logs store it.
///
/// # Errors
/// Never in practice: all keys are text.
pub fn to_stored(event: &BuildEvent) -> Result<String, serde_json::Error> {
    let (name, version) = name(event);
    Ok(format!(r#"{{"data":{},"event":"{name}","version":"{version}"}}"#, to_data(event)?))
}

/// The whole envelope of the event numbered `id` in its build's stream.
///
/// # Errors
/// Never in practice: all keys are text.
pub fn to_envelope(event: &BuildEvent, id: u64) -> Result<String, serde_json::Error> {
    let (event_name, version) = name(event);
    let data = RawValue::from_string(to_data(event)?)?;
    serde_json::to_string(&Envelope {
        data: &data,
        event: event_name.to_owned(),
        version: version.to_owned(),
        event_id: id.to_string(),
    })
}

/// Reads an event from its name, version and data.
///
/// # Errors
/// When the name or major version is unknown, or the data does not have the event's shape.
pub fn from_data(event: &str, version: &str, json: &str) -> Result<BuildEvent, EventJsonError> {
    let read = data::read(event, json)?;
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(name(&read).1) == major(version) {
        Ok(read)
    } else {
        let (event, version) = (event.to_owned(), version.to_owned());
        Err(EventJsonError::UnknownVersion { event, version })
    }
}

/// Reads an envelope: the event and its number, if it has one.
///
/// # Errors
/// As [`from_data`].
pub fn from_envelope(json: &str) -> Result<(Option<u64>, BuildEvent), EventJsonError> {
    let envelope: Envelope<'_> = serde_json::from_str(json)?;
    let event = from_data(&envelope.event, &envelope.version, envelope.data.get())?;
    Ok((envelope.event_id.parse().ok(), event))
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    event: String,
    version: String,
    #[serde(default)]
    event_id: String,
}

#[cfg(test)]
mod tests;
