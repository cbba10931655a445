//! Steps and their modifiers.
//!
//! A step's keys are tried in one fixed order. Modifiers (`ensure`, …, `attempts`) wrap what follows; the first key that names
//! a step proper ends the walk, and keys that nobody claimed are unknown. `timeout` comes after `run`, `agent`, `approve`, `task`,
//! `put` and `get`: for those it is a field of their own, for the others one more wrapper.

use jb_model::config::{
    Across, AcrossVar, GetStep, LoadVarStep, MaxInFlight, Modifiers, PutInputs, PutStep, RunStep,
    SetPipelineStep, Step, StepKind, TaskStep, VersionChoice,
};
use jb_model::{Object, Value};
use jb_yaml::{Node, NodeKind};

use super::decoder::{Decoder, Empty, Fields, text_map_value};
use super::task::{container_limits, task_config};
use crate::diagnostic::Code;

/// A list of steps with their normalised JSON. `label` is what the context says before each index.
pub(super) fn steps(d: &mut Decoder, node: &Node, label: &str) -> (Vec<Step>, Vec<Value>) {
    let Some(items) = node.as_list() else {
        d.wrong_type("a list of steps", node);
        return (Vec::new(), Vec::new());
    };
    let (mut steps, mut values) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        let context = format!("{label}[{index}]");
        let read = d.within(index, |d| d.in_context(&[context], |d| step(d, item)));
        if let Some((step, value)) = read {
            steps.push(step);
            values.push(Value::Object(value));
        }
    }
    (steps, values)
}

/// The step of a job's hook such as `on_success`.
pub(super) fn hook(d: &mut Decoder, f: &mut Fields<'_>, key: &'static str) -> Option<Box<Step>> {
    let node = f.take(key)?;
    hook_step(d, f, key, node)
}

fn hook_step(
    d: &mut Decoder,
    f: &mut Fields<'_>,
    key: &'static str,
    node: &Node,
) -> Option<Box<Step>> {
    let context = format!(".{key}");
    let (step, value) = d.within(key, |d| d.in_context(&[context], |d| step(d, node)))?;
    f.put(key, value);
    Some(Box::new(step))
}

fn step(d: &mut Decoder, node: &Node) -> Option<(Step, Object)> {
    let mut f = d.fields(node, false)?;
    let mut declared = false;
    let mut hook = |d: &mut Decoder, key| {
        let node = f.claim(key)?;
        declared = true;
        hook_step(d, &mut f, key, node)
    };
    let mut modifiers = Modifiers {
        ensure: hook(d, "ensure"),
        on_error: hook(d, "on_error"),
        on_abort: hook(d, "on_abort"),
        on_failure: hook(d, "on_failure"),
        on_success: hook(d, "on_success"),
        ..Modifiers::default()
    };
    let mut context = Vec::new();
    if f.has_unclaimed("across") {
        declared = true;
        modifiers.across = Some(across(d, &mut f));
        context.push(".across".to_owned());
    }
    if f.has_unclaimed("attempts") {
        declared = true;
        let attempts = d.integer(&mut f, "attempts");
        f.put("attempts", attempts);
        modifiers.attempts = Some(u32::try_from(attempts.max(0)).unwrap_or(u32::MAX));
    }
    let core = d.in_context(&context, |d| core(d, &mut f, &mut modifiers));
    if matches!(core, Core::Missing) {
        let message = if declared || modifiers.timeout.is_some() {
            "no core step type declared (e.g. get, put, task, etc.)"
        } else {
            "no step configured"
        };
        d.fail(Code::NoStep, message, node.span);
        return None;
    }
    unknown_fields(d, &f);
    let Core::Read(kind) = core else { return None };
    Some((Step { kind, modifiers }, f.out))
}

pub(super) fn unknown_fields(d: &mut Decoder, f: &Fields<'_>) {
    let unknown = f.unknown();
    if let Some(first) = unknown.first() {
        let names: Vec<String> = unknown.iter().map(|entry| quote_ascii(&entry.key)).collect();
        let message = format!("unknown fields [{}]", names.join(" "));
        d.fail_step(Code::UnknownField, &message, first.key_span);
    }
}

