#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use jb_model::config::{
    Across, AcrossVar, CheckEvery, ImageResource, LoadVarStep, MaxInFlight, SetPipelineStep,
    VersionChoice,
};
use jb_model::plan::TypeImage;
use jb_model::{Value, duration};
use serde_json::json;

use super::*;

/// A plan as text: kind, name and id of every step, children in brackets.
fn shown(plan: &Plan) -> String {
    let (kind, name) = match &plan.step {
        PlanStep::Get(get) => ("get", get.name.as_str()),
        PlanStep::Put(put) => ("put", put.name.as_str()),
        PlanStep::Check(check) => ("check", check.name.as_str()),
        PlanStep::Task(task) => ("task", task.name.as_str()),
        PlanStep::Run(run) => ("run", run.message.as_str()),
        PlanStep::SetPipeline(set) => ("set_pipeline", set.name.as_str()),
        PlanStep::LoadVar(load) => ("load_var", load.name.as_str()),
        PlanStep::Approve(approve) => ("approve", approve.step.name.as_str()),
        PlanStep::Do(_) => ("do", ""),
        PlanStep::Retry(_) => ("retry", ""),
        PlanStep::InParallel { .. } => ("in_parallel", ""),
        PlanStep::Across(_) => ("across", ""),
        PlanStep::OnSuccess { .. } => ("on_success", ""),
        PlanStep::OnFailure { .. } => ("on_failure", ""),
        PlanStep::OnError { .. } => ("on_error", ""),
        PlanStep::OnAbort { .. } => ("on_abort", ""),
        PlanStep::Ensure { .. } => ("ensure", ""),
        PlanStep::Try(_) => ("try", ""),
        PlanStep::Timeout { duration, .. } => ("timeout", duration.as_str()),
        PlanStep::ArtifactInput { name, .. } => ("artifact_input", name.as_str()),
        PlanStep::ArtifactOutput { name } => ("artifact_output", name.as_str()),
    };
    let mut text = format!("{}:{kind}", plan.id);
    if !name.is_empty() {
        text.push_str(&format!(" {name}"));
    }
    let inside: Vec<String> = match &plan.step {
        PlanStep::Across(across) => vec![format!("template {}", shown(&across.template))],
        _ => plan.children().into_iter().map(shown).collect(),
    };
    if inside.is_empty() { text } else { format!("{text} [{}]", inside.join(", ")) }
}

fn step(kind: StepKind) -> Step {
    Step { kind, modifiers: Modifiers::default() }
}

fn task(name: &str) -> Step {
    step(StepKind::Task(Box::new(TaskStep { name: name.to_owned(), ..TaskStep::default() })))
}

fn get(name: &str) -> Step {
    let version = VersionChoice::Every;
    step(StepKind::Get(GetStep { name: name.to_owned(), version, ..GetStep::default() }))
}

fn put(name: &str) -> Step {
    step(StepKind::Put(PutStep { name: name.to_owned(), ..PutStep::default() }))
}

fn modified(mut step: Step, change: impl FnOnce(&mut Modifiers)) -> Step {
    change(&mut step.modifiers);
    step
}

