//! What the rows of a pipeline need to know of its configuration's JSON.

use jb_model::Value;
use serde_json::json;

use crate::{JobInput, JobOutput, ResourceKind};

/// The parts of a configuration that have rows or columns of their own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape<'a> {
    pub(crate) groups: Value,
    pub(crate) display: Option<&'a Value>,
    pub(crate) user_data: Option<&'a Value>,
    pub(crate) jobs: Vec<JobShape<'a>>,
    pub(crate) resources: Vec<ResourceShape<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobShape<'a> {
    pub(crate) name: &'a str,
    pub(crate) old_name: &'a str,
    pub(crate) config: &'a Value,
    pub(crate) groups: Vec<&'a str>,
    pub(crate) inputs: Vec<JobInput>,
    pub(crate) outputs: Vec<JobOutput>,
    pub(crate) serial_groups: Vec<&'a str>,
    pub(crate) max_in_flight: u32,
    pub(crate) public: bool,
    pub(crate) disable_manual_trigger: bool,
    pub(crate) disable_reruns: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResourceShape<'a> {
    pub(crate) kind: ResourceKind,
    pub(crate) name: &'a str,
    pub(crate) old_name: &'a str,
    pub(crate) type_name: &'a str,
    pub(crate) pinned: bool,
    pub(crate) config: &'a Value,
}

/// How a job uses a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourceUse<'a> {
    pub(crate) resource: &'a str,
    /// 0 put only, 1 input, 2 input that triggers without passed.
    pub(crate) trigger_kind: i64,
    pub(crate) passed_only: bool,
}

/// Reads a validated configuration.
pub(crate) fn shape(config: &Value) -> Shape<'_> {
    let groups = config.get("groups").filter(|groups| groups.is_array());
    let resources = [
        ("resources", ResourceKind::Resource),
        ("resource_types", ResourceKind::ResourceType),
        ("prototypes", ResourceKind::Prototype),
    ];
    Shape {
        groups: groups.cloned().unwrap_or_else(|| json!([])),
        display: config.get("display").filter(|display| !display.is_null()),
        user_data: config.get("user_data").filter(|data| !data.is_null()),
        jobs: list(config, "jobs").iter().map(|job| job_shape(job, groups)).collect(),
        resources: resources
            .iter()
            .flat_map(|(key, kind)| list(config, key).iter().map(|r| resource_shape(*kind, r)))
            .collect(),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    list(value, key).iter().filter_map(Value::as_str).collect()
}

fn resource_shape(kind: ResourceKind, config: &Value) -> ResourceShape<'_> {
    ResourceShape {
        kind,
        name: text(config, "name"),
        old_name: text(config, "old_name"),
        type_name: text(config, "type"),
        pinned: config.get("version").is_some_and(|version| !version.is_null()),
        config,
    }
}

fn job_shape<'a>(config: &'a Value, groups: Option<&'a Value>) -> JobShape<'a> {
    let name = text(config, "name");
    let mut inputs = Vec::new();
    let mut outputs = Vec::new();
    for step in list(config, "plan") {
        walk(step, &mut inputs, &mut outputs);
    }
    walk_hooks(config, &mut inputs, &mut outputs);
    let named_groups = texts(config, "serial_groups");
    let serial = flag(config, "serial") || !named_groups.is_empty();
    let limit = config.get("max_in_flight").and_then(Value::as_u64).unwrap_or_default();
    let max_in_flight = if serial { 1 } else { u32::try_from(limit).unwrap_or(u32::MAX) };
    let own_group = named_groups.is_empty() && max_in_flight > 0;
    let holding = groups.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    JobShape {
        name,
        old_name: text(config, "old_name"),
        config,
        groups: holding
            .iter()
            .filter(|group| texts(group, "jobs").iter().any(|pattern| glob(pattern, name)))
            .map(|group| text(group, "name"))
            .collect(),
        inputs,
        outputs,
        serial_groups: if own_group { vec![name] } else { named_groups },
        max_in_flight,
        public: flag(config, "public"),
        disable_manual_trigger: flag(config, "disable_manual_trigger"),
        disable_reruns: flag(config, "disable_reruns"),
    }
}

fn walk_hooks(step: &Value, inputs: &mut Vec<JobInput>, outputs: &mut Vec<JobOutput>) {
    for hook in ["on_success", "on_failure", "on_error", "on_abort", "ensure"] {
        if let Some(hook) = step.get(hook) {
            walk(hook, inputs, outputs);
        }
    }
}

