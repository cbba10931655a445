//! Plans of checks.

use std::collections::BTreeMap;

use jb_model::config::CheckEvery;
use jb_model::plan::CheckPlan;
use jb_model::{
    Object, PipelineConfig, Plan, PlanStep, ResourceConfig, ResourceTypeConfig, Version,
};

use super::image::{TypePlanner, interval_text};
use super::{PlanIds, PlanOptions};
use crate::error::PlanError;

/// What is checked.
#[derive(Clone, Copy, Debug)]
pub enum Checked<'a> {
    Resource(&'a ResourceConfig),
    ResourceType(&'a ResourceTypeConfig),
    Prototype(&'a ResourceTypeConfig),
}

/// Plans a check.
///
/// `from` is the version to check from, none for the newest known. `every` is the interval to respect unless
/// `options.manual`. With `all` a manual check also checks the types it needs, whatever their intervals.
///
/// # Errors
/// When types of types go too deep.
pub fn plan_check(
    pipeline: &PipelineConfig,
    checked: Checked<'_>,
    from: Option<Version>,
    every: &CheckEvery,
    all: bool,
    ids: &mut PlanIds,
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    let id = ids.next();
    let mut check = CheckPlan {
        name: String::new(),
        kind: String::new(),
        source: Object::new(),
        from_version: from,
        resource: String::new(),
        resource_type: String::new(),
        prototype: String::new(),
        interval: interval_text(every),
        skip_interval: options.manual,
        timeout: String::new(),
        image: jb_model::plan::TypeImage::default(),
        tags: Vec::new(),
    };
    match checked {
        Checked::Resource(resource) => {
            check.resource.clone_from(&resource.name);
            check.timeout.clone_from(&resource.check_timeout);
            check.tags.clone_from(&resource.tags);
            (check.name, check.kind) = (resource.name.clone(), resource.kind.clone());
            check.source = resource.source.clone();
        }
        Checked::ResourceType(config) => {
            check.resource_type.clone_from(&config.name);
            check.tags.clone_from(&config.tags);
            (check.name, check.kind) = (config.name.clone(), config.kind.clone());
            check.source = config.source.clone();
        }
        Checked::Prototype(config) => {
            check.prototype.clone_from(&config.name);
            check.tags.clone_from(&config.tags);
            (check.name, check.kind) = (config.name.clone(), config.kind.clone());
            check.source = config.source.clone();
        }
    }
    let types = types_for(pipeline, checked, &options.base_defaults);
    check.source = types.with_defaults(&check.kind, &check.source);
    check.image = types.image(&id, &check.kind, &check.tags, options.manual && all)?;
    Ok(Plan { id, attempts: Vec::new(), step: PlanStep::Check(Box::new(check)) })
}

/// The types that the checked thing can be of: a type is never of itself.
fn types_for<'a>(
    pipeline: &PipelineConfig,
    checked: Checked<'_>,
    base_defaults: &'a BTreeMap<String, Object>,
) -> TypePlanner<'a> {
    let planner = TypePlanner::new(&pipeline.resource_types, base_defaults);
    match checked {
        Checked::ResourceType(config) => planner.without(&config.name),
        Checked::Resource(_) | Checked::Prototype(_) => planner,
    }
}
