#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::json;

use super::*;

fn resolve(text: &str) -> std::result::Result<Option<Value>, String> {
    let values = [
        ("x".to_owned(), json!("one")),
        ("n".to_owned(), json!(2)),
        ("m".to_owned(), json!({"a": {"b.c": "deep"}, "list": [1]})),
        ("odd.name".to_owned(), json!("odd")),
        ("tricky".to_owned(), json!("((.:x))")),
    ];
    Substitution::new(&values).resolve(text).map_err(|error| error.to_string())
}

#[test]
fn references_to_own_vars_are_replaced() {
    for (text, value) in [
        ("((.:x))", json!("one")),
        ("(( .:x ))", json!("one")),
        ("((.:n))", json!(2)),
        ("((.:m.list))", json!([1])),
        ("((.:m.a.\"b.c\"))", json!("deep")),
        ("((.:\"odd.name\"))", json!("odd")),
        ("a-((.:x))-((.:n))!", json!("a-one-2!")),
        ("((.:x))((.:x))", json!("oneone")),
        ("(((.:x)))", json!("(one)")),
        ("((vault:x)) ((.:x))", json!("((vault:x)) one")),
        ("((.:tricky))", json!("((.:x))")),
        ("<((.:tricky))>", json!("<((.:x))>")),
        ("é((.:x))é", json!("éoneé")),
    ] {
        assert_eq!(resolve(text), Ok(Some(value)), "{text}");
    }
}

#[test]
fn all_else_stays() {
    for text in [
        "",
        "x",
        "((x))",
        "((vs:x))",
        "((.:other))",
        "((.:x",
        "((.:))",
        "((.:\"x))",
        "( (.:x) )",
        "((.:x y))",
    ] {
        assert_eq!(resolve(text), Ok(None), "{text}");
    }
}

#[test]
fn what_cannot_stand_in_a_text_is_refused() {
    assert_eq!(
        resolve("a ((.:m))"),
        Err("`((.:m))` is a map and cannot stand inside a longer text".to_owned())
    );
    assert_eq!(resolve("((.:m.nosuch))"), Err("`((.:m.nosuch))` has no field `nosuch`".to_owned()));
    assert_eq!(resolve("((.:x.y))"), Err("`((.:x.y))` has no field `y`".to_owned()));
}

#[test]
fn inner_vars_hide_outer_ones_in_their_template_only() {
    use jb_model::config::{AcrossVar, LoadVarStep, MaxInFlight};
    use jb_model::plan::AcrossPlan;
    let load = |file: &str| Plan {
        id: jb_model::PlanId::new("2"),
        attempts: Vec::new(),
        step: PlanStep::LoadVar(Box::new(LoadVarStep {
            file: file.to_owned(),
            ..LoadVarStep::default()
        })),
    };
    let var = AcrossVar {
        var: "x".to_owned(),
        values: json!(["((.:x))", {"((.:y))": "((.:y))"}]),
        max_in_flight: MaxInFlight::All,
    };
    let across =
        AcrossPlan { vars: vec![var], fail_fast: false, template: load("((.:x))/((.:y))") };
    let mut plan = Plan { step: PlanStep::Across(Box::new(across)), ..load("") };
    let values = [("x".to_owned(), json!("outer")), ("y".to_owned(), json!("why"))];
    Substitution::new(&values).plan(&mut plan).unwrap();
    let PlanStep::Across(across) = plan.step else { panic!("no across") };
    assert_eq!(across.vars[0].values, json!(["outer", {"why": "why"}]));
    assert_eq!(across.template, load("((.:x))/why"));
}

#[test]
fn the_images_of_servers_beside_an_agent_are_filled_in() {
    let source = json!({"tag": "((.:x))", "password": "((secret))"});
    let image = ImageResource {
        kind: "registry-image".to_owned(),
        source: source.as_object().unwrap().clone(),
        ..ImageResource::default()
    };
    let image = McpImage::Resource(Box::new(image));
    let way = McpWay::Program(McpProgram { image, ..McpProgram::default() });
    let server = jb_model::agent::McpServer { name: "db".to_owned(), tools: Vec::new(), way };
    let mut agent = AgentConfig { mcp: vec![server], ..AgentConfig::default() };
    Substitution::new(&[("x".to_owned(), json!("v2"))]).agent(&mut agent).unwrap();
    let McpWay::Program(program) = &agent.mcp[0].way else { panic!("no program") };
    let McpImage::Resource(image) = &program.image else { panic!("no image of its own") };
    assert_eq!(json!(image.source), json!({"tag": "v2", "password": "((secret))"}));
}

#[test]
fn environment_takes_any_value_arguments_only_text() {
    let mut config = TaskConfig::default();
    config.params.insert("N".to_owned(), "((.:n))".to_owned());
    config.params.insert("M".to_owned(), "((.:m))".to_owned());
    config.run.args = vec!["((.:x))".to_owned()];
    let values = [
        ("n".to_owned(), json!(null)),
        ("m".to_owned(), json!({"a": 1})),
        ("x".to_owned(), json!(true)),
    ];
    let substitution = Substitution::new(&values);
    let error = substitution.task_config(&mut config).unwrap_err();
    assert_eq!(error.to_string(), "`((.:x))` becomes a boolean where text is needed");
    assert_eq!(config.params["N"], "");
    assert_eq!(config.params["M"], r#"{"a":1}"#);
}
