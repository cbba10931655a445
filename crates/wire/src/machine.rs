//! The events of a build machine as they are stored: one JSON object each, with a version.
//!
//! A build's state is its plan and these in their order, so what is written here must stay readable.

use std::time::Duration;

use jb_build::{Event, ImageNeed, LeafResult, Phase};
use jb_model::{Outcome, PlanId, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::plan::{PlanJsonError, from_private, to_private};

/// The version that is written.
const VERSION: u32 = 1;

/// Why a stored event cannot be read.
#[derive(Debug)]
pub enum MachineJsonError {
    /// It is no JSON, an unknown event, or a field has another type.
    Json(serde_json::Error),
    /// It was written by a newer server.
    UnknownVersion(u32),
    /// It carries a plan that cannot be read.
    Plan(PlanJsonError),
}

impl std::fmt::Display for MachineJsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json(error) => write!(f, "the stored build event cannot be read: {error}"),
            Self::UnknownVersion(version) => {
                write!(
                    f,
                    "the stored build event has version {version}; this server reads {VERSION}"
                )
            }
            Self::Plan(error) => write!(f, "the stored build event has a broken plan: {error}"),
        }
    }
}

impl std::error::Error for MachineJsonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::Plan(error) => Some(error),
            Self::UnknownVersion(_) => None,
        }
    }
}

impl From<serde_json::Error> for MachineJsonError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<PlanJsonError> for MachineJsonError {
    fn from(error: PlanJsonError) -> Self {
        Self::Plan(error)
    }
}

/// Writes what happened to a machine, and when.
///
/// # Errors
/// Never in practice: all keys are text.
pub fn to_stored(at: Timestamp, event: &Event) -> Result<String, serde_json::Error> {
    let what = match event {
        Event::Start => What::Start,
        Event::Abort => What::Abort,
        Event::Prepared { node, images } => {
            let mut images = images.iter().map(Image::of);
            What::Prepared {
                node: node.0.clone(),
                image: images.next().transpose()?,
                more: images.collect::<Result<_, _>>()?,
            }
        }
        Event::Started { node, timeout } => What::Started {
            node: node.0.clone(),
            timeout_us: timeout.map(|timeout| timeout.as_micros().try_into().unwrap_or(u64::MAX)),
        },
        Event::Finished { node, phase, result } => What::Finished {
            node: node.0.clone(),
            phase: (*phase).into(),
            outcome: result.outcome.into(),
            message: result.message.clone(),
        },
        Event::AcrossValues { node, values } => What::AcrossValues {
            node: node.0.clone(),
            values: values.as_ref().ok().cloned(),
            error: values.as_ref().err().cloned(),
        },
        Event::Tick => What::Tick,
    };
    serde_json::to_string(&Stored { v: VERSION, at: at.0, what })
}

/// Reads what [`to_stored`] wrote.
///
/// # Errors
/// When it cannot be read.
pub fn from_stored(json: &str) -> Result<(Timestamp, Event), MachineJsonError> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let Versioned { v } = serde_json::from_str(json)?;
    if v != VERSION {
        return Err(MachineJsonError::UnknownVersion(v));
    }
    let stored: Stored = serde_json::from_str(json)?;
    let event = match stored.what {
        What::Start => Event::Start,
        What::Abort => Event::Abort,
        What::Prepared { node, image, more } => {
            let images = image.into_iter().chain(more).map(Image::into_need);
            Event::Prepared { node: PlanId(node), images: images.collect::<Result<_, _>>()? }
        }
        What::Started { node, timeout_us } => {
            Event::Started { node: PlanId(node), timeout: timeout_us.map(Duration::from_micros) }
        }
        What::Finished { node, phase, outcome, message } => Event::Finished {
            node: PlanId(node),
            phase: phase.into(),
            result: LeafResult { outcome: outcome.into(), message },
        },
        What::AcrossValues { node, values, error } => Event::AcrossValues {
            node: PlanId(node),
            values: match error {
                Some(error) => Err(error),
                None => Ok(values.unwrap_or_default()),
            },
        },
        What::Tick => Event::Tick,
    };
    Ok((Timestamp(stored.at), event))
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    /// Microseconds since the Unix epoch.
    at: i64,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum What {
    Start,
    Abort,
    Prepared {
        node: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<Image>,
        /// Those after the first.
        #[serde(default, rename = "more_images", skip_serializing_if = "Vec::is_empty")]
        more: Vec<Image>,
    },
    Started {
        node: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_us: Option<u64>,
    },
    Finished {
        node: String,
        phase: StoredPhase,
        outcome: StoredOutcome,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    AcrossValues {
        node: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        values: Option<Vec<Vec<Value>>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    Tick,
}

/// Plans as JSON texts.
#[derive(Serialize, Deserialize)]
struct Image {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<String>,
    get: String,
}

impl Image {
    fn of(need: &ImageNeed) -> Result<Self, serde_json::Error> {
        let check = need.check.as_ref().map(to_private).transpose()?;
        Ok(Self { check, get: to_private(&need.get)? })
    }

    fn into_need(self) -> Result<ImageNeed, PlanJsonError> {
        let check = self.check.as_deref().map(from_private).transpose()?;
        Ok(ImageNeed { check, get: from_private(&self.get)? })
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredPhase {
    Prepare,
    Run,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredOutcome {
    Succeeded,
    Failed,
    Errored,
    Aborted,
}

impl From<Phase> for StoredPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Prepare => Self::Prepare,
            Phase::Run => Self::Run,
        }
    }
}

impl From<StoredPhase> for Phase {
    fn from(phase: StoredPhase) -> Self {
        match phase {
            StoredPhase::Prepare => Self::Prepare,
            StoredPhase::Run => Self::Run,
        }
    }
}

impl From<Outcome> for StoredOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Errored => Self::Errored,
            Outcome::Aborted => Self::Aborted,
        }
    }
}

impl From<StoredOutcome> for Outcome {
    fn from(outcome: StoredOutcome) -> Self {
        match outcome {
            StoredOutcome::Succeeded => Self::Succeeded,
            StoredOutcome::Failed => Self::Failed,
            StoredOutcome::Errored => Self::Errored,
            StoredOutcome::Aborted => Self::Aborted,
        }
    }
}

#[cfg(test)]
mod tests;
