#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::config::{CheckEvery, MaxInFlight, PutInputs};
use jb_model::{PlanStep, Value};
use serde_json::json;

use super::private::{from_private, to_private};
use super::*;

fn files(directory: &str) -> Vec<(String, String)> {
    let directory = format!("{}/testdata/{directory}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn recorded_public_plans_come_back_to_the_letter() {
    for (path, text) in files("public-plans") {
        let build: Value = serde_json::from_str(&text).unwrap();
        let public: PublicPlan = serde_json::from_value(build["plan"].clone()).unwrap();
        let plan = public.into_plan().unwrap();
        let again = crate::api::to_text(&PublicBuildPlan::new(&plan)).unwrap();
        assert_eq!(again, text.trim_end(), "{path}");
    }
}

#[test]
fn posted_plans_are_kept() {
    for (path, text) in files("private-plans") {
        let plan = from_private(&text).unwrap();
        assert_eq!(to_private(&plan).unwrap(), text.trim_end(), "{path}");
    }
}

#[test]
fn posted_plans_show_what_the_server_showed() {
    for (private, shown) in [("one-off", "build-12"), ("in-pipeline", "build-13")] {
        let read = |directory: &str, name: &str| {
            let all = files(directory);
            all.into_iter().find(|(path, _)| path.ends_with(&format!("{name}.json"))).unwrap().1
        };
        let plan = from_private(&read("private-plans", private)).unwrap();
        let public = crate::api::to_text(&PublicBuildPlan::new(&plan)).unwrap();
        assert_eq!(public, read("public-plans", shown).trim_end());
    }
}

/// Everything a plan can hold, in the private form.
fn whole() -> Value {
    serde_json::from_str(include_str!("../../testdata/every-field.json")).unwrap()
}

#[test]
fn every_field_survives() {
    let json = whole();
    let plan = from_private(&json.to_string()).unwrap();
    let written = to_private(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), json);
    assert_eq!(from_private(&written).unwrap(), plan);
}

#[test]
fn the_public_form_holds_nothing_private() {
    let plan = from_private(&whole().to_string()).unwrap();
    let public = serde_json::to_value(PublicPlan::from(&plan)).unwrap();
    let step = |id: &str| {
        let steps = public["do"].as_array().unwrap();
        steps.iter().find(|step| step["id"] == id).unwrap().clone()
    };
    assert_eq!(
        step("2"),
        json!({"id": "2", "get": {
            "name": "repo", "type": "git2", "resource": "repo", "version": {"ref": "a"},
            "image_get_plan": {"id": "2/image-get", "get": {"name": "git2", "type": "git"}},
            "image_check_plan": {"id": "2/image-check", "check": {"name": "git2", "type": "git"}},
        }})
    );
    assert_eq!(
        step("3"),
        json!({"id": "3", "put": {"name": "out", "type": "git", "resource": "o"}})
    );
    assert_eq!(step("5"), json!({"id": "5", "check": {"name": "c", "type": "t"}}));
    assert_eq!(
        step("6"),
        json!({"id": "6", "task": {"name": "t", "privileged": true, "hermetic": false}})
    );
    assert_eq!(
        step("7"),
        json!({"id": "7", "run": {"message": "m", "type": "p", "privileged": true}})
    );
    assert_eq!(
        step("8"),
        json!({"id": "8", "set_pipeline": {"name": "self", "team": "other", "instance_vars": {"b": 2}}})
    );
    assert_eq!(step("9"), json!({"id": "9", "load_var": {"name": "v"}}));
    assert_eq!(
        step("c"),
        json!({"id": "c", "across": {"vars": [{"name": "x"}, {"name": "y"}], "fail_fast": true}})
    );
    assert_eq!(
        step("1e"),
        json!({"id": "1e", "timeout": {"step": {"id": "1f", "load_var": {"name": "1f"}}, "duration": "1h"}})
    );
    let again: PublicPlan = serde_json::from_value(public.clone()).unwrap();
    let again = PublicPlan::from(&again.into_plan().unwrap());
    assert_eq!(serde_json::to_value(again).unwrap(), public);
}