/// The step proper.
enum Core {
    Read(StepKind),
    /// A key names one, but it could not be read.
    Broken,
    /// No key names one.
    Missing,
}

impl From<Option<StepKind>> for Core {
    fn from(kind: Option<StepKind>) -> Self {
        kind.map_or(Core::Broken, Core::Read)
    }
}

fn core(d: &mut Decoder, f: &mut Fields<'_>, modifiers: &mut Modifiers) -> Core {
    let with_fields = if f.has_unclaimed("run") {
        if d.is_builtin(f, super::agent::PROTOTYPE) {
            Some(StepKind::Task(Box::new(super::agent::prototype(d, f))))
        } else if d.is_builtin(f, super::approve::PROTOTYPE) {
            Some(StepKind::Approve(super::approve::prototype(d, f)))
        } else {
            Some(StepKind::Run(run(d, f)))
        }
    } else if f.has_unclaimed("agent") {
        Some(StepKind::Task(Box::new(super::agent::agent(d, f))))
    } else if f.has_unclaimed("approve") {
        Some(StepKind::Approve(super::approve::approve(d, f)))
    } else if f.has_unclaimed("task") {
        Some(StepKind::Task(Box::new(task(d, f))))
    } else if f.has_unclaimed("put") {
        Some(StepKind::Put(put(d, f)))
    } else if f.has_unclaimed("get") {
        Some(StepKind::Get(get(d, f)))
    } else {
        None
    };
    if let Some(kind) = with_fields {
        modifiers.tags = d.tags(f);
        let timeout = d.text(f, "timeout", Empty::Omit);
        modifiers.timeout = Some(timeout).filter(|timeout| !timeout.is_empty());
        return Core::Read(kind);
    }
    if f.has_unclaimed("timeout") {
        modifiers.timeout = Some(d.text(f, "timeout", Empty::Keep));
    }
    if f.has_unclaimed("set_pipeline") {
        Core::Read(StepKind::SetPipeline(set_pipeline(d, f)))
    } else if f.has_unclaimed("load_var") {
        Core::Read(StepKind::LoadVar(load_var(d, f)))
    } else if let Some(node) = f.claim("try") {
        try_step(d, f, node).into()
    } else if f.has_unclaimed("do") {
        let steps = do_steps(d, f);
        modifiers.tags = d.tags(f);
        Core::Read(StepKind::Do(steps))
    } else if let Some(node) = f.claim("in_parallel") {
        modifiers.tags = d.tags(f);
        in_parallel(d, f, node).into()
    } else {
        Core::Missing
    }
}

fn get(d: &mut Decoder, f: &mut Fields<'_>) -> GetStep {
    GetStep {
        name: d.text(f, "get", Empty::Keep),
        resource: d.text(f, "resource", Empty::Omit),
        version: version_choice(d, f),
        params: d.object(f, "params"),
        passed: d.texts(f, "passed"),
        trigger: d.flag(f, "trigger"),
    }
}

fn version_choice(d: &mut Decoder, f: &mut Fields<'_>) -> VersionChoice {
    let Some(node) = f.take("version") else { return VersionChoice::Latest };
    match &node.value {
        NodeKind::String(text) => {
            let known = matches!(text.as_str(), "latest" | "every");
            f.put("version", if known { text.as_str() } else { "" });
            if text == "every" { VersionChoice::Every } else { VersionChoice::Latest }
        }
        NodeKind::Map(entries) => {
            for entry in entries {
                if entry.value.as_str().is_none() {
                    let message = format!(
                        "the value {} of {} is not a string",
                        entry.value.to_json(),
                        entry.key
                    );
                    d.within("version", |d| d.fail(Code::WrongType, message, entry.value.span));
                    return VersionChoice::Latest;
                }
            }
            let version = d.text_map_of(node, false);
            f.put("version", text_map_value(&version));
            VersionChoice::Pinned(version)
        }
        _ => {
            d.within("version", |d| d.wrong_type("'latest', 'every' or a map of strings", node));
            VersionChoice::Latest
        }
    }
}

