//! The top level of a pipeline and its sections other than jobs.

use jb_model::config::{
    CheckEvery, DisplayConfig, GroupConfig, PipelineConfig, ResourceConfig, ResourceTypeConfig,
    VarSourceConfig,
};
use jb_model::{Object, Value};
use jb_yaml::{Node, NodeKind};

use super::decoder::{Decoder, Empty, Fields};
use super::job::job;
use crate::diagnostic::Code;
use jb_model::duration::parse_duration;

pub(super) fn pipeline(d: &mut Decoder, node: &Node) -> (PipelineConfig, Value) {
    let mut config = PipelineConfig::default();
    let Some(mut fields) = d.fields(node, true) else {
        return (config, Value::Object(Object::new()));
    };
    config.groups = section(d, &mut fields, "groups", None, group);
    config.var_sources = section(d, &mut fields, "var_sources", None, var_source);
    config.resources = section(d, &mut fields, "resources", Some("name"), resource);
    config.resource_types = section(d, &mut fields, "resource_types", Some("name"), resource_type);
    config.prototypes = section(d, &mut fields, "prototypes", Some("name"), resource_type);
    let builtin = config.prototypes.iter().filter(|ty| ty.kind == super::agent::BUILTIN);
    d.builtin = builtin.map(|ty| ty.name.clone()).collect();
    config.jobs = section(d, &mut fields, "jobs", None, job);
    if let Some(node) = fields.take("display")
        && let Some((display, value)) = d.within("display", |d| display(d, node))
    {
        config.display = Some(display);
        fields.put("display", value);
    }
    if let Some(node) = fields.take("user_data") {
        let user_data = node.to_json();
        fields.put("user_data", user_data.clone());
        config.user_data = Some(user_data);
    }
    // What is left over hangs there for anchors, and is nobody's error.
    (config, Value::Object(fields.out))
}

/// One list of the top level. Those that Concourse keeps in tables of their own come back sorted by name.
fn section<T: Default>(
    d: &mut Decoder,
    fields: &mut Fields<'_>,
    key: &'static str,
    sort_by: Option<&str>,
    read: fn(&mut Decoder, &Node) -> Option<(T, Object)>,
) -> Vec<T> {
    let mut values = Vec::new();
    let items = d.list(fields, key, |d, node| {
        let (item, value) = read(d, node).unwrap_or_default();
        values.push(value);
        item
    });
    if let Some(name) = sort_by {
        values.sort_by(|a, b| text_at(a, name).cmp(text_at(b, name)));
    }
    if !values.is_empty() {
        fields.put(key, values.into_iter().map(Value::Object).collect::<Vec<_>>());
    }
    items
}

fn text_at<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn group(d: &mut Decoder, node: &Node) -> Option<(GroupConfig, Object)> {
    let mut f = d.fields(node, true)?;
    let group = GroupConfig {
        name: d.text(&mut f, "name", Empty::Keep),
        jobs: d.texts(&mut f, "jobs"),
        resources: d.texts(&mut f, "resources"),
    };
    Some((group, d.close(f)))
}

fn var_source(d: &mut Decoder, node: &Node) -> Option<(VarSourceConfig, Object)> {
    let mut f = d.fields(node, true)?;
    let source = VarSourceConfig {
        name: d.text(&mut f, "name", Empty::Keep),
        kind: d.text(&mut f, "type", Empty::Keep),
        config: f.take("config").map_or(Value::Null, Node::to_json),
    };
    f.put("config", source.config.clone());
    Some((source, d.close(f)))
}

fn resource(d: &mut Decoder, node: &Node) -> Option<(ResourceConfig, Object)> {
    let mut f = d.fields(node, true)?;
    let resource = ResourceConfig {
        name: d.text(&mut f, "name", Empty::Keep),
        old_name: d.text(&mut f, "old_name", Empty::Omit),
        public: d.flag(&mut f, "public"),
        webhook_token: d.text(&mut f, "webhook_token", Empty::Omit),
        kind: d.text(&mut f, "type", Empty::Keep),
        source: d.source(&mut f),
        check_every: check_every(d, &mut f),
        check_timeout: d.text(&mut f, "check_timeout", Empty::Omit),
        tags: d.tags(&mut f),
        version: d.text_map(&mut f, "version").filter(|version| !version.is_empty()),
        icon: d.text(&mut f, "icon", Empty::Omit),
        expose_build_created_by: d.flag(&mut f, "expose_build_created_by"),
    };
    Some((resource, d.close(f)))
}

fn resource_type(d: &mut Decoder, node: &Node) -> Option<(ResourceTypeConfig, Object)> {
    let mut f = d.fields(node, true)?;
    let resource_type = ResourceTypeConfig {
        name: d.text(&mut f, "name", Empty::Keep),
        kind: d.text(&mut f, "type", Empty::Keep),
        source: d.source(&mut f),
        defaults: d.object(&mut f, "defaults"),
        privileged: d.flag(&mut f, "privileged"),
        check_every: check_every(d, &mut f),
        tags: d.tags(&mut f),
        params: d.object(&mut f, "params"),
    };
    Some((resource_type, d.close(f)))
}

fn check_every(d: &mut Decoder, f: &mut Fields<'_>) -> CheckEvery {
    const KEY: &str = "check_every";
    let Some(node) = f.take(KEY) else { return CheckEvery::Default };
    let NodeKind::String(text) = &node.value else {
        d.within(KEY, |d| d.wrong_type("a string (a duration such as '10m', or 'never')", node));
        return CheckEvery::Default;
    };
    let (every, shown) = match text.as_str() {
        "" => (CheckEvery::Default, String::new()),
        "never" => (CheckEvery::Never, text.clone()),
        _ => match parse_duration(text).map(|duration| (duration, duration.to_std())) {
            Ok((_, Some(std))) if std.is_zero() => (CheckEvery::Default, String::new()),
            Ok((duration, Some(std))) => (CheckEvery::Every(std), duration.to_string()),
            Ok((_, None)) => {
                d.within(KEY, |d| d.fail(Code::InvalidValue, "must not be negative", node.span));
                return CheckEvery::Default;
            }
            Err(message) => {
                d.within(KEY, |d| d.fail(Code::InvalidDuration, message, node.span));
                return CheckEvery::Default;
            }
        },
    };
    f.put(KEY, shown);
    every
}

fn display(d: &mut Decoder, node: &Node) -> Option<(DisplayConfig, Object)> {
    let mut f = d.fields(node, true)?;
    let display = DisplayConfig {
        background_image: d.text(&mut f, "background_image", Empty::Omit),
        background_filter: d.text(&mut f, "background_filter", Empty::Omit),
    };
    Some((display, d.close(f)))
}
