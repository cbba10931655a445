#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::{Object, Value};
use serde_json::json;

use super::{check_pipeline, check_pipeline_with_vars, parse_var_file};
use crate::parse_pipeline_value;

fn recorded(answer: &str) -> Value {
    serde_json::from_str::<Value>(answer).unwrap()["config"].take()
}

#[test]
fn recorded_pipelines_come_back_as_recorded() {
    for (text, answer) in [
        (
            include_str!("../../fixtures/recorded-new.yml"),
            include_str!("../../fixtures/recorded-new.json"),
        ),
        (
            include_str!("../../fixtures/recorded-changed.yml"),
            include_str!("../../fixtures/recorded-changed.json"),
        ),
    ] {
        let checked = check_pipeline(text);
        assert_eq!(checked.diagnostics, []);
        assert_eq!(checked.normalised, recorded(answer));
    }
}

#[test]
fn a_normalised_pipeline_is_stable() {
    for text in [
        include_str!("../../fixtures/pipeline.yml"),
        include_str!("../../fixtures/recorded-new.yml"),
    ] {
        let first = check_pipeline(text);
        assert_eq!(first.diagnostics, []);
        let again = parse_pipeline_value(&first.normalised);
        assert_eq!(again.normalised, first.normalised);
        let as_json = check_pipeline(&first.normalised.to_string());
        assert_eq!(as_json.normalised, first.normalised);
        assert_eq!(as_json.config.jobs, first.config.jobs);
    }
}

#[test]
fn earlier_layers_of_vars_win_and_the_rest_stays() {
    let text = "
resources: [{name: ((r)), type: ((t)), source: ((source)), icon: ((later))}]
jobs: [{name: a, plan: [{get: ((r))}]}]
";
    let layer = |value: Value| -> Object { value.as_object().unwrap().clone() };
    let instance = layer(json!({"r": "src"}));
    let vars = layer(json!({"r": "ignored", "t": "git"}));
    let file = parse_var_file("source: {uri: x, depth: 1}\nt: ignored").unwrap();
    let checked = check_pipeline_with_vars(text, &[&instance, &vars, &file]);
    assert_eq!(checked.errors(), Vec::<String>::new());
    let resource = &checked.config.resources[0];
    assert_eq!((resource.name.as_str(), resource.kind.as_str()), ("src", "git"));
    assert_eq!(Value::Object(resource.source.clone()), json!({"uri": "x", "depth": 1}));
    assert_eq!(resource.icon, "((later))");
}

#[test]
fn bad_vars_are_told() {
    let vars = json!({"a": {"b": 1}}).as_object().unwrap().clone();
    let checked = check_pipeline_with_vars("jobs: [{name: ((a.c))}]", &[&vars]);
    assert_eq!(checked.errors(), ["malformed config: missing field 'c' in var: a.c"]);
    let checked = check_pipeline_with_vars("jobs: [{name: x((a))}]", &[&vars]);
    assert_eq!(
        checked.errors(),
        ["malformed config: cannot interpolate non-primitive value (map) from var: a"]
    );
    assert_eq!(parse_var_file("[1]").unwrap_err(), "expected a map of vars, found a list");
    assert!(parse_var_file("").unwrap().is_empty());
}

#[test]
fn places_survive_interpolation() {
    let checked = check_pipeline_with_vars(
        "jobs:\n- name: a\n  plan:\n  - get: ((r))\n",
        &[&json!({"r": "x"}).as_object().unwrap().clone()],
    );
    let found = &checked.diagnostics[0];
    assert_eq!(found.message, "jobs.a.plan.do[0].get(x): unknown resource 'x'");
    assert_eq!(found.span.unwrap().to_string(), "4:5");
    assert_eq!(found.path.to_string(), "jobs[0].plan[0]");
}
