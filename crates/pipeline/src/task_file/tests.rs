#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::convert::Infallible;

use jb_model::config::{ContainerLimits, TaskConfig};
use jb_model::{Object, Value};
use serde_json::json;

use super::{
    TaskFileError, TaskOverrides, parse_task_config, parse_task_value, read_task_file,
    resolve_embedded_task, resolve_task_file, task_config_value, vars_needed,
};
use crate::vars::{Missing, VarRef, lookup_in};

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn parse(text: &str) -> Result<TaskConfig, String> {
    parse_task_config::<Infallible>(text)
        .map(|parsed| parsed.config)
        .map_err(|error| error.to_string())
}

const FULL: &str = "
platform: linux
image_resource: {type: registry-image, source: {repository: ((repo))}, version: {digest: x}, params: {a: 1}, tags: [t]}
container_limits: {cpu: 10, memory: 1KB}
params: {A: ((x)), B: 1, C: ~, D: {k: [1]}}
run: {path: sh, args: [-c, \"echo ((x))\"], dir: d, user: u}
inputs: [{name: a, path: b, optional: true}]
outputs: [{name: o, path: p}]
caches: [{path: c, ttl: 1h}]
";

#[test]
fn a_recorded_file_is_read() {
    let config = parse(include_str!("../../fixtures/task.yml")).unwrap();
    assert_eq!(config.params["X"], "true");
    assert_eq!(config.run.args, ["-ec", "cp in/d got/d; ls in"]);
}

#[test]
fn configurations_survive_their_json() {
    let config = parse(FULL).unwrap();
    let value = task_config_value(&config);
    assert_eq!(value["params"], json!({"A": "((x))", "B": "1", "C": "", "D": "{\"k\":[1]}"}));
    assert_eq!(value["container_limits"], json!({"cpu": 10, "memory": 1024}));
    assert_eq!(parse_task_value::<Infallible>(&value).unwrap().config, config);
}

#[test]
fn what_is_wrong_with_a_file() {
    assert_eq!(
        parse("platform: linux\nouputs: []\nimag: x").unwrap_err(),
        "3:1: unknown field 'imag'\n2:1: unknown field 'ouputs'"
    );
    assert_eq!(
        parse("inputs: [{}, {name: a}]\noutputs: [{path: x}]").unwrap_err(),
        "invalid task configuration:\nmissing 'platform'\n  input in position 0 is missing a name\n  output in position 0 is missing a name"
    );
    assert_eq!(
        parse("platform: linux\nrun: {args: [1]}\ninputs: a").unwrap_err(),
        "2:14: run.args[0]: expected a string, found a number\n3:9: inputs: expected a list, found a string"
    );
    assert!(parse("platform: [").unwrap_err().starts_with("2:1: "));
    assert_eq!(parse("").unwrap_err(), "invalid task configuration:\nmissing 'platform'");
}

fn build_vars() -> Object {
    object(json!({"x": "secret", "n": 5}))
}

fn resolve(text: &str, vars: Value, params: Value) -> Result<(Value, Vec<String>), String> {
    let (vars, params, build) = (object(vars), object(params), build_vars());
    let overrides = TaskOverrides { vars: &vars, params: &params, limits: None };
    resolve_task_file(
        text,
        overrides,
        |image| drop(image.source.insert("defaulted".to_owned(), json!(true))),
        |reference: &VarRef| lookup_in(&build, reference),
    )
    .map(|resolved| (task_config_value(&resolved.config), resolved.warnings))
    .map_err(|error| error.to_string())
}

#[test]
fn step_vars_come_first_and_build_vars_fill_the_rest() {
    let text = "platform: linux\nrun: {path: ((tool)), args: [((tool)), ((x))]}\nimage_resource: {type: a, source: {b: ((x))}}\n";
    let (config, warnings) = resolve(text, json!({"tool": "run-((x))"}), json!({})).unwrap();
    assert_eq!(config["run"], json!({"path": "run-secret", "args": ["run-secret", "secret"]}));
    assert_eq!(config["image_resource"]["source"], json!({"b": "secret", "defaulted": true}));
    assert!(warnings.is_empty());
}

#[test]
fn params_override_and_unknown_ones_warn() {
    let text = "platform: linux\nparams: {A: file, B: ((x))}\nrun: {path: a, pth: b}\n";
    let params = json!({"A": "step ((n))", "C": "((x))", "D": ["<"]});
    let (config, warnings) = resolve(text, json!({}), params).unwrap();
    assert_eq!(
        config["params"],
        json!({"A": "step 5", "B": "secret", "C": "secret", "D": "[\"\\u003c\"]"})
    );
    assert_eq!(
        warnings,
        [
            "[WARNING] run: unknown field 'pth' is ignored",
            "[WARNING] C was defined in pipeline but missing from task file",
            "[WARNING] D was defined in pipeline but missing from task file",
        ]
    );
}

#[test]
fn all_build_vars_must_have_a_value_of_the_right_type() {
    let text = "platform: linux\nrun: {path: ((p)), args: [((q))]}\n";
    assert_eq!(
        resolve(text, json!({}), json!({})).unwrap_err(),
        "failed to interpolate task config: undefined vars: p, q"
    );
    let text = "platform: linux\nrun: {path: a, args: [((n))]}\n";
    assert_eq!(
        resolve(text, json!({}), json!({})).unwrap_err(),
        "run.args[0]: expected a string, found a number"
    );
    let text = "platform: linux\nrun: {path: ((tool.name))}\n";
    assert_eq!(
        resolve(text, json!({"tool": {}}), json!({})).unwrap_err(),
        "failed to interpolate task config: missing field 'name' in var: tool.name"
    );
}

#[test]
fn limits_override_one_by_one() {
    let config = parse(FULL).unwrap();
    let none = Object::new();
    let limits = Some(ContainerLimits { cpu_shares: Some(99), memory_bytes: None });
    let overrides = TaskOverrides { vars: &none, params: &none, limits };
    let lookup = |_: &VarRef| Ok::<_, Infallible>(Some(json!("v")));
    let resolved = resolve_embedded_task(&config, overrides, |_| {}, lookup).unwrap();
    let expected = ContainerLimits { cpu_shares: Some(99), memory_bytes: Some(1024) };
    assert_eq!(resolved.config.limits, Some(expected));
    assert_eq!(resolved.config.run.args, ["-c", "echo v"]);
}

#[test]
fn the_vars_of_a_task_can_be_known_before() {
    let (config, _) =
        read_task_file::<Infallible>(FULL, &object(json!({"repo": "r/((y))"}))).unwrap();
    let params = object(json!({"A": "overridden", "E": "((vs:e))"}));
    let names: Vec<String> =
        vars_needed(&config, &params).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["x", "y", "vs:e"]);
}

#[test]
fn errors_of_the_lookup_come_through() {
    let config = parse("platform: ((p))").unwrap();
    let result =
        super::interpolate_task(&config, Missing::Fail, |_| Err::<Option<Value>, _>("down"));
    assert!(matches!(result, Err(TaskFileError::Interpolate(_))));
    assert_eq!(result.unwrap_err().to_string(), "failed to interpolate task config: down");
}
