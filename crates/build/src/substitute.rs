//! Fills the values of an `across` combination into its template.
//!
//! Only references to the combination's own vars, `((.:var))` and fields of them, are replaced; all others stay for
//! when the step runs. A text that is nothing but one reference takes the value as it is; inside a longer text only
//! strings and numbers can stand. Where the plan wants text, a value of another kind is an error.

use std::collections::BTreeMap;

use jb_model::agent::{AgentConfig, ContextSource, McpImage, McpProgram, McpWay, ResultSchema};
use jb_model::approval::{ApprovePlan, Approvers};
use jb_model::config::{ImageResource, LoadVarStep, PutInputs, ResourceTypeConfig, TaskConfig};
use jb_model::plan::{GetPlan, TypeImage, VersionSource};
use jb_model::{Object, Plan, PlanStep, Value};

/// Why a template cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubstituteError {
    #[error("`{text}` becomes {kind} where text is needed")]
    NotText { text: String, kind: &'static str },
    #[error("`(({reference}))` is {kind} and cannot stand inside a longer text")]
    NotPrimitive { reference: String, kind: &'static str },
    #[error("`(({reference}))` has no field `{field}`")]
    NoField { reference: String, field: String },
}

type Result<T> = std::result::Result<T, SubstituteError>;

/// Vars and their values.
pub(crate) struct Substitution<'a> {
    values: Vec<(&'a str, &'a Value)>,
}

impl<'a> Substitution<'a> {
    pub(crate) fn new(combination: &'a [(String, Value)]) -> Self {
        Self { values: combination.iter().map(|(var, value)| (var.as_str(), value)).collect() }
    }

    /// Fills in a plan, all steps in it, and templates within it (less the vars that those define anew).
    pub(crate) fn plan(&self, plan: &mut Plan) -> Result<()> {
        match &mut plan.step {
            PlanStep::Get(get) => self.get(get)?,
            PlanStep::Put(put) => {
                self.texts([&mut put.name, &mut put.kind, &mut put.resource, &mut put.timeout])?;
                self.objects([&mut put.source, &mut put.params])?;
                if let PutInputs::Only(inputs) = &mut put.inputs {
                    self.texts(inputs)?;
                }
                self.image(&mut put.image)?;
                self.texts(&mut put.tags)?;
            }
            PlanStep::Check(check) => {
                self.texts([&mut check.name, &mut check.kind, &mut check.timeout])?;
                self.objects([&mut check.source])?;
                self.image(&mut check.image)?;
                self.texts(&mut check.tags)?;
            }
            PlanStep::Task(task) => {
                self.texts([&mut task.name, &mut task.config_path, &mut task.image_artifact])?;
                self.texts([&mut task.timeout])?;
                self.objects([&mut task.vars, &mut task.params])?;
                self.texts(task.input_mapping.values_mut())?;
                self.texts(task.output_mapping.values_mut())?;
                self.texts(&mut task.tags)?;
                if let Some(config) = &mut task.config {
                    self.task_config(config)?;
                }
                if let Some(agent) = &mut task.agent {
                    self.agent(agent)?;
                }
                for resource_type in &mut task.resource_types {
                    self.resource_type(resource_type)?;
                }
            }
            PlanStep::Run(run) => {
                self.texts([&mut run.message, &mut run.kind, &mut run.timeout])?;
                self.objects([&mut run.object])?;
                self.texts(&mut run.tags)?;
            }
            PlanStep::SetPipeline(set) => {
                self.texts([&mut set.name, &mut set.file, &mut set.team])?;
                self.objects([&mut set.vars, &mut set.instance_vars])?;
                self.texts(&mut set.var_files)?;
            }
            PlanStep::Approve(approve) => self.approve(approve)?,
            PlanStep::LoadVar(load) => self.load_var(load)?,
            PlanStep::Across(across) => {
                for var in &mut across.vars {
                    self.value(&mut var.values)?;
                }
                let hidden = |name: &str| across.vars.iter().any(|var| var.var == name);
                let values = self.values.iter().filter(|(name, _)| !hidden(name)).copied();
                Substitution { values: values.collect() }.plan(&mut across.template)?;
            }
            PlanStep::Timeout { duration, .. } => self.text(duration)?,
            PlanStep::ArtifactInput { name, .. } | PlanStep::ArtifactOutput { name } => {
                self.text(name)?;
            }
            PlanStep::Do(_)
            | PlanStep::Retry(_)
            | PlanStep::InParallel { .. }
            | PlanStep::OnSuccess { .. }
            | PlanStep::OnFailure { .. }
            | PlanStep::OnError { .. }
            | PlanStep::OnAbort { .. }
            | PlanStep::Ensure { .. }
            | PlanStep::Try(_) => {}
        }
        plan.children_mut().into_iter().try_for_each(|child| self.plan(child))
    }