fn put(d: &mut Decoder, f: &mut Fields<'_>) -> PutStep {
    PutStep {
        name: d.text(f, "put", Empty::Keep),
        resource: d.text(f, "resource", Empty::Omit),
        params: d.object(f, "params"),
        inputs: put_inputs(d, f),
        get_params: d.object(f, "get_params"),
        no_get: d.flag(f, "no_get"),
    }
}

fn put_inputs(d: &mut Decoder, f: &mut Fields<'_>) -> PutInputs {
    let Some(node) = f.take("inputs") else { return PutInputs::Detect };
    match &node.value {
        NodeKind::String(text) => {
            let (inputs, shown) = match text.as_str() {
                "all" => (PutInputs::All, "all"),
                "detect" => (PutInputs::Detect, "detect"),
                // Any other word asks for no input at all.
                _ => (PutInputs::Only(Vec::new()), ""),
            };
            f.put("inputs", shown);
            inputs
        }
        NodeKind::List(items) => {
            let names: Vec<String> = items
                .iter()
                .filter_map(|item| {
                    let name = item.as_str().map(|name| name.trim().to_owned());
                    if name.is_none() {
                        d.within("inputs", |d| d.wrong_type("the name of an artifact", item));
                    }
                    name
                })
                .collect();
            f.put("inputs", names.clone());
            PutInputs::Only(names)
        }
        _ => {
            d.within("inputs", |d| d.wrong_type("'all', 'detect' or a list of names", node));
            PutInputs::Detect
        }
    }
}

fn task(d: &mut Decoder, f: &mut Fields<'_>) -> TaskStep {
    let name = d.text(f, "task", Empty::Keep);
    let context = [format!(".task({name})")];
    d.in_context(&context, |d| TaskStep {
        name,
        privileged: d.flag(f, "privileged"),
        hermetic: d.flag(f, "hermetic"),
        file: d.text(f, "file", Empty::Omit),
        config: embedded_config(d, f),
        limits: container_limits(d, f),
        params: d
            .environment(f, "params")
            .into_iter()
            .map(|(key, text)| (key, Value::from(text)))
            .collect(),
        vars: d.object(f, "vars"),
        input_mapping: d.text_map(f, "input_mapping").unwrap_or_default(),
        output_mapping: d.text_map(f, "output_mapping").unwrap_or_default(),
        image: d.text(f, "image", Empty::Omit),
        agent: None,
    })
}

pub(super) fn embedded_config(d: &mut Decoder, f: &mut Fields<'_>) -> Option<jb_model::TaskConfig> {
    let node = f.take("config")?;
    let read = d.within("config", |d| {
        d.in_context(&[".config".to_owned()], |d| {
            let (config, f) = task_config(d, node)?;
            unknown_fields(d, &f);
            Some((config, f.out))
        })
    });
    let (config, value) = read?;
    f.put("config", value);
    Some(config)
}

fn run(d: &mut Decoder, f: &mut Fields<'_>) -> RunStep {
    RunStep {
        message: d.text(f, "run", Empty::Keep),
        kind: d.text(f, "type", Empty::Keep),
        params: d.object(f, "params"),
        privileged: d.flag(f, "privileged"),
        limits: container_limits(d, f),
    }
}

fn set_pipeline(d: &mut Decoder, f: &mut Fields<'_>) -> SetPipelineStep {
    SetPipelineStep {
        name: d.text(f, "set_pipeline", Empty::Keep),
        file: d.text(f, "file", Empty::Omit),
        team: d.text(f, "team", Empty::Omit),
        vars: d.object(f, "vars"),
        var_files: d.texts(f, "var_files"),
        instance_vars: d.object(f, "instance_vars"),
    }
}

fn load_var(d: &mut Decoder, f: &mut Fields<'_>) -> LoadVarStep {
    LoadVarStep {
        name: d.text(f, "load_var", Empty::Keep),
        file: d.text(f, "file", Empty::Omit),
        format: d.text(f, "format", Empty::Omit),
        reveal: d.flag(f, "reveal"),
    }
}

