//! Why a pending build has not started, as the API and the web page show it.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::BuildId;

pub const MISSING_INPUT: &str = "input is not included in resolved candidates";
pub const CHECKING: &str = "checking for latest available versions";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    Blocking,
    NotBlocking,
}

impl Blocking {
    pub const fn when(blocking: bool) -> Self {
        if blocking { Self::Blocking } else { Self::NotBlocking }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::NotBlocking => "not_blocking",
        }
    }
}

/// The answer of `GET /api/v1/builds/:id/preparation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preparation {
    pub build: BuildId,
    pub paused_pipeline: Blocking,
    pub paused_job: Blocking,
    pub max_running_builds: Blocking,
    pub inputs: BTreeMap<String, Blocking>,
    pub inputs_satisfied: Blocking,
    pub missing_input_reasons: BTreeMap<String, String>,
}

impl Preparation {
    /// For a build that waits for nothing: started, finished or without a job.
    pub fn unblocked(build: BuildId) -> Self {
        Self {
            build,
            paused_pipeline: Blocking::NotBlocking,
            paused_job: Blocking::NotBlocking,
            max_running_builds: Blocking::NotBlocking,
            inputs: BTreeMap::new(),
            inputs_satisfied: Blocking::NotBlocking,
            missing_input_reasons: BTreeMap::new(),
        }
    }
}

/// What is known of a pending build of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingFacts {
    pub pipeline_paused: bool,
    pub job_paused: bool,
    pub max_in_flight_reached: bool,
    /// Names of the inputs in the job's configuration.
    pub inputs: Vec<String>,
    /// What the last resolution said of each: why there is no version, or `None` when there is one.
    pub next_inputs: BTreeMap<String, Option<String>>,
    /// Inputs whose checks this build waits for.
    pub awaiting_check: BTreeSet<String>,
}

pub fn prepare(build: BuildId, facts: &PendingFacts) -> Preparation {
    let mut preparation = Preparation {
        paused_pipeline: Blocking::when(facts.pipeline_paused),
        paused_job: Blocking::when(facts.job_paused),
        max_running_builds: Blocking::when(facts.max_in_flight_reached),
        ..Preparation::unblocked(build)
    };
    let resolved = facts.next_inputs.values().all(Option::is_none);
    for name in &facts.inputs {
        let reason = match facts.next_inputs.get(name) {
            Some(Some(failure)) => Some(failure.as_str()),
            Some(None) if facts.awaiting_check.contains(name) => Some(CHECKING),
            Some(None) => None,
            None if resolved => Some(MISSING_INPUT),
            // Another input's failure stands for this one.
            None => continue,
        };
        preparation.inputs.insert(name.clone(), Blocking::when(reason.is_some()));
        if let Some(reason) = reason {
            preparation.inputs_satisfied = Blocking::Blocking;
            preparation.missing_input_reasons.insert(name.clone(), reason.to_owned());
        }
    }
    preparation
}
