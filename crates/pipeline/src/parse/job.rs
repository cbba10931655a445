//! Jobs.

use jb_model::config::{JobConfig, LogRetention, Step};
use jb_model::{Object, Value};
use jb_yaml::Node;

use super::decoder::{Decoder, Empty, Fields};
use super::step::{hook, steps};
use crate::diagnostic::{Code, Section, Severity};

pub(super) fn job(d: &mut Decoder, node: &Node) -> Option<(JobConfig, Object)> {
    let mut f = d.fields(node, true)?;
    let name = d.text(&mut f, "name", Empty::Keep);
    let identifier = if name.is_empty() { "jobs".to_owned() } else { format!("jobs.{name}") };
    let retained = d.integer(&mut f, "build_logs_to_retain");
    let build_logs_to_retain =
        retention_count(d, node, &identifier, "build_logs_to_retain", retained);
    let mut job = JobConfig {
        name,
        old_name: d.text(&mut f, "old_name", Empty::Omit),
        public: d.flag(&mut f, "public"),
        disable_manual_trigger: d.flag(&mut f, "disable_manual_trigger"),
        disable_reruns: d.flag(&mut f, "disable_reruns"),
        serial: d.flag(&mut f, "serial"),
        serial_groups: d.texts(&mut f, "serial_groups"),
        interruptible: d.flag(&mut f, "interruptible"),
        raw_max_in_flight: d.count(&mut f, "max_in_flight"),
        build_logs_to_retain,
        build_log_retention: log_retention(d, &mut f, &identifier),
        tags: d.tags(&mut f),
        ..JobConfig::default()
    };
    d.in_context(&[identifier, ".plan".to_owned()], |d| {
        job.plan = plan(d, &mut f);
        job.on_success = hook(d, &mut f, "on_success");
        job.on_failure = hook(d, &mut f, "on_failure");
        job.on_abort = hook(d, &mut f, "on_abort");
        job.on_error = hook(d, &mut f, "on_error");
        job.ensure = hook(d, &mut f, "ensure");
    });
    Some((job, d.close(f)))
}

fn plan(d: &mut Decoder, f: &mut Fields<'_>) -> Vec<Step> {
    let Some(node) = f.take("plan") else {
        f.put("plan", Value::Null);
        return Vec::new();
    };
    let (plan, values) =
        d.within("plan", |d| d.in_context(&[".do".to_owned()], |d| steps(d, node, "")));
    f.put("plan", values);
    plan
}

fn log_retention(d: &mut Decoder, f: &mut Fields<'_>, identifier: &str) -> Option<LogRetention> {
    const KEY: &str = "build_log_retention";
    let node = f.take(KEY)?;
    let (retention, value) = d.within(KEY, |d| {
        let mut f = d.fields(node, true)?;
        let mut count = |d: &mut Decoder, key: &'static str, told_as: &str| {
            let value = d.integer(&mut f, key);
            let field = format!("{KEY}.{told_as}");
            retention_count(d, node, identifier, &field, value)
        };
        let retention = LogRetention {
            builds: count(d, "builds", "builds"),
            days: count(d, "days", "days"),
            minimum_succeeded_builds: count(d, "minimum_succeeded_builds", "min_success_builds"),
        };
        Some((retention, d.close(f)))
    })?;
    f.put(KEY, value);
    Some(retention)
}

/// A count of builds or days to keep. A negative one is an error among those of jobs.
fn retention_count(d: &mut Decoder, node: &Node, identifier: &str, field: &str, value: i64) -> u32 {
    if value < 0 {
        let message = format!("{identifier} has negative {field}: {value}");
        d.report(Severity::Error, Code::LogRetention, Some(Section::Jobs), message, node.span);
    }
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}