fn hook(step: Step) -> Option<Box<Step>> {
    Some(Box::new(step))
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

fn resource(name: &str, kind: &str, source: Value) -> ResourceConfig {
    let (name, kind) = (name.to_owned(), kind.to_owned());
    ResourceConfig { name, kind, source: object(source), ..ResourceConfig::default() }
}

fn resource_type(name: &str, kind: &str, source: Value) -> ResourceTypeConfig {
    let (name, kind) = (name.to_owned(), kind.to_owned());
    ResourceTypeConfig { name, kind, source: object(source), ..ResourceTypeConfig::default() }
}

fn pipeline() -> PipelineConfig {
    PipelineConfig {
        resources: vec![
            resource("src", "mock", json!({"a": 1})),
            resource("out", "mock", json!({})),
            resource("typed", "custom", json!({"own": 1})),
        ],
        resource_types: vec![resource_type("custom", "mock", json!({"mirror_self": true}))],
        ..PipelineConfig::default()
    }
}

fn versions(names: &[&str]) -> BTreeMap<String, Version> {
    let version =
        |name: &&str| ((*name).to_owned(), Version::from([("v".to_owned(), "1".to_owned())]));
    names.iter().map(version).collect()
}

fn plan_steps(steps: Vec<Step>) -> Result<Plan, PlanError> {
    let job = JobConfig { plan: steps, ..JobConfig::default() };
    let inputs = versions(&["src", "typed", "renamed"]);
    plan_job(&pipeline(), &job, &inputs, &mut PlanIds::after(0), &PlanOptions::default())
}

/// The `tree` job whose plan a Concourse showed with these ids.
#[test]
fn ids_and_nesting_are_those_of_a_recorded_plan() {
    let across = |var: &str, max_in_flight| AcrossVar {
        var: var.to_owned(),
        values: json!(["one", "two"]),
        max_in_flight,
    };
    let vars = vec![across("x", MaxInFlight::Limit(2)), across("num", MaxInFlight::Limit(1))];
    let job = JobConfig {
        on_success: hook(task("job-ok")),
        ensure: hook(task("job-ensure")),
        plan: vec![step(StepKind::Do(vec![
            step(StepKind::Try(Box::new(task("tried")))),
            modified(task("across-task"), |modifiers| {
                modifiers.across = Some(Across { vars, fail_fast: false });
            }),
            modified(task("retried"), |modifiers| {
                modifiers.attempts = Some(3);
                modifiers.timeout = Some("1m".to_owned());
                modifiers.on_failure = hook(task("hook-failure"));
                modifiers.ensure = hook(task("hook-ensure"));
            }),
        ]))],
        ..JobConfig::default()
    };
    let mut ids = PlanIds::after(0x6b00_ff3c);
    let options = PlanOptions::default();
    let plan = plan_job(&pipeline(), &job, &BTreeMap::new(), &mut ids, &options).unwrap();
    assert_eq!(
        shown(&plan),
        "6b00ff4e:ensure [6b00ff4c:on_success [6b00ff4a:do [6b00ff49:do [\
         6b00ff3e:try [6b00ff3d:task tried], \
         6b00ff40:across [template 6b00ff3f:task across-task], \
         6b00ff48:ensure [6b00ff46:on_failure [6b00ff44:retry [\
         6b00ff41:task retried, 6b00ff42:task retried, 6b00ff43:task retried], \
         6b00ff45:task hook-failure], 6b00ff47:task hook-ensure]]], \
         6b00ff4b:task job-ok], 6b00ff4d:task job-ensure]"
    );
    assert_eq!(ids.last(), 0x6b00_ff4e);
}

/// The `unit` and `fset` jobs, recorded too.
#[test]
fn puts_get_what_they_made() {
    let load = StepKind::LoadVar(LoadVarStep { name: "word".to_owned(), ..LoadVarStep::default() });
    let set =
        StepKind::SetPipeline(SetPipelineStep { name: "child".to_owned(), ..Default::default() });
    let plan =
        plan_steps(vec![get("src"), step(load), task("filed"), put("out"), step(set)]).unwrap();
    assert_eq!(
        shown(&plan),
        "8:do [1:get src, 2:load_var word, 3:task filed, \
         6:on_success [4:put out, 5:get out], 7:set_pipeline child]"
    );
    let PlanStep::Do(steps) = &plan.step else { panic!("no do") };
    let PlanStep::OnSuccess { hook, .. } = &steps[3].step else { panic!("no on_success") };
    let PlanStep::Get(get) = &hook.step else { panic!("no get") };
    assert_eq!(get.version, VersionSource::From(PlanId::new("4")));
    assert_eq!(get.resource, "out");
}

#[test]
fn puts_and_gets_take_what_they_name() {
    let made = PutStep {
        name: "deploy".to_owned(),
        resource: "out".to_owned(),
        params: object(json!({"p": 1})),
        get_params: object(json!({"g": 1})),
        ..PutStep::default()
    };
    let timed = |step| modified(step, |modifiers| modifiers.timeout = Some("5m".to_owned()));
    let plan = plan_steps(vec![
        timed(step(StepKind::Put(made.clone()))),
        step(StepKind::Put(PutStep { no_get: true, ..made })),
        step(StepKind::Get(GetStep {
            name: "renamed".to_owned(),
            resource: "src".to_owned(),
            params: object(json!({"depth": 1})),
            ..GetStep::default()
        })),
    ])
    .unwrap();
    assert_eq!(
        shown(&plan),
        "6:do [3:on_success [1:put deploy, 2:get deploy], 4:put deploy, 5:get renamed]"
    );
    let PlanStep::Do(steps) = &plan.step else { panic!("no do") };
    let PlanStep::OnSuccess { step: put, hook: get } = &steps[0].step else { panic!("no put") };
    let PlanStep::Put(put) = &put.step else { panic!("no put") };
    let PlanStep::Get(get) = &get.step else { panic!("no get") };
    assert_eq!((put.resource.as_str(), put.timeout.as_str()), ("out", "5m"));
    assert_eq!((get.resource.as_str(), get.timeout.as_str()), ("out", "5m"));
    assert_eq!((&put.params, &get.params), (&object(json!({"p": 1})), &object(json!({"g": 1}))));
    let PlanStep::Get(renamed) = &steps[2].step else { panic!("no get") };
    assert_eq!((renamed.name.as_str(), renamed.resource.as_str()), ("renamed", "src"));
    assert_eq!(renamed.source, object(json!({"a": 1})));
}

#[test]
fn all_hooks_and_modifiers_nest_in_order() {
    let all = |modifiers: &mut Modifiers| {
        modifiers.attempts = Some(2);
        modifiers.timeout = Some("1h".to_owned());
        modifiers.across = Some(Across { vars: Vec::new(), fail_fast: true });
        modifiers.on_success = hook(task("s"));
        modifiers.on_failure = hook(task("f"));
        modifiers.on_abort = hook(task("a"));
        modifiers.on_error = hook(task("e"));
        modifiers.ensure = hook(task("z"));
    };
    let wrapped = modified(step(StepKind::Try(Box::new(task("t")))), all);
    let plan = plan_steps(vec![wrapped]).unwrap();
    assert_eq!(
        shown(&plan),
        "13:do [12:ensure [10:on_error [e:on_abort [c:on_failure [a:on_success [8:across [template \
         7:retry [3:timeout 1h [2:try [1:task t]], 6:timeout 1h [5:try [4:task t]]]], \
         9:task s], b:task f], d:task a], f:task e], 11:task z]]"
    );
    let leaf = modified(task("t"), |modifiers| modifiers.timeout = Some("1h".to_owned()));
    let plan = plan_steps(vec![leaf]).unwrap();
    assert_eq!(shown(&plan), "2:do [1:task t]", "a leaf has a field for its limit");
    let PlanStep::Do(steps) = &plan.step else { panic!("no do") };
    let PlanStep::Task(task) = &steps[0].step else { panic!("no task") };
    assert_eq!(task.timeout, "1h");
}

#[test]
fn the_nearest_tags_count() {
    let tagged = |step, tags: &[&str]| {
        let tags = texts(tags);
        modified(step, |modifiers| modifiers.tags = tags)
    };
    let parallel = |steps| step(StepKind::InParallel { steps, limit: 0, fail_fast: false });
    let job = JobConfig {
        tags: texts(&["job"]),
        ensure: hook(task("hook")),
        plan: vec![
            task("a"),
            tagged(task("b"), &["own"]),
            tagged(
                step(StepKind::Do(vec![
                    modified(task("c"), |modifiers| modifiers.ensure = hook(task("c-hook"))),
                    parallel(vec![tagged(task("d"), &["own", "two"]), get("typed")]),
                    tagged(parallel(vec![step(StepKind::Try(Box::new(task("e"))))]), &["inner"]),
                ])),
                &["do"],
            ),
            task("f"),
        ],
        ..JobConfig::default()
    };
    let mut ids = PlanIds::after(0);
    let inputs = versions(&["typed"]);
    let plan = plan_job(&pipeline(), &job, &inputs, &mut ids, &PlanOptions::default()).unwrap();
    let mut found = Vec::new();
    gather_tags(&plan, &mut found);
    assert_eq!(
        found,
        [
            "a job",
            "b own",
            "c do",
            "c-hook do",
            "d own two",
            "typed do",
            "e inner",
            "f job",
            "hook job"
        ]
    );
}

fn gather_tags(plan: &Plan, found: &mut Vec<String>) {
    match &plan.step {
        PlanStep::Task(task) => found.push(format!("{} {}", task.name, task.tags.join(" "))),
        PlanStep::Get(get) => {
            found.push(format!("{} {}", get.name, get.tags.join(" ")));
            let PlanStep::Check(check) = &get.image.check.as_ref().unwrap().step else {
                panic!("no check")
            };
            assert_eq!(check.tags, get.tags, "the image is fetched where the step runs");
        }
        _ => {}
    }
    plan.children().into_iter().for_each(|child| gather_tags(child, found));
}

fn check(image: &TypeImage) -> &jb_model::plan::CheckPlan {
    let PlanStep::Check(check) = &image.check.as_ref().unwrap().step else { panic!("no check") };
    check
}

fn image_get(image: &TypeImage) -> &GetPlan {
    let PlanStep::Get(get) = &image.get.as_ref().unwrap().step else { panic!("no get") };
    get
}

#[test]
fn custom_types_are_fetched_through_their_chain() {
    let outer = ResourceTypeConfig {
        privileged: true,
        check_every: CheckEvery::Every(duration::parse("10m").unwrap()),
        params: object(json!({"format": "rootfs"})),
        tags: texts(&["outer"]),
        ..resource_type("outer", "inner", json!({"o": 1}))
    };
    let inner = ResourceTypeConfig {
        defaults: object(json!({"o": 0, "d": 0})),
        check_every: CheckEvery::Never,
        ..resource_type("inner", "registry-image", json!({"i": 1}))
    };
    let base = BTreeMap::from([("registry-image".to_owned(), object(json!({"mirror": "m"})))]);
    let types = [outer, inner];
    let types = TypePlanner::new(&types, &base);
    let image = types.image(&PlanId::new("7"), "outer", &texts(&["step"]), true).unwrap();

    assert_eq!((image.base_type.as_str(), image.privileged), ("registry-image", true));
    let of_outer = check(&image);
    assert_eq!(image.check.as_ref().unwrap().id, PlanId::new("7/image-check"));
    assert_eq!((of_outer.name.as_str(), of_outer.kind.as_str()), ("outer", "inner"));
    assert_eq!(of_outer.resource_type, "outer");
    assert_eq!(of_outer.source, object(json!({"o": 1, "d": 0})), "defaults of the parent type");
    assert_eq!((of_outer.interval.as_str(), of_outer.skip_interval), ("10m0s", true));
    assert_eq!(of_outer.tags, ["outer"]);
    let of_inner = check(&of_outer.image);
    assert_eq!(of_outer.image.check.as_ref().unwrap().id, PlanId::new("7/image-check/image-check"));
    assert_eq!((of_inner.resource_type.as_str(), of_inner.interval.as_str()), ("inner", "never"));
    assert_eq!(of_inner.source, object(json!({"i": 1, "mirror": "m"})));
    assert_eq!(of_inner.tags, ["outer"], "its own tags, else those of what needs it");
    assert_eq!(
        of_inner.image,
        TypeImage { base_type: "registry-image".to_owned(), ..TypeImage::default() }
    );

    let got = image_get(&image);
    assert_eq!(got.version, VersionSource::From(PlanId::new("7/image-check")));
    assert_eq!((got.name.as_str(), got.resource.as_str()), ("outer", ""));
    assert_eq!(got.params, object(json!({"format": "rootfs"})));
    let nested = image_get(&got.image);
    assert_eq!(got.image.get.as_ref().unwrap().id, PlanId::new("7/image-get/image-get"));
    assert_eq!(nested.version, VersionSource::From(PlanId::new("7/image-get/image-check")));
    assert_eq!(got.image.base_type, "registry-image");
}

#[test]
fn a_type_may_carry_the_name_of_its_base() {
    let own = ResourceTypeConfig {
        defaults: object(json!({"d": 1})),
        ..resource_type("git", "git", json!({"image": "mine"}))
    };
    let base = BTreeMap::new();
    let types = TypePlanner::new(std::slice::from_ref(&own), &base);
    let image = types.image(&PlanId::new("7"), "git", &[], false).unwrap();
    assert_eq!(image.base_type, "git");
    let fetched = check(&image);
    assert_eq!(fetched.source, object(json!({"image": "mine"})), "it is no parent of itself");
    assert_eq!(fetched.image.get, None);
    assert_eq!(types.with_defaults("git", &Object::new()), object(json!({"d": 1})));

    let circle = [resource_type("a", "b", json!({})), resource_type("b", "a", json!({}))];
    let image = TypePlanner::new(&circle, &base).image(&PlanId::new("7"), "a", &[], false).unwrap();
    assert_eq!(image.base_type, "a");
}

#[test]
fn endless_chains_of_types_are_refused() {
    let types: Vec<_> = (0..40)
        .map(|n| resource_type(&format!("t{n}"), &format!("t{}", n + 1), json!({})))
        .collect();
    let base = BTreeMap::new();
    let image = TypePlanner::new(&types, &base).image(&PlanId::new("7"), "t0", &[], false);
    assert!(matches!(image, Err(PlanError::TypesTooDeep { .. })));
}

#[test]
fn manual_builds_check_images_of_puts_and_tasks_at_once() {
    let job =
        JobConfig { plan: vec![get("typed"), put("typed"), task("t")], ..JobConfig::default() };
    let options = PlanOptions { manual: true, ..PlanOptions::default() };
    let inputs = versions(&["typed"]);
    let plan = plan_job(&pipeline(), &job, &inputs, &mut PlanIds::after(0), &options).unwrap();
    let PlanStep::Do(steps) = &plan.step else { panic!("no do") };
    let PlanStep::Get(get) = &steps[0].step else { panic!("no get") };
    assert!(!check(&get.image).skip_interval);
    assert_eq!(get.source, object(json!({"own": 1})));
    let PlanStep::OnSuccess { step: put, hook: after } = &steps[1].step else { panic!("no put") };
    let (PlanStep::Put(put), PlanStep::Get(after)) = (&put.step, &after.step) else {
        panic!("no put and get")
    };
    assert!(check(&put.image).skip_interval && check(&after.image).skip_interval);
    assert_eq!(put.image.get.as_ref().unwrap().id, PlanId::new("2/image-get"));
    let PlanStep::Task(task) = &steps[2].step else { panic!("no task") };
    assert!(task.check_skip_interval);
    assert_eq!(task.resource_types, pipeline().resource_types);
}

#[test]
fn images_of_tasks_are_checked_unless_their_version_is_given() {
    let types = [ResourceTypeConfig {
        defaults: object(json!({"d": 1})),
        ..resource_type("custom", "mock", json!({}))
    }];
    let base = BTreeMap::from([("mock".to_owned(), object(json!({"b": 1})))]);
    let id = PlanId::new("5");
    let image = ImageResource {
        kind: "mock".to_owned(),
        source: object(json!({"mirror_self": true})),
        ..ImageResource::default()
    };
    let tags = texts(&["x"]);
    let (found, got) = plan_task_image(&image, &types, &base, (&id, "image"), &tags, true).unwrap();
    let found = found.unwrap();
    assert_eq!(shown(&found), "5/image-check:check image");
    assert_eq!(shown(&got), "5/image-get:get image");
    let PlanStep::Check(check) = &found.step else { panic!("no check") };
    assert_eq!(check.source, object(json!({"b": 1, "mirror_self": true})));
    assert_eq!((check.interval.as_str(), check.skip_interval), ("", true));
    assert_eq!((check.resource_type.as_str(), check.tags.as_slice()), ("", tags.as_slice()));

    let version = Version::from([("digest".to_owned(), "d".to_owned())]);
    let pinned = ImageResource {
        kind: "custom".to_owned(),
        version: Some(version.clone()),
        tags: texts(&["own"]),
        ..image
    };
    let (none, got) =
        plan_task_image(&pinned, &types, &base, (&id, "image"), &tags, false).unwrap();
    assert_eq!(none, None);
    let PlanStep::Get(get) = &got.step else { panic!("no get") };
    assert_eq!(get.version, VersionSource::Fixed(version));
    assert_eq!(get.source, object(json!({"d": 1, "mirror_self": true})));
    assert_eq!(get.tags, ["own"]);
    assert_eq!(get.image.get.as_ref().unwrap().id, PlanId::new("5/image-get/image-get"));
}

#[test]
fn checks_are_of_resources_types_and_prototypes() {
    let mut pipeline = pipeline();
    pipeline.resources[2].check_timeout = "1m".to_owned();
    pipeline.resource_types.push(ResourceTypeConfig {
        defaults: object(json!({"d": 1})),
        ..resource_type("mock", "mock", json!({"s": 1}))
    });
    let options = |manual| PlanOptions { manual, ..PlanOptions::default() };
    let plan = |checked, manual, all| {
        let every = CheckEvery::Never;
        let mut ids = PlanIds::after(0xe);
        let plan =
            plan_check(&pipeline, checked, None, &every, all, &mut ids, &options(manual)).unwrap();
        assert_eq!(plan.id, PlanId::new("f"));
        let PlanStep::Check(check) = plan.step else { panic!("no check") };
        *check
    };
    let typed = plan(Checked::Resource(&pipeline.resources[2]), true, false);
    assert_eq!((typed.resource.as_str(), typed.timeout.as_str()), ("typed", "1m"));
    assert_eq!((typed.interval.as_str(), typed.skip_interval), ("never", true));
    assert!(!check(&typed.image).skip_interval);
    let all = plan(Checked::Resource(&pipeline.resources[2]), true, true);
    assert!(check(&all.image).skip_interval);

    let own = plan(Checked::ResourceType(&pipeline.resource_types[1]), false, false);
    assert_eq!((own.resource_type.as_str(), own.resource.as_str()), ("mock", ""));
    assert_eq!(own.image, TypeImage { base_type: "mock".to_owned(), ..TypeImage::default() });
    assert_eq!(own.source, object(json!({"s": 1})));

    let prototype = resource_type("proto", "custom", json!({}));
    let proto = plan(Checked::Prototype(&prototype), false, false);
    assert_eq!((proto.prototype.as_str(), proto.kind.as_str()), ("proto", "custom"));
    assert!(proto.image.get.is_some());
}

#[test]
fn prototypes_lend_their_defaults() {
    let mut pipeline = pipeline();
    pipeline.prototypes.push(ResourceTypeConfig {
        defaults: object(json!({"a": 1, "b": 1})),
        ..resource_type("proto", "mock", json!({}))
    });
    let run = RunStep {
        message: "build".to_owned(),
        kind: "proto".to_owned(),
        params: object(json!({"b": 2})),
        ..RunStep::default()
    };
    let job = JobConfig { plan: vec![step(StepKind::Run(run))], ..JobConfig::default() };
    let mut ids = PlanIds::after(0);
    let options = PlanOptions::default();
    let plan = plan_job(&pipeline, &job, &BTreeMap::new(), &mut ids, &options).unwrap();
    let PlanStep::Do(steps) = &plan.step else { panic!("no do") };
    let PlanStep::Run(run) = &steps[0].step else { panic!("no run") };
    assert_eq!(run.object, object(json!({"a": 1, "b": 2})));
}

#[test]
fn what_cannot_be_planned_says_so() {
    let error = |step| plan_steps(vec![step]).unwrap_err();
    assert_eq!(error(get("nosuch")), PlanError::UnknownResource("nosuch".to_owned()));
    assert_eq!(error(get("out")), PlanError::VersionNotProvided("out".to_owned()));
    assert_eq!(error(put("nosuch")), PlanError::UnknownResource("nosuch".to_owned()));
    let run = RunStep { kind: "nosuch".to_owned(), ..RunStep::default() };
    assert_eq!(error(step(StepKind::Run(run))), PlanError::UnknownPrototype("nosuch".to_owned()));
    let many = modified(task("t"), |modifiers| modifiers.attempts = Some(u32::MAX));
    assert!(matches!(error(many), PlanError::TooManySteps { .. }));
    let mut deep = task("t");
    for _ in 0..1000 {
        deep = step(StepKind::Try(Box::new(deep)));
    }
    assert!(matches!(error(deep), PlanError::TooDeep { .. }));
}
