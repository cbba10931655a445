//! How builds and steps stand.

use std::fmt;
use std::str::FromStr;

/// The status of a build as the API spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BuildStatus {
    Pending,
    Started,
    Succeeded,
    Failed,
    Errored,
    Aborted,
}

impl BuildStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::Aborted => "aborted",
        }
    }

    /// True for the four statuses that never change again.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Started)
    }
}

impl fmt::Display for BuildStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BuildStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Pending, Self::Started, Self::Succeeded, Self::Failed, Self::Errored, Self::Aborted]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no build status"))
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    Succeeded,
    /// The step's own process said no, or its time was up.
    Failed,
    /// Something around the step broke: interpolation, artifacts, the worker.
    Errored,
    /// A person or a failed sibling under `fail_fast` stopped it.
    Aborted,
}

impl Outcome {
    pub const fn build_status(self) -> BuildStatus {
        match self {
            Self::Succeeded => BuildStatus::Succeeded,
            Self::Failed => BuildStatus::Failed,
            Self::Errored => BuildStatus::Errored,
            Self::Aborted => BuildStatus::Aborted,
        }
    }
}
