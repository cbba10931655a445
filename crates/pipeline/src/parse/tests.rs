#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::config::{CheckEvery, MaxInFlight, PutInputs, StepKind, VersionChoice};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{parse_memory, parse_pipeline, parse_pipeline_value};
use crate::check_pipeline;

#[test]
fn the_recorded_pipeline_as_the_language_means_it() {
    let parsed = parse_pipeline(include_str!("../../fixtures/pipeline.yml"));
    assert_eq!(parsed.diagnostics, []);
    let config = parsed.config;
    let names: Vec<_> = config.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["unit", "ship", "tree", "fails", "floops", "ferr", "fset"]);
    assert_eq!(config.resources[0].name, "src");
    assert_eq!(config.resources[0].check_every, CheckEvery::Never);
    assert_eq!(config.resources[1].webhook_token, "hook");

    let tree = &config.jobs[2];
    assert!(tree.on_success.is_some() && tree.ensure.is_some());
    let StepKind::Do(steps) = &tree.plan[0].kind else { panic!("{:?}", tree.plan) };
    let across = steps[1].modifiers.across.as_ref().unwrap();
    assert_eq!(across.vars[0].max_in_flight, MaxInFlight::Limit(2));
    assert_eq!(across.vars[1].values, json!(["1", "2"]));
    let retried = &steps[2];
    assert_eq!(retried.modifiers.attempts, Some(3));
    assert_eq!(retried.modifiers.timeout.as_deref(), Some("1m"));
    assert!(retried.modifiers.on_failure.is_some());

    let StepKind::SetPipeline(set) = &config.jobs[6].plan[1].kind else { panic!() };
    assert_eq!(set.vars["false"], json!("made"));
    assert_eq!(set.instance_vars["branch"], json!("feat/one"));
}

#[test]
fn choices_of_get_and_put() {
    let parsed = parse_pipeline(
        "jobs: [{name: j, plan: [{get: a}, {get: b, version: every}, {get: c, version: {ref: x}},
         {put: d}, {put: e, inputs: all}, {put: f, inputs: [g]}, {put: h, inputs: []}]}]",
    );
    let kinds: Vec<_> = parsed.config.jobs[0].plan.iter().map(|step| &step.kind).collect();
    let version = |at: usize| match kinds[at] {
        StepKind::Get(get) => get.version.clone(),
        other => panic!("{other:?}"),
    };
    let inputs = |at: usize| match kinds[at] {
        StepKind::Put(put) => put.inputs.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(version(0), VersionChoice::Latest);
    assert_eq!(version(1), VersionChoice::Every);
    let pinned = [("ref".to_owned(), "x".to_owned())].into();
    assert_eq!(version(2), VersionChoice::Pinned(pinned));
    assert_eq!(inputs(3), PutInputs::Detect);
    assert_eq!(inputs(4), PutInputs::All);
    assert_eq!(inputs(5), PutInputs::Only(vec!["g".to_owned()]));
    assert_eq!(inputs(6), PutInputs::Only(Vec::new()));
}

#[test]
fn memory_sizes() {
    for (text, bytes) in [
        ("0", Some(0)),
        ("123", Some(123)),
        ("1k", Some(1 << 10)),
        ("2KB", Some(2 << 10)),
        ("3KiB", Some(3 << 10)),
        ("4Mi", Some(4 << 20)),
        ("1GB", Some(1 << 30)),
        ("1T", None),
        ("k", None),
        ("", None),
        ("1 k", None),
        ("1kk", None),
        ("1b", None),
        ("99999999999999999999", None),
        ("18446744073709551615G", None),
    ] {
        assert_eq!(parse_memory(text), bytes, "{text}");
    }
}

#[test]
fn a_choice_that_is_written_stays_in_the_normalised_form() {
    let text = "jobs: [{name: j, plan: [{get: a, version: latest}, {put: b, inputs: detect}]}]";
    let normalised = parse_pipeline(text).normalised;
    assert_eq!(
        normalised["jobs"][0]["plan"],
        json!([{"get": "a", "version": "latest"}, {"put": "b", "inputs": "detect"}])
    );
}

#[test]
fn errors_of_an_api_answer() {
    let checked = check_pipeline(
        "groups: [{name: g, jobs: [x]}]\njobs:\n- {name: a, plan: [{get: r, passed: [b], nope: 1}, {put: r}]}\n",
    );
    assert_eq!(
        checked.errors(),
        [
            "invalid groups:\n\tno jobs match 'x' for group 'g'\n\tjob 'a' belongs to no group\n",
            "invalid jobs:\n\tjobs.a.plan.do[0]: unknown fields [\"nope\"]\n\tjobs.a.plan.do[0].get(r): unknown resource 'r'\n\tjobs.a.plan.do[0].get(r).passed: no matching job(s) for 'b'\n\tjobs.a.plan.do[1].put(r): unknown resource 'r'\n",
        ]
    );
    let malformed = check_pipeline("jobs:\n- name: Bad_Name\n  plan:\n  - tsk: x\n  - get: 1\n");
    assert_eq!(
        malformed.errors(),
        [
            "malformed config: 4:5: jobs[0].plan[0]: no step configured",
            "malformed config: 5:10: jobs[0].plan[1].get: expected a string, found a number",
        ]
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "jobs",
        "plan",
        "get",
        "put",
        "task",
        "config",
        "run",
        "do",
        "in_parallel",
        "steps",
        "across",
        "values",
        "var",
        "try",
        "ensure",
        "on_failure",
        "attempts",
        "timeout",
        "resources",
        "name",
        "type",
        "source",
        "groups",
        "version",
        "params",
        "inputs",
        "tags",
        "limit",
        "file",
        "platform",
        "passed",
        "load_var",
        "set_pipeline",
        "container_limits",
        "memory",
        "check_every",
        "display",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..3).prop_map(Value::from),
        prop::sample::select(vec!["a", "", "all", "1h", "((x))", "latest", "never", "[", "1k"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 80, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| {
                Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_data_is_a_pipeline_or_errors(value in any_json()) {
        let checked = check_pipeline(&value.to_string());
        let _ = (checked.errors(), checked.warnings());
    }

    #[test]
    fn normalising_twice_changes_nothing(jobs in prop::collection::vec(any_json(), 0..3)) {
        let value = json!({"jobs": jobs.into_iter().map(|plan| json!({"name": "j", "plan": [plan]})).collect::<Vec<_>>()});
        let first = parse_pipeline_value(&value);
        if !first.has_errors() {
            let second = parse_pipeline_value(&first.normalised);
            prop_assert_eq!(second.normalised, first.normalised);
            prop_assert_eq!(second.config, first.config);
        }
    }
}