fn try_step(d: &mut Decoder, f: &mut Fields<'_>, node: &Node) -> Option<StepKind> {
    let (inner, value) =
        d.within("try", |d| d.in_context(&[".try".to_owned()], |d| step(d, node)))?;
    f.put("try", value);
    Some(StepKind::Try(Box::new(inner)))
}

fn do_steps(d: &mut Decoder, f: &mut Fields<'_>) -> Vec<Step> {
    let Some(node) = f.take("do") else {
        f.put("do", Value::Null);
        return Vec::new();
    };
    let (list, values) =
        d.within("do", |d| d.in_context(&[".do".to_owned()], |d| steps(d, node, "")));
    f.put("do", values);
    list
}

fn in_parallel(d: &mut Decoder, f: &mut Fields<'_>, node: &Node) -> Option<StepKind> {
    const KEY: &str = "in_parallel";
    let (kind, value) = d.within(KEY, |d| {
        d.in_context(&[".in_parallel".to_owned()], |d| match &node.value {
            NodeKind::List(_) => {
                let (list, values) = steps(d, node, ".steps");
                let mut out = Object::new();
                if !values.is_empty() {
                    out.insert("steps".to_owned(), Value::Array(values));
                }
                Some((StepKind::InParallel { steps: list, limit: 0, fail_fast: false }, out))
            }
            NodeKind::Map(_) => parallel_map(d, node),
            _ => {
                d.wrong_type("a list of steps, or a map with 'steps'", node);
                None
            }
        })
    })?;
    f.put(KEY, value);
    Some(kind)
}

fn parallel_map(d: &mut Decoder, node: &Node) -> Option<(StepKind, Object)> {
    let mut inner = d.fields(node, false)?;
    let (list, values) = match inner.take("steps") {
        Some(node) => d.within("steps", |d| steps(d, node, ".steps")),
        None => (Vec::new(), Vec::new()),
    };
    if !values.is_empty() {
        inner.put("steps", values);
    }
    let limit = d.integer(&mut inner, "limit");
    let fail_fast = d.flag(&mut inner, "fail_fast");
    // Zero and below both mean "no limit".
    let limit = u32::try_from(limit.max(0)).unwrap_or(u32::MAX);
    Some((StepKind::InParallel { steps: list, limit, fail_fast }, d.close_lenient(inner)))
}

fn across(d: &mut Decoder, f: &mut Fields<'_>) -> Across {
    let mut values = Vec::new();
    let written = f.take("across").is_some();
    let vars = d
        .list(f, "across", |d, node| {
            let (var, value) = across_var(d, node)?;
            values.push(Value::Object(value));
            Some(var)
        })
        .into_iter()
        .flatten()
        .collect();
    f.put("across", if written { Value::Array(values) } else { Value::Null });
    Across { vars, fail_fast: d.flag(f, "fail_fast") }
}

fn across_var(d: &mut Decoder, node: &Node) -> Option<(AcrossVar, Object)> {
    let mut f = d.fields(node, false)?;
    let var = d.text(&mut f, "var", Empty::Keep);
    let values = f.take("values").map_or(Value::Null, Node::to_json);
    if !values.is_null() {
        f.put("values", values.clone());
    }
    let max_in_flight = match f.take("max_in_flight") {
        None => MaxInFlight::Limit(1),
        Some(node) => match &node.value {
            NodeKind::String(text) if text == "all" => {
                f.put("max_in_flight", "all");
                MaxInFlight::All
            }
            NodeKind::String(text) => {
                let message = format!("invalid max_in_flight {text:?}");
                d.within("max_in_flight", |d| d.fail(Code::InvalidValue, message, node.span));
                MaxInFlight::Limit(1)
            }
            _ => {
                let limit = d.within("max_in_flight", |d| d.integer_of(node));
                f.put("max_in_flight", limit);
                MaxInFlight::Limit(u32::try_from(limit.max(0)).unwrap_or(u32::MAX))
            }
        },
    };
    Some((AcrossVar { var, values, max_in_flight }, d.close(f)))
}

/// Text in double quotes with everything but printable ASCII escaped.
fn quote_ascii(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(c),
            _ if u32::from(c) < 0x80 => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ if u32::from(c) < 0x10000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}
