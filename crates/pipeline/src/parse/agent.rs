//! The `agent` step, in both spellings: as a step of its own, and as `run` of the built-in prototype, which clients that
//! know no agents accept.

mod approval;
mod context;
mod mcp;
mod network;

use jb_model::Value;
use jb_model::agent::{
    AgentConfig, AgentNetwork, Budget, Harness, ResultSchema, ShellGrant, Tool, Verdict,
};
use jb_model::config::TaskStep;
use jb_model::duration::parse_duration;
use jb_yaml::{Node, NodeKind};

use super::decoder::{Decoder, Empty, Fields};
use super::step::{embedded_config, unknown_fields};
use super::task::container_limits;
use crate::diagnostic::Code;

/// The prototype type that stands for what is built in.
pub(super) const BUILTIN: &str = "builtin";
/// Its name for agent steps.
pub(super) const PROTOTYPE: &str = "agent";
/// Millionths in a US dollar.
const MICROS: f64 = 1e6;
/// The dearest step.
const DOLLARS_MAX: f64 = 1e6;

/// `agent: name` with everything beside it.
pub(super) fn agent(d: &mut Decoder, f: &mut Fields<'_>) -> TaskStep {
    let name = d.text(f, "agent", Empty::Keep);
    d.in_context(&[format!(".agent({name})")], |d| step(d, f, name))
}

/// `run: name`, `type: agent` with everything in `params`.
pub(super) fn prototype(d: &mut Decoder, f: &mut Fields<'_>) -> TaskStep {
    let limits = container_limits(d, f);
    let mut task = in_params(d, f, PROTOTYPE, step);
    task.limits = limits.or(task.limits);
    task
}

