//! Task configurations, whether embedded in a step or in a file of their own.

use jb_model::config::{
    ContainerLimits, ImageResource, TaskCache, TaskConfig, TaskInput, TaskOutput, TaskRun,
};
use jb_model::{Object, Value};
use jb_yaml::{Node, NodeKind};

use super::decoder::{Decoder, Empty, Fields, text_map_value};
use crate::diagnostic::Code;
use jb_model::duration::parse_duration;

/// Reads a task configuration. What to do about unknown fields is left to the caller, who gets the fields back.
pub(crate) fn task_config<'n>(d: &mut Decoder, node: &'n Node) -> Option<(TaskConfig, Fields<'n>)> {
    let mut f = d.fields(node, false)?;
    let config = TaskConfig {
        platform: d.text(&mut f, "platform", Empty::Omit),
        rootfs_uri: d.text(&mut f, "rootfs_uri", Empty::Omit),
        image_resource: image_resource(d, &mut f),
        limits: container_limits(d, &mut f),
        params: d.environment(&mut f, "params"),
        run: run(d, &mut f),
        inputs: records(d, &mut f, "inputs", input),
        outputs: records(d, &mut f, "outputs", output),
        caches: records(d, &mut f, "caches", cache),
    };
    Some((config, f))
}

/// A list of maps, left out of the normalised JSON when empty.
fn records<T>(
    d: &mut Decoder,
    f: &mut Fields<'_>,
    key: &'static str,
    read: fn(&mut Decoder, &Node) -> Option<(T, Object)>,
) -> Vec<T> {
    let mut values = Vec::new();
    let records = d
        .list(f, key, |d, node| {
            let (record, value) = read(d, node)?;
            values.push(Value::Object(value));
            Some(record)
        })
        .into_iter()
        .flatten()
        .collect();
    if !values.is_empty() {
        f.put(key, values);
    }
    records
}

/// `image_resource` of a task configuration, and of whatever else has an image fetched the same way.
pub(super) fn image_resource(d: &mut Decoder, f: &mut Fields<'_>) -> Option<ImageResource> {
    const KEY: &str = "image_resource";
    let node = f.take(KEY)?;
    let (image, value) = d.within(KEY, |d| {
        let mut f = d.fields(node, false)?;
        let image = ImageResource {
            name: d.text(&mut f, "name", Empty::Keep),
            kind: d.text(&mut f, "type", Empty::Keep),
            source: d.source(&mut f),
            version: d.text_map(&mut f, "version"),
            params: d.object(&mut f, "params"),
            tags: d.tags(&mut f),
        };
        Some((image, d.close_lenient(f)))
    })?;
    f.put(KEY, value);
    Some(image)
}

fn run(d: &mut Decoder, f: &mut Fields<'_>) -> TaskRun {
    const KEY: &str = "run";
    let Some(node) = f.take(KEY) else { return TaskRun::default() };
    let read = d.within(KEY, |d| {
        let mut f = d.fields(node, false)?;
        let run = TaskRun {
            path: d.text(&mut f, "path", Empty::Keep),
            args: d.texts(&mut f, "args"),
            dir: d.text(&mut f, "dir", Empty::Omit),
            user: d.text(&mut f, "user", Empty::Omit),
        };
        Some((run, d.close_lenient(f)))
    });
    let Some((run, value)) = read else { return TaskRun::default() };
    if run != TaskRun::default() {
        f.put(KEY, value);
    }
    run
}

fn input(d: &mut Decoder, node: &Node) -> Option<(TaskInput, Object)> {
    let mut f = d.fields(node, false)?;
    let input = TaskInput {
        name: d.text(&mut f, "name", Empty::Keep),
        path: d.text(&mut f, "path", Empty::Omit),
        optional: d.flag(&mut f, "optional"),
    };
    Some((input, d.close_lenient(f)))
}

fn output(d: &mut Decoder, node: &Node) -> Option<(TaskOutput, Object)> {
    let mut f = d.fields(node, false)?;
    let output = TaskOutput {
        name: d.text(&mut f, "name", Empty::Keep),
        path: d.text(&mut f, "path", Empty::Omit),
    };
    Some((output, d.close_lenient(f)))
}

fn cache(d: &mut Decoder, node: &Node) -> Option<(TaskCache, Object)> {
    const SECOND: i64 = 1_000_000_000;
    let mut f = d.fields(node, false)?;
    let cache = TaskCache {
        path: d.text(&mut f, "path", Empty::Omit),
        ttl: d.text(&mut f, "ttl", Empty::Omit),
    };
    if !cache.ttl.is_empty() {
        let ttl = &cache.ttl;
        let message = match parse_duration(ttl) {
            Err(error) => Some(format!("invalid cache ttl '{ttl}': {error}")),
            Ok(length) if length.nanoseconds < SECOND => {
                Some(format!("cache ttl must be at least 1s, got '{ttl}'"))
            }
            Ok(_) => None,
        };
        if let Some(message) = message {
            d.within("ttl", |d| d.fail(Code::InvalidDuration, message, node.span));
        }
    }
    Some((cache, d.close_lenient(f)))
}