    fn load_var(&self, load: &mut LoadVarStep) -> Result<()> {
        self.texts([&mut load.name, &mut load.file, &mut load.format])
    }

    fn get(&self, get: &mut GetPlan) -> Result<()> {
        self.texts([&mut get.name, &mut get.kind, &mut get.resource, &mut get.timeout])?;
        self.objects([&mut get.source, &mut get.params])?;
        if let VersionSource::Fixed(version) = &mut get.version {
            self.texts(version.values_mut())?;
        }
        self.image(&mut get.image)?;
        self.texts(&mut get.tags)
    }

    fn approve(&self, approve: &mut ApprovePlan) -> Result<()> {
        let ApprovePlan { step, timeout } = approve;
        self.texts([&mut step.name, &mut step.message, timeout])?;
        self.texts(&mut step.artifacts)?;
        self.approvers(&mut step.approvers)
    }

    fn approvers(&self, approvers: &mut Approvers) -> Result<()> {
        let Approvers { roles, users, groups } = approvers;
        [roles, users, groups].into_iter().try_for_each(|names| self.texts(names))
    }

    fn image(&self, image: &mut TypeImage) -> Result<()> {
        let plans = [&mut image.check, &mut image.get].into_iter().flatten();
        plans.into_iter().try_for_each(|plan| self.plan(plan))
    }

    fn agent(&self, agent: &mut AgentConfig) -> Result<()> {
        self.texts([&mut agent.model, &mut agent.prompt, &mut agent.prompt_file])?;
        self.texts([&mut agent.budget.time])?;
        if let Some(approval) = &mut agent.approval {
            self.text(&mut approval.timeout)?;
            self.approvers(&mut approval.approvers)?;
        }
        for server in &mut agent.mcp {
            match &mut server.way {
                McpWay::Http { url, headers } => {
                    self.text(url)?;
                    self.texts(headers.values_mut())?;
                }
                McpWay::Program(McpProgram { command, image, params }) => {
                    self.texts(command)?;
                    match image {
                        McpImage::Step => {}
                        McpImage::Artifact(name) => self.text(name)?,
                        McpImage::Resource(image) => self.image_resource(image)?,
                    }
                    self.environment(params)?;
                }
            }
        }
        for item in &mut agent.context {
            if let ContextSource::File(file) = &mut item.source {
                self.text(file)?;
            }
        }
        match &mut agent.result {
            Some(ResultSchema::File(file)) => self.text(file),
            Some(ResultSchema::Inline(_)) | None => Ok(()),
        }
    }

    fn task_config(&self, config: &mut TaskConfig) -> Result<()> {
        self.texts([&mut config.platform, &mut config.rootfs_uri])?;
        if let Some(image) = &mut config.image_resource {
            self.image_resource(image)?;
        }
        self.environment(&mut config.params)?;
        self.texts([&mut config.run.path, &mut config.run.dir, &mut config.run.user])?;
        self.texts(&mut config.run.args)?;
        self.texts(config.inputs.iter_mut().flat_map(|input| [&mut input.name, &mut input.path]))?;
        self.texts(config.outputs.iter_mut().flat_map(|out| [&mut out.name, &mut out.path]))?;
        self.texts(config.caches.iter_mut().flat_map(|cache| [&mut cache.path, &mut cache.ttl]))
    }

    fn image_resource(&self, image: &mut ImageResource) -> Result<()> {
        let ImageResource { name, kind, source, version, params, tags } = image;
        self.texts([name, kind])?;
        self.objects([source, params])?;
        self.texts(version.iter_mut().flat_map(|version| version.values_mut()))?;
        self.texts(tags)
    }

    /// Environment is text in the end, whatever it was.
    fn environment(&self, params: &mut BTreeMap<String, String>) -> Result<()> {
        for text in params.values_mut() {
            if let Some(value) = self.resolve(text)? {
                *text = match value {
                    Value::Null => String::new(),
                    Value::String(text) => text,
                    other => other.to_string(),
                };
            }
        }
        Ok(())
    }

