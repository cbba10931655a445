//! Plans as indented outlines, so that specs can be read.
//!
//! One step per line, its children indented below: `kind [id] [key=value]...`. Steps without an id get one from their
//! kind and line. `step` is a leaf that runs a process and needs no preparation, `load` one that runs none.

use jb_model::approval::{ApprovePlan, ApproveStep};
use jb_model::config::{
    AcrossVar, ImageResource, LoadVarStep, MaxInFlight, PutInputs, TaskConfig, TaskRun,
};
use jb_model::plan::{
    AcrossPlan, CheckPlan, GetPlan, PutPlan, RunPlan, TaskPlan, TypeImage, VersionSource,
};
use jb_model::{ArtifactId, Object, Plan, PlanId, PlanStep, Value};

struct Line<'a> {
    number: usize,
    indent: usize,
    words: Vec<&'a str>,
}

pub(super) fn parse(text: &str) -> Plan {
    let lines: Vec<Line<'_>> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| Line {
            number,
            indent: line.len() - line.trim_start().len(),
            words: line.split_whitespace().collect(),
        })
        .collect();
    let (plan, rest) = step(&lines);
    assert!(rest.is_empty(), "line {} is outside of the plan", rest[0].number);
    plan
}

fn step<'a, 'l>(lines: &'l [Line<'a>]) -> (Plan, &'l [Line<'a>]) {
    let (line, mut rest) = lines.split_first().expect("a step");
    let mut children = Vec::new();
    while rest.first().is_some_and(|next| next.indent > line.indent) {
        let (child, after) = step(rest);
        children.push(child);
        rest = after;
    }
    (plan(line, children), rest)
}

fn plan(line: &Line<'_>, children: Vec<Plan>) -> Plan {
    let (kind, words) = line.words.split_first().unwrap();
    let (id, options) = match words.split_first() {
        Some((id, options)) if !id.contains('=') => ((*id).to_owned(), options),
        _ => (format!("{kind}{}", line.number), words),
    };
    let option = |key: &str| {
        let prefix = format!("{key}=");
        options.iter().find_map(|option| option.strip_prefix(prefix.as_str())).map(str::to_owned)
    };
    let step = match *kind {
        "step" | "load" | "approve" | "task" | "get" | "put" | "check" | "input" => {
            leaf(kind, &id, &option)
        }
        _ => composite(line, children, &option),
    };
    Plan { id: PlanId(id), attempts: Vec::new(), step }
}

fn composite(
    line: &Line<'_>,
    children: Vec<Plan>,
    option: &dyn Fn(&str) -> Option<String>,
) -> PlanStep {
    let two = |mut children: Vec<Plan>| {
        assert_eq!(children.len(), 2, "line {} wants a step and a hook", line.number);
        let hook = Box::new(children.pop().unwrap());
        (Box::new(children.pop().unwrap()), hook)
    };
    let one = |mut children: Vec<Plan>| {
        assert_eq!(children.len(), 1, "line {} wants one step", line.number);
        Box::new(children.pop().unwrap())
    };
    let fail_fast = option("fail_fast").is_some_and(|value| value == "true");
    match line.words[0] {
        "do" => PlanStep::Do(children),
        "retry" => PlanStep::Retry(children),
        "in_parallel" => {
            let limit = option("limit").map_or(0, |limit| limit.parse().unwrap());
            PlanStep::InParallel { steps: children, limit, fail_fast }
        }
        "try" => PlanStep::Try(one(children)),
        "timeout" => PlanStep::Timeout { step: one(children), duration: option("after").unwrap() },
        "across" => {
            // `x=2` is a var with two in flight; values come at run time.
            let vars = line.words.iter().filter_map(|word| word.split_once('='));
            let vars = vars.filter(|(name, _)| *name != "fail_fast").map(|(var, limit)| {
                let max_in_flight = match limit {
                    "all" => MaxInFlight::All,
                    limit => MaxInFlight::Limit(limit.parse().unwrap()),
                };
                AcrossVar { var: var.to_owned(), values: Value::Null, max_in_flight }
            });
            let vars = vars.collect();
            PlanStep::Across(Box::new(AcrossPlan { vars, fail_fast, template: *one(children) }))
        }
        hook => {
            let (step, hook_plan) = two(children);
            match hook {
                "on_success" => PlanStep::OnSuccess { step, hook: hook_plan },
                "on_failure" => PlanStep::OnFailure { step, hook: hook_plan },
                "on_error" => PlanStep::OnError { step, hook: hook_plan },
                "on_abort" => PlanStep::OnAbort { step, hook: hook_plan },
                "ensure" => PlanStep::Ensure { step, hook: hook_plan },
                other => panic!("line {}: no step is called {other}", line.number),
            }
        }
    }
}

