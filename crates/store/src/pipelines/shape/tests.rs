#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn finds_gets_and_puts_wherever_they_stand() {
    let config = json!({"jobs": [{"name": "j", "plan": [
        {"in_parallel": {"steps": [{"get": "a", "trigger": true}, {"do": [{"get": "x", "resource": "b", "passed": ["k"]}]}]}},
        {"in_parallel": [{"try": {"put": "c"}}]},
        {"task": "t", "on_failure": {"put": "alert", "resource": "slack"}},
    ], "ensure": {"get": "z"}}]});
    let shape = shape(&config);
    let job = &shape.jobs[0];
    let inputs: Vec<_> =
        job.inputs.iter().map(|i| (i.name.as_str(), i.resource.as_str())).collect();
    assert_eq!(inputs, [("a", "a"), ("x", "b"), ("z", "z")]);
    let outputs: Vec<_> = job.outputs.iter().map(|o| o.resource.as_str()).collect();
    assert_eq!(outputs, ["c", "slack"]);
    assert_eq!(job.upstream(), ["k"]);
    assert_eq!(inputs_of(&job.inputs_json()), job.inputs);
    assert_eq!(outputs_of(&job.outputs_json()), job.outputs);
}

#[test]
fn a_resource_triggers_only_without_passed() {
    let config = json!({"jobs": [{"name": "j", "plan": [
        {"get": "a", "trigger": true, "passed": ["k"]},
        {"get": "b", "trigger": true}, {"get": "again", "resource": "b", "passed": ["k"]},
        {"put": "a"}, {"put": "c"},
    ]}]});
    let shape = shape(&config);
    let mut uses = shape.jobs[0].uses();
    uses.sort_by_key(|known| known.resource);
    let uses: Vec<_> = uses.iter().map(|u| (u.resource, u.trigger_kind, u.passed_only)).collect();
    assert_eq!(uses, [("a", 1, true), ("b", 2, false), ("c", 0, true)]);
}

#[test]
fn limits_make_groups() {
    let config = json!({"jobs": [
        {"name": "free"}, {"name": "serial", "serial": true}, {"name": "two", "max_in_flight": 2},
        {"name": "shared", "serial_groups": ["g"], "max_in_flight": 5},
    ]});
    let found: Vec<_> = shape(&config)
        .jobs
        .iter()
        .map(|job| (job.max_in_flight, job.serial_groups.join(",")))
        .collect();
    let wanted = [(0, ""), (1, "serial"), (2, "two"), (1, "g")].map(|(n, g)| (n, g.to_owned()));
    assert_eq!(found, wanted);
}

#[test]
fn group_patterns() {
    for (pattern, name, matches) in [
        ("unit", "unit", true),
        ("unit", "units", false),
        ("test-*", "test-", true),
        ("*-b", "a-b-b", true),
        ("a?c", "abc", true),
        ("{a,b}-x", "b-x", true),
        ("[a-c]1", "b1", true),
        ("[!a-c]1", "b1", false),
        ("*", "", true),
    ] {
        assert_eq!(glob(pattern, name), matches, "{pattern} on {name}");
    }
}
