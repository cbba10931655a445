//! What the driver can ask about nodes.

use jb_model::{BuildStatus, Plan, PlanId, PlanStep, Timestamp, Value};
use serde_json::json;

use super::outline;
use super::spec::images;
use crate::error::PlanError;
use crate::machine::{BuildMachine, Event};
use crate::plan_tree::MAX_STEPS;

fn started(outline: &str) -> BuildMachine {
    let mut machine = BuildMachine::new(outline::parse(outline)).unwrap();
    machine.apply(Timestamp(0), Event::Start, &mut Vec::new());
    machine
}

fn values(machine: &mut BuildMachine, node: &str, values: Value) {
    let values = Ok(serde_json::from_value(values).unwrap());
    machine.apply(
        Timestamp(0),
        Event::AcrossValues { node: PlanId::new(node), values },
        &mut Vec::new(),
    );
}

fn texts(ids: &[PlanId]) -> Vec<&str> {
    ids.iter().map(PlanId::as_str).collect()
}

#[test]
fn plans_of_substeps_hold_their_values() {
    let mut machine =
        started("across x v=1\n  task t name=run-((.:v)) arg=((.:v.path))((.:other))");
    values(&mut machine, "x", json!([[{"path": "p", "x": 1}]]));
    assert_eq!(machine.plan_of(&PlanId::new("x/0/0")), None);

    let mut machine =
        started("across x v=1 w=1\n  task t name=run-((.:v))-((.:w)) arg=a((.:v))((.:z))");
    values(&mut machine, "x", json!([["one"], [2, 3]]));
    let plan = machine.plan_of(&PlanId::new("x/1/0")).unwrap();
    let PlanStep::Task(task) = &plan.step else { panic!("no task") };
    assert_eq!(task.name, "run-one-3");
    assert_eq!(task.config.as_ref().unwrap().run.args, ["aone((.:z))"]);
}

#[test]
fn scopes_and_values_go_from_the_inside_out() {
    let mut machine = started(
        "do\n  across x v=all\n    do s\n      across y w=all\n        do r\n          task t\n      step u\n",
    );
    values(&mut machine, "x", json!([["a", "b"]]));
    values(&mut machine, "x/1/1", json!([[1]]));
    let task = PlanId::new("x/1/1/0/1");
    assert!(matches!(machine.plan_of(&task).unwrap().step, PlanStep::Task(_)));
    assert_eq!(texts(&machine.scope_of(&task)), ["x/1/1/0/0", "x/1/0"]);
    let all = [("w".to_owned(), json!(1)), ("v".to_owned(), json!("b"))];
    assert_eq!(machine.across_vars_of(&task), all);
    assert_eq!(texts(&machine.scope_of(&PlanId::new("x/1/2"))), ["x/1/0"]);
    assert_eq!(machine.across_vars_of(&PlanId::new("x/0/2")), [("v".to_owned(), json!("a"))]);
    assert_eq!(texts(&machine.scope_of(&PlanId::new("x"))), [""; 0]);

    let need = images(task.as_str(), "image");
    machine.apply(
        Timestamp(0),
        Event::Prepared { node: task.clone(), images: need },
        &mut Vec::new(),
    );
    let get = PlanId::new("x/1/1/0/1/image-get");
    assert_eq!(texts(&machine.scope_of(&get)), [get.as_str(), "x/1/1/0/0", "x/1/0"]);
    assert_eq!(machine.image_of(&get), Some(&task));
    assert_eq!(machine.image_of(&task), None);
    let images: Vec<_> = machine.images_of(&task).into_iter().map(PlanId::as_str).collect();
    assert_eq!(images, ["x/1/1/0/1/image-check", get.as_str()]);
    assert!(matches!(machine.plan_of(&get).unwrap().step, PlanStep::Get(_)));
}

#[test]
fn hooks_know_what_they_are_for() {
    let machine = started(
        "ensure\n  on_error\n    on_abort\n      on_failure\n        on_success\n          step a\n          step success\n        \
         on_success failure\n          put p\n          get g\n      do\n        step abort\n    try\n      step error\n  step ensured",
    );
    let status = |node: &str| machine.hook_status(&PlanId::new(node));
    assert_eq!(status("a"), None);
    assert_eq!(status("success"), Some(BuildStatus::Succeeded));
    assert_eq!(status("p"), Some(BuildStatus::Failed));
    assert_eq!(status("g"), Some(BuildStatus::Succeeded));
    assert_eq!(status("abort"), Some(BuildStatus::Aborted));
    assert_eq!(status("error"), Some(BuildStatus::Errored));
    assert_eq!(status("ensured"), None);
    assert_eq!(status("nosuch"), None);
}

#[test]
fn steps_know_their_attempt() {
    let mut machine = started(
        "retry\n  do\n    step a\n    retry\n      step b\n      on_failure\n        step c\n        step d\n  across x v=1\n    step e",
    );
    let attempts = |machine: &BuildMachine, node: &str| {
        machine.plan_of(&PlanId::new(node)).unwrap().attempts.clone()
    };
    assert_eq!(attempts(&machine, "a"), [1]);
    assert_eq!(attempts(&machine, "b"), [1, 1]);
    assert_eq!(attempts(&machine, "d"), [1, 2]);
    let end = Event::Finished {
        node: PlanId::new("a"),
        phase: crate::Phase::Run,
        result: crate::LeafResult::failed(),
    };
    machine.apply(Timestamp(0), end, &mut Vec::new());
    values(&mut machine, "x", json!([["v"]]));
    assert_eq!(attempts(&machine, "x/0/0"), [2]);
}

#[test]
fn plans_that_cannot_be_walked_are_refused() {
    let new = |plan: Plan| BuildMachine::new(plan).map(drop).unwrap_err();
    assert_eq!(
        new(outline::parse("do\n  step a\n  step a")),
        PlanError::DuplicateId(PlanId::new("a"))
    );
    assert_eq!(
        new(outline::parse("across x\n  step a")),
        PlanError::AcrossWithoutVars(PlanId::new("x"))
    );
    let mut deep = outline::parse("step a");
    for number in 0..1000 {
        let (id, step) = (PlanId(format!("t{number}")), PlanStep::Try(Box::new(deep)));
        deep = Plan { id, attempts: Vec::new(), step };
    }
    assert!(matches!(new(deep), PlanError::TooDeep { .. }));
    let leaf = |number: usize| Plan {
        id: PlanId(number.to_string()),
        attempts: Vec::new(),
        step: PlanStep::Do(Vec::new()),
    };
    let wide = PlanStep::Do((0..MAX_STEPS).map(leaf).collect());
    let wide = Plan { id: PlanId::new("all"), attempts: Vec::new(), step: wide };
    assert!(matches!(new(wide), PlanError::TooManySteps { .. }));
}

#[test]
fn too_many_combinations_are_an_error_of_the_step() {
    let mut machine = started("try\n  across x v=1 w=1\n    step s");
    let many: Vec<Value> = (0..1000).map(Value::from).collect();
    values(&mut machine, "x", json!([many, many]));
    assert_eq!(machine.status(), Some(BuildStatus::Succeeded));
}
