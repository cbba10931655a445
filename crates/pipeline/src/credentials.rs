//! Whether the secrets that a pipeline names are there, asked before it is saved.

use std::fmt;

use jb_model::config::StepKind;
use jb_model::{Object, PipelineConfig, TaskConfig, Value};

use crate::task_file::{interpolate_task, validate_task};
use crate::validate::each_step;
use crate::vars::{Missing, VarRef, interpolate};

/// What is wrong with the secrets of a pipeline, in Concourse's words: one message for each source, token, `params`,
/// `vars` and embedded task configuration that cannot be filled in. Empty when all is well.
///
/// `lookup` gives the value of a secret. Local vars, which builds set, are not asked for.
pub fn check_credentials<E: fmt::Display>(
    config: &PipelineConfig,
    mut lookup: impl FnMut(&VarRef) -> Result<Option<Value>, E>,
) -> Vec<String> {
    let mut lookup = |var: &VarRef| match var.is_local() {
        true => Ok(Some(Value::String(String::new()))),
        false => lookup(var),
    };
    let mut errors = Vec::new();
    for place in places(config) {
        let filled = match place {
            Place::Data(value) => interpolate(&value, Missing::Fail, &mut lookup)
                .map(drop)
                .map_err(|error| error.to_string()),
            Place::Task(task) => interpolate_task(task, Missing::Fail, &mut lookup)
                .map(drop)
                .map_err(|error| error.to_string()),
        };
        errors.extend(filled.err());
    }
    errors
}

/// Where secrets may stand.
enum Place<'a> {
    Data(Value),
    Task(&'a TaskConfig),
}

fn places(config: &PipelineConfig) -> Vec<Place<'_>> {
    let object = |fields: &Object| Place::Data(Value::Object(fields.clone()));
    let mut places = Vec::new();
    places.extend(config.resource_types.iter().map(|config| object(&config.source)));
    for resource in &config.resources {
        places.push(object(&resource.source));
        places.push(Place::Data(Value::String(resource.webhook_token.clone())));
    }
    for job in &config.jobs {
        each_step(job, &mut |step| {
            let StepKind::Task(task) = &step.kind else { return };
            places.push(object(&task.params));
            places.push(object(&task.vars));
            // One that is incomplete fails at its build; that is no matter of secrets.
            let complete = task.config.as_ref().filter(|config| validate_task(config).is_empty());
            places.extend(complete.map(Place::Task));
        });
    }
    places
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use crate::check_pipeline;

    use super::*;

    fn errors(yaml: &str) -> Vec<String> {
        let checked = check_pipeline(yaml);
        assert!(checked.is_valid(), "{:?}", checked.errors());
        check_credentials(&checked.config, |var| match var.to_string().as_str() {
            "known" | "vs:known" => Ok(Some("value".into())),
            "map" => Ok(Some(serde_json::json!({"a": 1}))),
            name if name.starts_with("nosuch:") => {
                Err(format!("missing source 'nosuch' in var: {name}"))
            }
            _ => Ok(None),
        })
    }

    #[test]
    fn secrets_that_are_there_are_no_news() {
        let yaml = "
resource_types: [{name: t, type: mock, source: {a: ((known))}}]
resources: [{name: r, type: t, source: {a: 'x((vs:known))'}, webhook_token: ((known))}]
jobs:
- name: j
  plan:
  - {get: r}
  - {load_var: v, file: r/v}
  - task: t
    config: {platform: linux, params: {A: ((.:v)), B: ((known))}, run: {path: echo, args: ['((.:v.field))']}}
";
        assert_eq!(errors(yaml), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_told_place_by_place() {
        let yaml = "
var_sources: [{name: vs, type: dummy, config: {vars: {known: 1}}}]
resource_types: [{name: t, type: mock, source: {a: ((one))}}]
resources:
- {name: r, type: t, source: {a: ((vs:two)), b: ((three)), c: ((known))}, webhook_token: ((four))}
jobs:
- name: j
  plan:
  - {get: r}
  - {task: f, file: r/t.yml, vars: {a: ((five))}, params: {P: 'x((map))'}}
  ensure:
    try:
      task: t
      config: {platform: linux, params: {A: ((nosuch:six))}, run: {path: echo}}
";
        assert_eq!(
            errors(yaml),
            [
                "undefined vars: one",
                "undefined vars: three, vs:two",
                "undefined vars: four",
                "cannot interpolate non-primitive value (map) from var: map",
                "undefined vars: five",
                "failed to interpolate task config: missing source 'nosuch' in var: nosuch:six",
            ]
        );
    }
}
