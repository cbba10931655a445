//! Plans as they are stored: made by the planner, written as private JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use jb_build::planner::{Checked, PlanIds, PlanOptions, plan_check, plan_job};
use jb_model::config::CheckEvery;
use jb_model::{JobConfig, Object, PipelineConfig, Plan, Value, Version};
use jb_store::ResourceKind;

/// Why something cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Plan(#[from] jb_build::PlanError),
    #[error("the plan cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the pipeline has no {} `{name}`", kind.as_str())]
    Unknown { kind: ResourceKind, name: String },
}

/// What plans of this server have in common.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    /// Sources merged under those of a base type, by the type's name.
    pub base_defaults: BTreeMap<String, Object>,
}

/// A check to plan.
#[derive(Clone, Debug)]
pub struct WantedCheck<'a> {
    pub kind: ResourceKind,
    pub name: &'a str,
    pub from_version: Option<Version>,
    /// None for never.
    pub interval: Option<Duration>,
    pub skip_interval: bool,
    pub skip_interval_of_types: bool,
}

impl Planner {
    /// The plan of a job's build with these versions of its inputs.
    pub fn job(
        &self,
        pipeline: &PipelineConfig,
        job: &JobConfig,
        versions: &BTreeMap<String, Version>,
        manual: bool,
    ) -> Result<Value, Error> {
        let options = self.options(manual);
        encode(&plan_job(pipeline, job, versions, &mut PlanIds::after(0), &options)?)
    }

    /// The plan of a check.
    pub fn check(
        &self,
        pipeline: &PipelineConfig,
        wanted: &WantedCheck<'_>,
    ) -> Result<Value, Error> {
        let name = wanted.name;
        let checked = match wanted.kind {
            ResourceKind::Resource => {
                let found = pipeline.resources.iter().find(|config| config.name == name);
                found.map(Checked::Resource)
            }
            ResourceKind::ResourceType => {
                let found = pipeline.resource_types.iter().find(|config| config.name == name);
                found.map(Checked::ResourceType)
            }
            ResourceKind::Prototype => {
                let found = pipeline.prototypes.iter().find(|config| config.name == name);
                found.map(Checked::Prototype)
            }
        };
        let checked =
            checked.ok_or_else(|| Error::Unknown { kind: wanted.kind, name: name.to_owned() })?;
        let every = wanted.interval.map_or(CheckEvery::Never, CheckEvery::Every);
        let plan = plan_check(
            pipeline,
            checked,
            wanted.from_version.clone(),
            &every,
            wanted.skip_interval_of_types,
            &mut PlanIds::after(0),
            &self.options(wanted.skip_interval),
        )?;
        encode(&plan)
    }

    fn options(&self, manual: bool) -> PlanOptions {
        PlanOptions { manual, base_defaults: self.base_defaults.clone() }
    }
}

fn encode(plan: &Plan) -> Result<Value, Error> {
    Ok(serde_json::from_str(&jb_wire::plan::to_private(plan)?)?)
}
