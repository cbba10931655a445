//! What a pass decides, without a store.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::config::{GetStep, Modifiers, Step, StepKind};
use jb_model::{BuildId, JobConfig, ResourceId, Timestamp};

use crate::scheduler::facts::gets_of;
use crate::scheduler::preparation::{
    Blocking, CHECKING, MISSING_INPUT, PendingFacts, Preparation, prepare,
};
use crate::scheduler::readiness::{CheckedInput, Origin, awaited_checks};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn input(resource: i64, ended: Option<i64>, next: Option<i64>) -> CheckedInput {
    CheckedInput {
        resource: ResourceId(resource),
        trigger: false,
        has_passed: false,
        resource_pinned: false,
        last_check_ended: ended.map(at),
        next_check: next.map(at),
    }
}

fn awaited(origin: Origin, inputs: &[CheckedInput]) -> Vec<i64> {
    awaited_checks(origin, at(100), inputs).into_iter().map(|resource| resource.0).collect()
}

#[test]
fn a_manual_build_waits_for_checks_that_end_after_it_was_asked_for() {
    let fresh = input(1, Some(100), Some(160));
    let old = input(2, Some(99), Some(159));
    let never = input(3, None, None);
    let passed = CheckedInput { has_passed: true, ..input(4, None, None) };
    let pinned = CheckedInput { resource_pinned: true, ..input(5, None, None) };
    let trigger = CheckedInput { trigger: true, ..input(6, Some(1), Some(61)) };
    let inputs = [fresh, old, never, passed, pinned, trigger];
    assert_eq!(awaited(Origin::Manual, &inputs), [2, 3, 6]);
    assert!(awaited(Origin::Rerun, &inputs).is_empty());
}

#[test]
fn a_triggered_build_waits_only_for_others_whose_interval_has_passed() {
    let current = input(1, Some(60), Some(120));
    let overdue = input(2, Some(30), Some(90));
    let never = input(3, None, None);
    let trigger = CheckedInput { trigger: true, ..input(4, Some(30), Some(90)) };
    let inputs = [current, overdue, never, trigger];
    assert_eq!(awaited(Origin::Trigger, &inputs), [2]);
}

#[test]
fn gets_are_found_in_every_corner_of_a_plan() {
    let get = |name: &str| Step {
        kind: StepKind::Get(GetStep { name: name.into(), ..GetStep::default() }),
        modifiers: Modifiers::default(),
    };
    let hook = |step: Step| Some(Box::new(step));
    let mut hooked = get("a");
    hooked.modifiers = Modifiers {
        on_success: hook(get("b")),
        on_failure: hook(get("c")),
        on_error: hook(get("d")),
        on_abort: hook(get("e")),
        ensure: hook(get("f")),
        ..Modifiers::default()
    };
    let nested = |kind| Step { kind, modifiers: Modifiers::default() };
    let job = JobConfig {
        plan: vec![
            hooked,
            nested(StepKind::Try(Box::new(nested(StepKind::Do(vec![get("g")]))))),
            nested(StepKind::InParallel { steps: vec![get("h")], limit: 0, fail_fast: false }),
        ],
        ensure: hook(get("i")),
        on_success: hook(get("j")),
        ..JobConfig::default()
    };
    let names: BTreeSet<&str> = gets_of(&job).iter().map(|get| get.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]));
}

fn facts(next: &[(&str, Option<&str>)]) -> PendingFacts {
    let next_inputs: BTreeMap<String, Option<String>> =
        next.iter().map(|(name, reason)| ((*name).to_owned(), reason.map(str::to_owned))).collect();
    PendingFacts { inputs: vec!["a".into(), "b".into()], next_inputs, ..PendingFacts::default() }
}

fn reasons(preparation: &Preparation) -> Vec<(&str, &str)> {
    let reasons = &preparation.missing_input_reasons;
    reasons.iter().map(|(name, reason)| (name.as_str(), reason.as_str())).collect()
}

#[test]
fn a_preparation_names_what_blocks() {
    let ready = prepare(BuildId(1), &facts(&[("a", None), ("b", None)]));
    assert_eq!(ready.inputs_satisfied, Blocking::NotBlocking);
    assert_eq!(ready.inputs["a"], Blocking::NotBlocking);

    let mut checking = facts(&[("a", None), ("b", None)]);
    checking.awaiting_check.insert("b".into());
    checking.max_in_flight_reached = true;
    let checking = prepare(BuildId(1), &checking);
    assert_eq!(reasons(&checking), [("b", CHECKING)]);
    assert_eq!(checking.inputs["a"], Blocking::NotBlocking);
    assert_eq!(checking.inputs_satisfied, Blocking::Blocking);
    assert_eq!(checking.max_running_builds, Blocking::Blocking);
    assert_eq!(checking.paused_job, Blocking::NotBlocking);

    let failed = prepare(BuildId(1), &facts(&[("a", Some("why not"))]));
    assert_eq!(reasons(&failed), [("a", "why not")]);
    assert!(!failed.inputs.contains_key("b"), "the failure of one stands for both");

    let missing = prepare(BuildId(1), &facts(&[("a", None)]));
    assert_eq!(reasons(&missing), [("b", MISSING_INPUT)]);

    let paused = PendingFacts { pipeline_paused: true, job_paused: true, ..facts(&[]) };
    let paused = prepare(BuildId(1), &paused);
    assert_eq!(
        (paused.paused_pipeline, paused.paused_job),
        (Blocking::Blocking, Blocking::Blocking)
    );
}
