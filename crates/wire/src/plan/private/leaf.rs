//! The steps that run something themselves, and the image plans of their types.

use std::collections::BTreeMap;

use jb_model::config::{LoadVarStep, SetPipelineStep};
use jb_model::plan::{CheckPlan, GetPlan, PutPlan, RunPlan, TaskPlan, TypeImage, VersionSource};
use jb_model::{Object, Plan, PlanId, Version};
use serde::{Deserialize, Serialize};

use super::Node;
use crate::plan::agent::AgentJson;
use crate::plan::config::{LimitsJson, PutInputsJson, ResourceTypeJson, TaskConfigJson};
use crate::plan::{PlanJsonError, is_default, nullable};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Image {
    #[serde(skip_serializing_if = "Option::is_none")]
    check_plan: Option<Box<Node>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    get_plan: Option<Box<Node>>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    base_type: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    privileged: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Get {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(deserialize_with = "nullable")]
    source: Object,
    #[serde(deserialize_with = "nullable")]
    image: Image,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_from: Option<String>,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    params: Object,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    resource: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    timeout: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Put {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(deserialize_with = "nullable")]
    source: Object,
    #[serde(deserialize_with = "nullable")]
    image: Image,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    params: Object,
    #[serde(skip_serializing_if = "is_default")]
    inputs: PutInputsJson,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    resource: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    timeout: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    expose_build_created_by: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Check {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(deserialize_with = "nullable")]
    source: Object,
    #[serde(deserialize_with = "nullable")]
    image: Image,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_version: Option<Version>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    resource_type: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    prototype: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    interval: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    skip_interval: bool,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    timeout: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Task {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    privileged: bool,
    #[serde(deserialize_with = "nullable")]
    hermetic: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    config_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<TaskConfigJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_limits: Option<LimitsJson>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    image: String,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    vars: Object,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    params: Object,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    input_mapping: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    output_mapping: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    timeout: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    resource_types: Vec<ResourceTypeJson>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    check_skip_interval: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Box<AgentJson>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Run {
    #[serde(deserialize_with = "nullable")]
    message: String,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    object: Object,
    #[serde(deserialize_with = "nullable")]
    privileged: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_limits: Option<LimitsJson>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    timeout: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SetPipeline {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    file: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    team: String,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    vars: Object,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    var_files: Vec<String>,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    instance_vars: Object,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LoadVar {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    file: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    format: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    reveal: bool,
}

impl Image {
    pub(super) fn of(image: &TypeImage) -> Result<Self, serde_json::Error> {
        let node = |plan: &Option<Box<Plan>>| {
            plan.as_deref().map(|plan| Node::of(plan).map(Box::new)).transpose()
        };
        Ok(Self {
            check_plan: node(&image.check)?,
            get_plan: node(&image.get)?,
            base_type: image.base_type.clone(),
            privileged: image.privileged,
        })
    }

    pub(super) fn into_image(self, depth: usize) -> Result<TypeImage, PlanJsonError> {
        let plan = |node: Option<Box<Node>>| {
            node.map(|node| node.into_plan(depth).map(Box::new)).transpose()
        };
        Ok(TypeImage {
            base_type: self.base_type,
            privileged: self.privileged,
            check: plan(self.check_plan)?,
            get: plan(self.get_plan)?,
        })
    }
}

impl Get {
    pub(super) fn of(get: &GetPlan) -> Result<Self, serde_json::Error> {
        let (version, version_from) = match &get.version {
            VersionSource::Fixed(version) => (Some(version.clone()), None),
            VersionSource::From(id) => (None, Some(id.0.clone())),
        };
        Ok(Self {
            name: get.name.clone(),
            r#type: get.kind.clone(),
            source: get.source.clone(),
            image: Image::of(&get.image)?,
            version,
            version_from,
            params: get.params.clone(),
            resource: get.resource.clone(),
            tags: get.tags.clone(),
            timeout: get.timeout.clone(),
        })
    }

    pub(super) fn into_plan(self, depth: usize) -> Result<GetPlan, PlanJsonError> {
        Ok(GetPlan {
            name: self.name,
            kind: self.r#type,
            resource: self.resource,
            source: self.source,
            params: self.params,
            version: match (self.version, self.version_from) {
                (None, Some(id)) => VersionSource::From(PlanId(id)),
                (version, _) => VersionSource::Fixed(version.unwrap_or_default()),
            },
            image: self.image.into_image(depth)?,
            tags: self.tags,
            timeout: self.timeout,
        })
    }
}

impl Put {
    pub(super) fn of(put: &PutPlan) -> Result<Self, serde_json::Error> {
        Ok(Self {
            name: put.name.clone(),
            r#type: put.kind.clone(),
            source: put.source.clone(),
            image: Image::of(&put.image)?,
            params: put.params.clone(),
            inputs: PutInputsJson(put.inputs.clone()),
            resource: put.resource.clone(),
            tags: put.tags.clone(),
            timeout: put.timeout.clone(),
            expose_build_created_by: put.expose_build_created_by,
        })
    }

    pub(super) fn into_plan(self, depth: usize) -> Result<PutPlan, PlanJsonError> {
        Ok(PutPlan {
            name: self.name,
            kind: self.r#type,
            resource: self.resource,
            source: self.source,
            params: self.params,
            inputs: self.inputs.0,
            image: self.image.into_image(depth)?,
            tags: self.tags,
            timeout: self.timeout,
            expose_build_created_by: self.expose_build_created_by,
        })
    }
}

impl Check {
    pub(super) fn of(check: &CheckPlan) -> Result<Self, serde_json::Error> {
        Ok(Self {
            name: check.name.clone(),
            r#type: check.kind.clone(),
            source: check.source.clone(),
            image: Image::of(&check.image)?,
            from_version: check.from_version.clone(),
            resource: check.resource.clone(),
            resource_type: check.resource_type.clone(),
            prototype: check.prototype.clone(),
            interval: check.interval.clone(),
            skip_interval: check.skip_interval,
            timeout: check.timeout.clone(),
            tags: check.tags.clone(),
        })
    }

    pub(super) fn into_plan(self, depth: usize) -> Result<CheckPlan, PlanJsonError> {
        Ok(CheckPlan {
            name: self.name,
            kind: self.r#type,
            source: self.source,
            from_version: self.from_version,
            resource: self.resource,
            resource_type: self.resource_type,
            prototype: self.prototype,
            interval: self.interval,
            skip_interval: self.skip_interval,
            timeout: self.timeout,
            image: self.image.into_image(depth)?,
            tags: self.tags,
        })
    }
}

impl Task {
    pub(super) fn of(task: &TaskPlan) -> Self {
        Self {
            name: task.name.clone(),
            privileged: task.privileged,
            hermetic: task.hermetic,
            tags: task.tags.clone(),
            config_path: task.config_path.clone(),
            config: task.config.clone().map(TaskConfigJson::from),
            container_limits: task.limits.map(LimitsJson::from),
            image: task.image_artifact.clone(),
            vars: task.vars.clone(),
            params: task.params.clone(),
            input_mapping: task.input_mapping.clone(),
            output_mapping: task.output_mapping.clone(),
            timeout: task.timeout.clone(),
            resource_types: task
                .resource_types
                .iter()
                .cloned()
                .map(ResourceTypeJson::from)
                .collect(),
            check_skip_interval: task.check_skip_interval,
            agent: task.agent.as_deref().map(AgentJson::of).map(Box::new),
        }
    }

    pub(super) fn into_plan(self) -> Result<TaskPlan, PlanJsonError> {
        Ok(TaskPlan {
            name: self.name,
            privileged: self.privileged,
            hermetic: self.hermetic,
            config_path: self.config_path,
            config: self.config.map(Into::into),
            vars: self.vars,
            limits: self.container_limits.map(Into::into),
            params: self.params,
            input_mapping: self.input_mapping,
            output_mapping: self.output_mapping,
            image_artifact: self.image,
            tags: self.tags,
            timeout: self.timeout,
            resource_types: self.resource_types.into_iter().map(Into::into).collect(),
            check_skip_interval: self.check_skip_interval,
            agent: self.agent.map(|agent| agent.into_agent()).transpose()?.map(Box::new),
        })
    }
}

impl Run {
    pub(super) fn of(run: &RunPlan) -> Self {
        Self {
            message: run.message.clone(),
            r#type: run.kind.clone(),
            object: run.object.clone(),
            privileged: run.privileged,
            tags: run.tags.clone(),
            container_limits: run.limits.map(LimitsJson::from),
            timeout: run.timeout.clone(),
        }
    }

    pub(super) fn into_plan(self) -> RunPlan {
        RunPlan {
            message: self.message,
            kind: self.r#type,
            object: self.object,
            privileged: self.privileged,
            limits: self.container_limits.map(Into::into),
            tags: self.tags,
            timeout: self.timeout,
        }
    }
}

impl SetPipeline {
    pub(super) fn of(set: &SetPipelineStep) -> Self {
        let SetPipelineStep { name, file, team, vars, var_files, instance_vars } = set.clone();
        Self { name, file, team, vars, var_files, instance_vars }
    }

    pub(super) fn into_step(self) -> SetPipelineStep {
        let Self { name, file, team, vars, var_files, instance_vars } = self;
        SetPipelineStep { name, file, team, vars, var_files, instance_vars }
    }
}

impl LoadVar {
    pub(super) fn of(load: &LoadVarStep) -> Self {
        let LoadVarStep { name, file, format, reveal } = load.clone();
        Self { name, file, format, reveal }
    }

    pub(super) fn into_step(self) -> LoadVarStep {
        let Self { name, file, format, reveal } = self;
        LoadVarStep { name, file, format, reveal }
    }
}