/// `container_limits` of a step or a task configuration.
pub(super) fn container_limits(d: &mut Decoder, f: &mut Fields<'_>) -> Option<ContainerLimits> {
    const KEY: &str = "container_limits";
    let node = f.take(KEY)?;
    let (limits, value) = d.within(KEY, |d| {
        let mut f = d.fields(node, false)?;
        let mut limits = ContainerLimits::default();
        if let Some(node) = f.take("cpu") {
            limits.cpu_shares = whole(&node.value);
            if limits.cpu_shares.is_none() {
                d.within("cpu", |d| {
                    d.fail(Code::WrongType, "cpu limit must be an integer", node.span);
                });
            }
        }
        if let Some(node) = f.take("memory") {
            limits.memory_bytes = match &node.value {
                NodeKind::String(text) => parse_memory(text),
                other => whole(other),
            };
            if limits.memory_bytes.is_none() {
                d.within("memory", |d| {
                    let message = "could not parse container memory limit";
                    d.fail(Code::InvalidValue, message, node.span);
                });
            }
        }
        if let Some(cpu) = limits.cpu_shares {
            f.put("cpu", cpu);
        }
        if let Some(memory) = limits.memory_bytes {
            f.put("memory", memory);
        }
        Some((limits, d.close_lenient(f)))
    })?;
    f.put(KEY, value);
    Some(limits)
}

fn whole(value: &NodeKind) -> Option<u64> {
    let NodeKind::Number(number) = value else { return None };
    match (number.as_u64(), number.as_f64()) {
        (Some(whole), _) => Some(whole),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a fraction of a share or byte is dropped"
        )]
        (None, Some(float)) if float >= 0.0 => Some(float as u64),
        _ => None,
    }
}

/// A memory size: digits and optionally `K`, `M` or `G` with `i` and `B`, in any case, always binary.
pub fn parse_memory(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.to_ascii_lowercase();
    let Some(scale) = unit.chars().next() else { return Some(number) };
    let shift = match scale {
        'k' => 10,
        'm' => 20,
        'g' => 30,
        _ => return None,
    };
    matches!(&unit[1..], "" | "i" | "b" | "ib").then(|| number.checked_mul(1 << shift)).flatten()
}

/// A task configuration as JSON, the way it is stored, shown and interpolated.
pub(crate) fn task_to_value(config: &TaskConfig) -> Value {
    let mut out = Object::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    if !config.platform.is_empty() {
        put("platform", Value::from(config.platform.clone()));
    }
    if !config.rootfs_uri.is_empty() {
        put("rootfs_uri", Value::from(config.rootfs_uri.clone()));
    }
    if let Some(image) = &config.image_resource {
        put("image_resource", image_to_value(image));
    }
    if let Some(limits) = &config.limits {
        let mut value = Object::new();
        if let Some(cpu) = limits.cpu_shares {
            value.insert("cpu".to_owned(), Value::from(cpu));
        }
        if let Some(memory) = limits.memory_bytes {
            value.insert("memory".to_owned(), Value::from(memory));
        }
        put("container_limits", Value::Object(value));
    }
    if !config.params.is_empty() {
        put("params", text_map_value(&config.params));
    }
    if config.run != TaskRun::default() {
        let run = &config.run;
        let mut value = Object::new();
        value.insert("path".to_owned(), Value::from(run.path.clone()));
        if !run.args.is_empty() {
            value.insert("args".to_owned(), Value::from(run.args.clone()));
        }
        insert_text(&mut value, "dir", &run.dir);
        insert_text(&mut value, "user", &run.user);
        put("run", Value::Object(value));
    }
    let mut put_list = |key: &str, values: Vec<Value>| {
        if !values.is_empty() {
            put(key, Value::Array(values));
        }
    };
    put_list("inputs", config.inputs.iter().map(input_to_value).collect());
    put_list("outputs", config.outputs.iter().map(output_to_value).collect());
    put_list("caches", config.caches.iter().map(cache_to_value).collect());
    Value::Object(out)
}

fn image_to_value(image: &ImageResource) -> Value {
    let mut value = Object::new();
    value.insert("name".to_owned(), Value::from(image.name.clone()));
    value.insert("type".to_owned(), Value::from(image.kind.clone()));
    value.insert("source".to_owned(), Value::Object(image.source.clone()));
    if let Some(version) = &image.version {
        value.insert("version".to_owned(), text_map_value(version));
    }
    if !image.params.is_empty() {
        value.insert("params".to_owned(), Value::Object(image.params.clone()));
    }
    if !image.tags.is_empty() {
        value.insert("tags".to_owned(), Value::from(image.tags.clone()));
    }
    Value::Object(value)
}

fn input_to_value(input: &TaskInput) -> Value {
    let mut value = Object::new();
    value.insert("name".to_owned(), Value::from(input.name.clone()));
    insert_text(&mut value, "path", &input.path);
    if input.optional {
        value.insert("optional".to_owned(), Value::from(true));
    }
    Value::Object(value)
}

fn output_to_value(output: &TaskOutput) -> Value {
    let mut value = Object::new();
    value.insert("name".to_owned(), Value::from(output.name.clone()));
    insert_text(&mut value, "path", &output.path);
    Value::Object(value)
}

fn cache_to_value(cache: &TaskCache) -> Value {
    let mut value = Object::new();
    insert_text(&mut value, "path", &cache.path);
    insert_text(&mut value, "ttl", &cache.ttl);
    Value::Object(value)
}

fn insert_text(object: &mut Object, key: &str, text: &str) {
    if !text.is_empty() {
        object.insert(key.to_owned(), Value::from(text));
    }
}