#[test]
fn what_go_clients_leave_out_or_send_as_null_is_read() {
    let plan = from_private(
        r#"{"id":"1","do":[
            {"id":"2","in_parallel":{"steps":null,"limit":-1}},
            {"id":"3","get":{"type":"t","source":null,"image":null,"new_field":1}},
            {"id":"4","put":{"name":"n","type":"t","source":null,"image":{},"inputs":null}},
            {"id":"5","across":{"vars":[{"name":"v"}],"substep_template":"{\"id\":\"6\",\"do\":[]}"}},
            {"id":"7","task":{"name":"t","privileged":false,"hermetic":false,"config":{
                "params":{"A":1,"B":null,"C":{"d":[true]}},"container_limits":{"cpu":1.9,"memory":"1GB"},"run":null}}}
        ],"another":true}"#,
    )
    .unwrap();
    let PlanStep::Do(steps) = plan.step else { panic!("no do") };
    assert_eq!(
        steps[0].step,
        PlanStep::InParallel { steps: Vec::new(), limit: 0, fail_fast: false }
    );
    let PlanStep::Put(put) = &steps[2].step else { panic!("no put") };
    assert_eq!(put.inputs, PutInputs::Detect);
    let PlanStep::Across(across) = &steps[3].step else { panic!("no across") };
    assert_eq!(across.vars[0].max_in_flight, MaxInFlight::Limit(1));
    assert_eq!(across.vars[0].values, Value::Null);
    let PlanStep::Task(task) = &steps[4].step else { panic!("no task") };
    let config = task.config.clone().unwrap();
    let params: Vec<_> = config.params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(params, [("A", "1"), ("B", ""), ("C", r#"{"d":[true]}"#)]);
    let limits = config.limits.unwrap();
    assert_eq!((limits.cpu_shares, limits.memory_bytes), (Some(1), Some(1 << 30)));
}

#[test]
fn what_is_no_plan_is_refused() {
    let error = |json: &str| from_private(json).unwrap_err().to_string();
    assert_eq!(error(r#"{"id":"1"}"#), "the plan node `1` holds no step that is known");
    assert_eq!(
        error(r#"{"id":"1","do":[],"retry":[]}"#),
        "the plan node `1` holds more than one step"
    );
    assert!(
        error(r#"{"id":"1","across":{"vars":[],"substep_template":"{}"}}"#)
            .starts_with("the template of the `across` step `1` cannot be read")
    );
    assert!(error(r#"{"id":1,"do":[]}"#).starts_with("the plan cannot be read"));
    let task = |config: &str| format!(r#"{{"id":"1","task":{{"name":"t","config":{config}}}}}"#);
    assert!(error(&task(r#"{"run":{"path":"a","args":[1]}}"#)).contains("expected a string"));
    assert!(error(&task(r#"{"container_limits":{"memory":"1T"}}"#)).contains("memory limit"));
    assert!(error(&task(r#"{"container_limits":{"cpu":"x"}}"#)).contains("cpu limit"));
    let deep = format!(
        "{}{{\"id\":\"x\",\"do\":[]}}{}",
        "{\"id\":\"1\",\"try\":{\"step\":".repeat(500),
        "}}".repeat(500)
    );
    assert!(error(&deep).contains("recursion limit"));
}

#[test]
fn check_intervals_are_go_durations() {
    use super::config::{check_every_from_text, check_every_text};
    let every = std::time::Duration::from_secs(90);
    for (value, text) in [
        (CheckEvery::Default, ""),
        (CheckEvery::Never, "never"),
        (CheckEvery::Every(every), "1m30s"),
    ] {
        assert_eq!(check_every_text(value.clone()), text);
        assert_eq!(check_every_from_text(text), value);
    }
}

/// A hostile plan must not overflow the stack of the thread that reads it.
#[test]
fn deep_plans_are_refused_on_a_small_stack() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}{{\"id\":\"x\",\"do\":[]}}{}", open.repeat(depth), close.repeat(depth))
    };
    let mut templates = nested(r#"{"id":"1","try":{"step":"#, "}}", 40);
    for _ in 0..5 {
        let template = serde_json::to_string(&templates).unwrap();
        let across =
            format!(r#"{{"id":"1","across":{{"vars":[],"substep_template":{template}}}}}"#);
        let open = r#"{"id":"1","try":{"step":"#.repeat(40);
        templates = format!("{open}{across}{}", "}}".repeat(40));
    }
    let plans = [
        nested(r#"{"id":"1","try":{"step":"#, "}}", 60),
        nested(r#"{"id":"1","do":["#, "]}", 60),
        nested(r#"{"id":"1","get":{"image":{"get_plan":"#, "}}}", 40),
        nested(r#"{"id":"1","ensure":{"ensure":{"id":"2","do":[]},"step":"#, "}}", 60),
        nested(r#"{"id":"1","try":{"step":"#, "}}", 100_000),
        templates,
    ];
    let reader = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        plans.map(|plan| {
            let public: Result<PublicPlan, _> = serde_json::from_str(&plan);
            drop(public.map(PublicPlan::into_plan));
            from_private(&plan).map(drop).map_err(|error| error.to_string())
        })
    });
    let read = reader.unwrap().join().unwrap();
    assert_eq!(read[..4], [const { Ok(()) }; 4]);
    assert!(read[4].as_ref().unwrap_err().contains("recursion limit"));
    assert!(read[5].as_ref().unwrap_err().contains("nested too deep"));
}

#[test]
fn servers_of_an_agent_come_back_and_wrong_ones_do_not() {
    let plan = |mcp: Value| {
        let agent = json!({"harness": "builtin", "prompt": "x", "mcp": mcp, "budget": {}});
        json!({"id": "1", "task": {"name": "a", "privileged": false, "hermetic": true,
            "config": {"platform": "linux", "run": {"path": ""}}, "agent": agent}})
    };
    let http = json!({"name": "docs", "tools": ["search"], "url": "https://docs.test/mcp",
        "headers": {"authorization": "((token))"}});
    let program = json!({"name": "db", "tools": ["query"], "command": ["pg-mcp", "((host))"],
        "image": "pg", "params": {"PGPASSWORD": "((password))"}});
    let bare = json!({"name": "wiki", "tools": ["read"], "command": ["wiki"]});
    let fetched = json!({"name": "tickets", "tools": ["read"], "command": ["tickets"], "image_resource":
        {"name": "", "type": "registry-image", "source": {"repository": "tickets.test/mcp", "password": "((password))"}}});
    let whole = plan(json!([http, program, bare, fetched]));
    let read = from_private(&whole.to_string()).unwrap();
    let written: Value = serde_json::from_str(&to_private(&read).unwrap()).unwrap();
    assert_eq!(written["task"]["agent"]["mcp"], whole["task"]["agent"]["mcp"]);
    assert_eq!(from_private(&written.to_string()).unwrap(), read);
    let public = serde_json::to_value(PublicPlan::from(&read)).unwrap().to_string();
    assert!(!public.contains("pg-mcp") && !public.contains(".test"), "{public}");
    for (wrong, why) in [
        (json!([{"name": "db", "tools": ["query"], "command": []}]), "names no program"),
        (json!([{"name": "db", "tools": [], "command": ["x"]}]), "needs a list of the `tools:`"),
        (
            json!([{"name": "db", "tools": ["a"], "command": ["x"], "image_resource": {"source": {}}}]),
            "`image_resource:` has no `type:`",
        ),
        (json!([{"name": "db", "tools": ["query"], "url": "db"}]), "not one of https or http"),
        (json!([program, program]), "is named twice"),
        (json!([{"name": "db", "tools": ["query"]}]), "did not match"),
    ] {
        let refused = from_private(&plan(wrong).to_string()).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn what_agents_reach_is_kept_and_read_as_strictly_as_in_a_pipeline() {
    let read = |network: &str| {
        let agent = format!(r#"{{"harness":"builtin","prompt":"x"{network},"budget":{{}}}}"#);
        from_private(&format!(r#"{{"id":"1","task":{{"name":"t","agent":{agent}}}}}"#))
    };
    for network in ["", r#","network":{"hosts":["a.test","*.b.test"]}"#, r#","network":"full""#] {
        let plan = read(network).unwrap();
        let again = to_private(&plan).unwrap();
        assert!(again.contains(&format!(r#""prompt":"x"{network},"budget""#)), "{again}");
        assert_eq!(from_private(&again).unwrap(), plan);
    }
    for (network, expected) in [
        (r#","network":{"hosts":[]}"#, "is empty"),
        (r#","network":{"hosts":["10.0.0.1"]}"#, "it is an address"),
        (r#","network":{"hosts":["((.:host))"]}"#, "written out"),
        (r#","network":"((.:network))""#, "unknown variant"),
    ] {
        let error = read(network).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