#[expect(clippy::too_many_lines, reason = "every field of every leaf")]
fn leaf(kind: &str, id: &str, option: &dyn Fn(&str) -> Option<String>) -> PlanStep {
    let name = option("name").unwrap_or_else(|| id.to_owned());
    let timeout = option("timeout").unwrap_or_default();
    let image = TypeImage { base_type: "mock".to_owned(), ..TypeImage::default() };
    let kind_name = "mock".to_owned();
    match kind {
        "step" => PlanStep::Run(Box::new(RunPlan {
            message: name,
            kind: kind_name,
            object: Object::new(),
            privileged: false,
            limits: None,
            tags: Vec::new(),
            timeout,
        })),
        "approve" => {
            let step = ApproveStep { name, ..ApproveStep::default() };
            PlanStep::Approve(Box::new(ApprovePlan { step, timeout }))
        }
        "load" => PlanStep::LoadVar(Box::new(LoadVarStep {
            name,
            file: "a/b".to_owned(),
            ..LoadVarStep::default()
        })),
        "input" => PlanStep::ArtifactInput { artifact: ArtifactId(1), name },
        "get" => PlanStep::Get(Box::new(GetPlan {
            name,
            kind: kind_name,
            resource: String::new(),
            source: Object::new(),
            params: Object::new(),
            version: match option("from") {
                Some(from) => VersionSource::From(PlanId(from)),
                None => VersionSource::Fixed(jb_model::Version::new()),
            },
            image,
            tags: Vec::new(),
            timeout,
        })),
        "put" => PlanStep::Put(Box::new(PutPlan {
            name,
            kind: kind_name,
            resource: String::new(),
            source: Object::new(),
            params: Object::new(),
            inputs: PutInputs::Detect,
            image,
            tags: Vec::new(),
            timeout,
            expose_build_created_by: false,
        })),
        "check" => PlanStep::Check(Box::new(CheckPlan {
            name,
            kind: kind_name,
            source: Object::new(),
            from_version: None,
            resource: String::new(),
            resource_type: String::new(),
            prototype: String::new(),
            interval: String::new(),
            skip_interval: false,
            timeout,
            image,
            tags: Vec::new(),
        })),
        "task" => PlanStep::Task(Box::new(TaskPlan {
            name,
            privileged: false,
            hermetic: false,
            config_path: String::new(),
            config: Some(TaskConfig {
                platform: "linux".to_owned(),
                image_resource: Some(ImageResource {
                    kind: "mock".to_owned(),
                    ..ImageResource::default()
                }),
                run: TaskRun {
                    path: "echo".to_owned(),
                    args: option("arg").into_iter().collect(),
                    ..TaskRun::default()
                },
                ..TaskConfig::default()
            }),
            vars: Object::new(),
            limits: None,
            params: Object::new(),
            input_mapping: std::collections::BTreeMap::new(),
            output_mapping: std::collections::BTreeMap::new(),
            image_artifact: String::new(),
            tags: Vec::new(),
            timeout,
            resource_types: Vec::new(),
            check_skip_interval: false,
            agent: None,
        })),
        other => panic!("no leaf is called {other}"),
    }
}
