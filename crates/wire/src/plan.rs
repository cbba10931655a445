//! Plans as JSON.
//!
//! The private form ([`private`]) is whole: what `fly execute` posts and what is stored. The public form ([`public`])
//! is what the API shows: names and shapes, no sources, params or secrets.

mod agent;
mod approve;
pub mod config;
pub mod private;
pub mod public;

pub use private::{from_private, to_private};
pub use public::{PublicBuildPlan, PublicPlan};

use jb_model::{Plan, PlanId, PlanStep};
use serde::{Deserialize, Deserializer};

/// Why a JSON text is no plan.
#[derive(Debug)]
pub enum PlanJsonError {
    /// It is no JSON, or a field has another type.
    Json(serde_json::Error),
    /// The node with this id holds no step that is known.
    NoStep(String),
    /// The node with this id holds several steps.
    ManySteps(String),
    /// The node with this id is nested too deep.
    TooDeep(String),
    /// The template of the `across` step with this id is no plan.
    Template(String, Box<Self>),
}

impl std::fmt::Display for PlanJsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json(error) => write!(f, "the plan cannot be read: {error}"),
            Self::NoStep(id) => write!(f, "the plan node `{id}` holds no step that is known"),
            Self::ManySteps(id) => write!(f, "the plan node `{id}` holds more than one step"),
            Self::TooDeep(id) => write!(f, "the plan node `{id}` is nested too deep"),
            Self::Template(id, error) => {
                write!(f, "the template of the `across` step `{id}` cannot be read: {error}")
            }
        }
    }
}

impl std::error::Error for PlanJsonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::Template(_, error) => Some(error),
            Self::NoStep(_) | Self::ManySteps(_) | Self::TooDeep(_) => None,
        }
    }
}

impl From<serde_json::Error> for PlanJsonError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// The plan of a node, which holds exactly one step.
fn only(id: PlanId, attempts: Vec<u32>, steps: Vec<PlanStep>) -> Result<Plan, PlanJsonError> {
    let mut steps = steps.into_iter();
    match (steps.next(), steps.next()) {
        (Some(step), None) => Ok(Plan { id, attempts, step }),
        (None, _) => Err(PlanJsonError::NoStep(id.0)),
        (Some(_), Some(_)) => Err(PlanJsonError::ManySteps(id.0)),
    }
}

/// Reads `null` as the default: clients written in Go send it for empty lists and maps.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;