    fn resource_type(&self, resource_type: &mut ResourceTypeConfig) -> Result<()> {
        self.texts([&mut resource_type.name, &mut resource_type.kind])?;
        let ResourceTypeConfig { source, defaults, params, tags, .. } = resource_type;
        self.objects([source, defaults, params])?;
        self.texts(tags)
    }

    fn objects<'o>(&self, objects: impl IntoIterator<Item = &'o mut Object>) -> Result<()> {
        for object in objects {
            self.object(object)?;
        }
        Ok(())
    }

    fn object(&self, object: &mut Object) -> Result<()> {
        object.values_mut().try_for_each(|value| self.value(value))?;
        if object.keys().any(|key| key.contains("((")) {
            let entries = std::mem::take(object);
            for (mut key, value) in entries {
                self.text(&mut key)?;
                object.insert(key, value);
            }
        }
        Ok(())
    }

    fn value(&self, value: &mut Value) -> Result<()> {
        match value {
            Value::String(text) => {
                if let Some(resolved) = self.resolve(text)? {
                    *value = resolved;
                }
                Ok(())
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.value(item)),
            Value::Object(object) => self.object(object),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn texts<'t>(&self, texts: impl IntoIterator<Item = &'t mut String>) -> Result<()> {
        texts.into_iter().try_for_each(|text| self.text(text))
    }

    fn text(&self, text: &mut String) -> Result<()> {
        match self.resolve(text)? {
            None => Ok(()),
            Some(Value::String(resolved)) => {
                *text = resolved;
                Ok(())
            }
            Some(other) => {
                Err(SubstituteError::NotText { text: text.clone(), kind: kind_of(&other) })
            }
        }
    }

    /// The text with its references replaced; none when there are none to replace.
    fn resolve(&self, text: &str) -> Result<Option<Value>> {
        let mut replaced = String::new();
        let mut found = false;
        let mut rest = text;
        while let Some(open) = rest.find("((") {
            let Some(length) = rest[open + 2..].find("))") else { break };
            let (reference, after) = (&rest[open + 2..open + 2 + length], open + length + 4);
            let Some(value) = self.lookup(reference)? else {
                // Not ours. Go on behind the first parenthesis: `(((.:x)))` holds a reference, too.
                replaced.push_str(&rest[..=open]);
                rest = &rest[open + 1..];
                continue;
            };
            if open == 0 && after == text.len() {
                return Ok(Some(value.clone()));
            }
            found = true;
            replaced.push_str(&rest[..open]);
            match value {
                Value::String(part) => replaced.push_str(part),
                Value::Number(part) => replaced.push_str(&part.to_string()),
                other => {
                    let (reference, kind) = (reference.to_owned(), kind_of(other));
                    return Err(SubstituteError::NotPrimitive { reference, kind });
                }
            }
            rest = &rest[after..];
        }
        replaced.push_str(rest);
        Ok(found.then_some(Value::String(replaced)))
    }

    /// The value that a reference (without its parentheses) stands for; none if it is no reference to our vars.
    fn lookup(&self, reference: &str) -> Result<Option<&'a Value>> {
        let Some(path) = reference.trim().strip_prefix(".:") else { return Ok(None) };
        let Some(segments) = segments(path) else { return Ok(None) };
        let Some((name, fields)) = segments.split_first() else { return Ok(None) };
        let Some((_, value)) = self.values.iter().find(|(var, _)| *var == name.as_str()) else {
            return Ok(None);
        };
        let mut value = *value;
        for field in fields {
            value = value.as_object().and_then(|object| object.get(field)).ok_or_else(|| {
                SubstituteError::NoField { reference: reference.to_owned(), field: field.clone() }
            })?;
        }
        Ok(Some(value))
    }
}

/// Splits `a."b.c".d` at its dots; a segment in double quotes may hold anything but a quote.
fn segments(path: &str) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    let mut rest = path;
    loop {
        let (segment, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        let plain = !rest.starts_with('"');
        if segment.is_empty() || (plain && !segment.chars().all(is_plain)) {
            return None;
        }
        segments.push(segment.to_owned());
        if after.is_empty() {
            return Some(segments);
        }
        rest = after.strip_prefix('.')?;
    }
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '@')
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests;