/// Reads `run: name` of a built-in prototype, whose step is in `params`.
pub(super) fn in_params<T: Default>(
    d: &mut Decoder,
    f: &mut Fields<'_>,
    prototype: &str,
    step: impl FnOnce(&mut Decoder, &mut Fields<'_>, String) -> T,
) -> T {
    let name = d.text(f, "run", Empty::Keep);
    d.text(f, "type", Empty::Keep);
    d.in_context(&[format!(".run({prototype}.{name})")], |d| {
        let node = f.take("params");
        let read = d.within("params", |d| {
            let empty = Node::new(NodeKind::Map(Vec::new()), jb_yaml::Span::default());
            let mut inner = d.fields(node.unwrap_or(&empty), false)?;
            let step = step(d, &mut inner, name);
            unknown_fields(d, &inner);
            Some((step, inner.out))
        });
        let Some((step, value)) = read else { return T::default() };
        f.put("params", value);
        step
    })
}

fn step(d: &mut Decoder, f: &mut Fields<'_>, name: String) -> TaskStep {
    if let Some(node) = f.claim("privileged") {
        let message = "an agent is never privileged";
        d.within("privileged", |d| d.fail(Code::InvalidValue, message, node.span));
    }
    let network = network::network(d, f);
    let hermetic = network != AgentNetwork::Full;
    TaskStep {
        agent: Some(Box::new(AgentConfig {
            harness: harness(d, f),
            model: d.text(f, "model", Empty::Omit),
            prompt: d.text(f, "prompt", Empty::Omit),
            prompt_file: d.text(f, "prompt_file", Empty::Omit),
            context: context::context(d, f),
            tools: tools(d, f),
            mcp: mcp::servers(d, f),
            network,
            result: result(d, f),
            verdict: verdict(d, f),
            budget: budget(d, f),
            approval: approval::approval(d, f),
        })),
        name,
        privileged: false,
        // Its only way out is the gateway, or it has the network of tasks.
        hermetic,
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
    }
}

fn harness(d: &mut Decoder, f: &mut Fields<'_>) -> Harness {
    let span = f.take("harness").map(|node| node.span).unwrap_or_default();
    let name = d.text(f, "harness", Empty::Omit);
    if name.is_empty() {
        return Harness::default();
    }
    Harness::named(&name).unwrap_or_else(|| {
        let known: Vec<&str> = Harness::ALL.into_iter().map(Harness::as_str).collect();
        let message = format!("unknown harness '{name}'; there are {}", known.join(", "));
        d.within("harness", |d| d.fail(Code::InvalidValue, message, span));
        Harness::default()
    })
}

fn tools(d: &mut Decoder, f: &mut Fields<'_>) -> Vec<Tool> {
    let mut values = Vec::new();
    let read = d.list(f, "tools", |d, node| {
        let (tool, value) = tool(d, node)?;
        values.push(value);
        Some((tool, node.span))
    });
    let mut tools: Vec<Tool> = Vec::new();
    for (index, read) in read.into_iter().enumerate() {
        let Some((tool, span)) = read else { continue };
        if tools.iter().any(|known| known.name() == tool.name()) {
            let message = format!("the tool '{}' is granted twice", tool.name());
            d.within("tools", |d| d.within(index, |d| d.fail(Code::DuplicateName, message, span)));
        } else {
            tools.push(tool);
        }
    }
    if !values.is_empty() {
        f.put("tools", values);
    }
    tools
}

fn tool(d: &mut Decoder, node: &Node) -> Option<(Tool, Value)> {
    if let Some(name) = node.as_str() {
        let plain = Tool::PLAIN.into_iter().find(|(known, _)| *known == name);
        if let Some((_, tool)) = plain {
            return Some((tool, Value::from(name)));
        }
        let message = if name == "shell" {
            "the tool 'shell' needs a list of what may run, as in {shell: [\"cargo test*\"]}"
                .to_owned()
        } else {
            let known: Vec<&str> = Tool::PLAIN.iter().map(|(name, _)| *name).collect();
            format!("unknown tool '{name}'; there are {} and shell", known.join(", "))
        };
        d.fail(Code::InvalidValue, message, node.span);
        return None;
    }
    let (grants, value) = shell(d, node)?;
    Some((Tool::Shell(grants), value))
}

/// Reads `{shell: [...]}`, the programs that a tool may start or that are asked for.
fn shell(d: &mut Decoder, node: &Node) -> Option<(Vec<ShellGrant>, Value)> {
    let mut f = d.fields(node, false)?;
    let grants = d.list(&mut f, "shell", |d, node| {
        let Some(text) = node.as_str() else {
            d.wrong_type("a string", node);
            return None;
        };
        match ShellGrant::parse(text) {
            Ok(grant) => Some(grant),
            Err(error) => {
                d.fail(Code::InvalidValue, error.to_string(), node.span);
                None
            }
        }
    });
    let written: Vec<Value> =
        grants.iter().flatten().map(|grant| Value::from(grant.as_str())).collect();
    f.put("shell", written);
    if grants.is_empty() {
        d.fail(Code::InvalidValue, "the tool 'shell' needs a list of what may run", node.span);
    }
    let value = Value::Object(d.close(f));
    Some((grants.into_iter().flatten().collect(), value))
}

fn result(d: &mut Decoder, f: &mut Fields<'_>) -> Option<ResultSchema> {
    const KEY: &str = "result";
    let node = f.take(KEY)?;
    let (result, value) = d.within(KEY, |d| {
        let mut f = d.fields(node, false)?;
        let file = d.text(&mut f, "schema_file", Empty::Omit);
        let schema = f.take("schema");
        if let Some(schema) = schema {
            f.put("schema", schema.to_json());
        }
        let value = d.close(f);
        let result = match (schema, file.is_empty()) {
            (Some(schema), true) => {
                let json = schema.to_json();
                if let Err(message) = crate::result_schema::check(&json) {
                    d.within("schema", |d| d.fail(Code::InvalidValue, message, schema.span));
                }
                ResultSchema::Inline(json)
            }
            (None, false) => ResultSchema::File(file),
            _ => {
                let message = "must specify one of `schema:` or `schema_file:`";
                d.fail(Code::InvalidValue, message, node.span);
                return None;
            }
        };
        Some((result, value))
    })?;
    f.put(KEY, value);
    Some(result)
}

fn verdict(d: &mut Decoder, f: &mut Fields<'_>) -> Option<Verdict> {
    const KEY: &str = "verdict";
    let node = f.take(KEY)?;
    let (verdict, value) = d.within(KEY, |d| {
        let mut f = d.fields(node, false)?;
        let from = d.text(&mut f, "from", Empty::Keep);
        let (pass, fail) = (d.texts(&mut f, "pass"), d.texts(&mut f, "fail"));
        let inconclusive = d.text(&mut f, "on_inconclusive", Empty::Omit);
        let mut wrong = |message: &str| d.fail(Code::InvalidValue, message, node.span);
        if from.is_empty() {
            wrong("`from:` names no field of the result");
        }
        if pass.is_empty() {
            wrong("`pass:` has no value, so nothing would ever pass");
        }
        if pass.iter().any(|value| fail.contains(value)) {
            wrong("a value is both in `pass:` and in `fail:`");
        }
        if !matches!(inconclusive.as_str(), "" | "pass" | "fail") {
            wrong("`on_inconclusive:` is 'pass' or 'fail'");
        }
        let verdict = Verdict { from, pass, fail, inconclusive_passes: inconclusive == "pass" };
        Some((verdict, d.close(f)))
    })?;
    f.put(KEY, value);
    Some(verdict)
}

fn budget(d: &mut Decoder, f: &mut Fields<'_>) -> Budget {
    const KEY: &str = "budget";
    let Some(node) = f.take(KEY) else { return Budget::default() };
    let read = d.within(KEY, |d| {
        let mut f = d.fields(node, false)?;
        let time = d.text(&mut f, "time", Empty::Omit);
        // One with vars is read when the step runs.
        if !time.is_empty() && !time.contains("((") && parse_duration(&time).is_err() {
            let message = format!("invalid duration '{time}'");
            d.within("time", |d| d.fail(Code::InvalidDuration, message, node.span));
        }
        let turns =
            positive(d, &mut f, "turns").map(|turns| u32::try_from(turns).unwrap_or(u32::MAX));
        let tokens = positive(d, &mut f, "tokens");
        let cost_micros = cost(d, &mut f);
        Some((Budget { time, turns, tokens, cost_micros }, d.close(f)))
    });
    let Some((budget, value)) = read else { return Budget::default() };
    f.put(KEY, value);
    budget
}

pub(super) fn positive(d: &mut Decoder, f: &mut Fields<'_>, key: &'static str) -> Option<u64> {
    let node = f.take(key)?;
    let value = d.within(key, |d| d.integer_of(node));
    f.put(key, value);
    let value = u64::try_from(value).ok().filter(|value| *value > 0);
    if value.is_none() {
        d.within(key, |d| d.fail(Code::NotPositive, "must be greater than 0", node.span));
    }
    value
}

/// US dollars as millionths.
fn cost(d: &mut Decoder, f: &mut Fields<'_>) -> Option<u64> {
    let node = f.take("cost")?;
    let NodeKind::Number(number) = &node.value else {
        d.within("cost", |d| d.wrong_type("a number of US dollars", node));
        return None;
    };
    f.put("cost", Value::Number(number.clone()));
    let dollars = number.as_f64().filter(|dollars| (1.0 / MICROS..=DOLLARS_MAX).contains(dollars));
    let Some(dollars) = dollars else {
        let message = format!("must be greater than 0 and at most {DOLLARS_MAX} US dollars");
        d.within("cost", |d| d.fail(Code::InvalidValue, message, node.span));
        return None;
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in bounds")]
    Some((dollars * MICROS).round() as u64)
}