/// Collects the gets and puts of a step and of all steps inside it.
fn walk(step: &Value, inputs: &mut Vec<JobInput>, outputs: &mut Vec<JobOutput>) {
    let resource = |name: &str| match text(step, "resource") {
        "" => name.to_owned(),
        other => other.to_owned(),
    };
    if let Some(name) = step.get("get").and_then(Value::as_str) {
        inputs.push(JobInput {
            name: name.into(),
            resource: resource(name),
            passed: texts(step, "passed").into_iter().map(str::to_owned).collect(),
            trigger: flag(step, "trigger"),
            version: step.get("version").filter(|version| !version.is_null()).cloned(),
        });
    } else if let Some(name) = step.get("put").and_then(Value::as_str) {
        outputs.push(JobOutput { name: name.into(), resource: resource(name) });
    }
    for inner in list(step, "do") {
        walk(inner, inputs, outputs);
    }
    if let Some(parallel) = step.get("in_parallel") {
        let steps = parallel.as_array().map_or_else(|| list(parallel, "steps"), Vec::as_slice);
        for inner in steps {
            walk(inner, inputs, outputs);
        }
    }
    if let Some(inner) = step.get("try") {
        walk(inner, inputs, outputs);
    }
    walk_hooks(step, inputs, outputs);
}

impl JobShape<'_> {
    /// One entry per resource that the job gets or puts.
    pub(crate) fn uses(&self) -> Vec<ResourceUse<'_>> {
        let mut uses: Vec<ResourceUse<'_>> = Vec::new();
        for output in &self.outputs {
            if !uses.iter().any(|known| known.resource == output.resource) {
                uses.push(ResourceUse {
                    resource: &output.resource,
                    trigger_kind: 0,
                    passed_only: true,
                });
            }
        }
        for input in &self.inputs {
            let trigger_kind = if input.trigger && input.passed.is_empty() { 2 } else { 1 };
            let passed_only = !input.passed.is_empty();
            match uses.iter_mut().find(|known| known.resource == input.resource) {
                Some(known) => {
                    known.trigger_kind = known.trigger_kind.max(trigger_kind);
                    known.passed_only &= passed_only;
                }
                None => {
                    uses.push(ResourceUse { resource: &input.resource, trigger_kind, passed_only });
                }
            }
        }
        uses
    }

    /// The jobs named by `passed`, each once.
    pub(crate) fn upstream(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.inputs.iter().flat_map(|input| &input.passed).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The inputs as stored.
    pub(crate) fn inputs_json(&self) -> Value {
        let inputs = self.inputs.iter().map(|input| {
            json!({
                "name": input.name, "resource": input.resource, "passed": input.passed,
                "trigger": input.trigger, "version": input.version,
            })
        });
        inputs.collect()
    }

    /// The outputs as stored.
    pub(crate) fn outputs_json(&self) -> Value {
        let outputs = self.outputs.iter();
        outputs.map(|output| json!({"name": output.name, "resource": output.resource})).collect()
    }
}

/// Reads inputs as stored.
pub(crate) fn inputs_of(stored: &Value) -> Vec<JobInput> {
    let inputs = stored.as_array().map_or(&[][..], Vec::as_slice).iter();
    inputs
        .map(|input| JobInput {
            name: text(input, "name").into(),
            resource: text(input, "resource").into(),
            passed: texts(input, "passed").into_iter().map(str::to_owned).collect(),
            trigger: flag(input, "trigger"),
            version: input.get("version").filter(|version| !version.is_null()).cloned(),
        })
        .collect()
}

/// Reads outputs as stored.
pub(crate) fn outputs_of(stored: &Value) -> Vec<JobOutput> {
    let outputs = stored.as_array().map_or(&[][..], Vec::as_slice).iter();
    outputs
        .map(|output| JobOutput {
            name: text(output, "name").into(),
            resource: text(output, "resource").into(),
        })
        .collect()
}

/// Reads a stored list of names.
pub(crate) fn names_of(stored: &Value) -> Vec<String> {
    let names = stored.as_array().map_or(&[][..], Vec::as_slice).iter();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether a group's pattern matches a job's name: `*`, `?`, `[a-c]`, `[!a]` and `{x,y}` as in shells.
fn glob(pattern: &str, name: &str) -> bool {
    if let Some((head, rest)) = pattern.split_once('{')
        && let Some((choices, tail)) = rest.split_once('}')
    {
        return choices.split(',').any(|choice| glob(&format!("{head}{choice}{tail}"), name));
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    glob_chars(&pattern, &name)
}

fn glob_chars(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            glob_chars(rest, name) || matches!(name, [_, more @ ..] if glob_chars(pattern, more))
        }
        (['?', rest @ ..], [_, more @ ..]) => glob_chars(rest, more),
        (['[', class @ ..], [first, more @ ..]) => {
            let Some(end) = class.iter().position(|c| *c == ']') else { return false };
            let (class, rest) = class.split_at(end);
            in_class(class, *first) && glob_chars(&rest[1..], more)
        }
        ([wanted, rest @ ..], [first, more @ ..]) => wanted == first && glob_chars(rest, more),
        _ => false,
    }
}

fn in_class(class: &[char], found: char) -> bool {
    match class {
        ['!' | '^', class @ ..] => !in_class(class, found),
        [low, '-', high, rest @ ..] => (*low..=*high).contains(&found) || in_class(rest, found),
        [one, rest @ ..] => *one == found || in_class(rest, found),
        [] => false,
    }
}

#[cfg(test)]
mod tests;
