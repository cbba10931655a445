//! The parts of configuration that plans carry: task configs, images, limits, resource types, across vars.

use std::collections::BTreeMap;

use jb_model::config::{
    AcrossVar, CheckEvery, ContainerLimits, ImageResource, MaxInFlight, PutInputs,
    ResourceTypeConfig, TaskCache, TaskConfig, TaskInput, TaskOutput, TaskRun,
};
use jb_model::{Object, Value, Version, duration};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{is_default, nullable};

/// Reads a task config.
///
/// # Errors
/// When a field has another type, a limit cannot be read, or `json` is no object. Unknown fields are ignored.
pub fn task_config_from_json(json: Value) -> Result<TaskConfig, serde_json::Error> {
    TaskConfigJson::deserialize(json).map(TaskConfig::from)
}

/// Writes a task config.
///
/// # Errors
/// Never in practice: all keys are text.
pub fn task_config_to_json(config: &TaskConfig) -> Result<Value, serde_json::Error> {
    serde_json::to_value(TaskConfigJson::from(config.clone()))
}

/// A task config as plans and the API write it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskConfigJson {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    platform: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    rootfs_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_resource: Option<ImageResourceJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_limits: Option<LimitsJson>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "environment")]
    params: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    run: RunJson,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    inputs: Vec<InputJson>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    outputs: Vec<OutputJson>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    caches: Vec<CacheJson>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ImageResourceJson {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(deserialize_with = "nullable")]
    source: Object,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    params: Object,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct RunJson {
    #[serde(deserialize_with = "nullable")]
    path: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    args: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    dir: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    user: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct InputJson {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    path: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    optional: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct OutputJson {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    path: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct CacheJson {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    path: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    ttl: String,
}

/// CPU shares and memory; memory may be written with a unit (`1GB`, binary whatever the unit says).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LimitsJson {
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "shares")]
    cpu: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "bytes")]
    memory: Option<u64>,
}

/// A resource type or prototype.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceTypeJson {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(deserialize_with = "nullable")]
    source: Object,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    defaults: Object,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")]
    privileged: bool,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    check_every: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Object::is_empty", deserialize_with = "nullable")]
    params: Object,
}

/// A var of an `across` plan. (In pipelines the name is called `var`.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AcrossVarJson {
    name: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    values: Value,
    #[serde(default)]
    max_in_flight: MaxInFlightJson,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct MaxInFlightJson(MaxInFlight);

impl Default for MaxInFlightJson {
    fn default() -> Self {
        Self(MaxInFlight::Limit(1))
    }
}

impl Serialize for MaxInFlightJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            MaxInFlight::All => serializer.serialize_str("all"),
            MaxInFlight::Limit(limit) => serializer.serialize_u32(limit),
        }
    }
}

impl<'de> Deserialize<'de> for MaxInFlightJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::default()),
            Value::String(text) if text == "all" => Ok(Self(MaxInFlight::All)),
            other => other
                .as_u64()
                .and_then(|limit| u32::try_from(limit).ok())
                .map(|limit| Self(MaxInFlight::Limit(limit)))
                .ok_or_else(|| D::Error::custom(format!("invalid max_in_flight {other}"))),
        }
    }
}

/// The `inputs` of a put.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PutInputsJson(pub(crate) PutInputs);

impl Serialize for PutInputsJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            PutInputs::Detect => serializer.serialize_str("detect"),
            PutInputs::All => serializer.serialize_str("all"),
            PutInputs::Only(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PutInputsJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::String(text) if text == "all" => PutInputs::All,
            Value::Null | Value::String(_) => PutInputs::Detect,
            Value::Array(names) => PutInputs::Only(
                names
                    .into_iter()
                    .map(|name| match name {
                        Value::String(name) => Ok(name.trim().to_owned()),
                        other => Err(D::Error::custom(format!("non-string put input: {other}"))),
                    })
                    .collect::<Result<_, _>>()?,
            ),
            _ => return Err(D::Error::custom("unknown type for put inputs")),
        }))
    }
}

/// Environment values may be written as any JSON and become text.
fn environment<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    let values: Option<Object> = Option::deserialize(deserializer)?;
    let text = |value| match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(values.unwrap_or_default().into_iter().map(|(key, value)| (key, text(value))).collect())
}

fn shares<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(value) = Option::<Value>::deserialize(deserializer)? else { return Ok(None) };
    whole(&value).map(Some).ok_or_else(|| D::Error::custom("cpu limit must be an integer"))
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(value) = Option::<Value>::deserialize(deserializer)? else { return Ok(None) };
    let bytes = match &value {
        Value::String(text) => memory_bytes(text),
        other => whole(other),
    };
    bytes
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("could not parse container memory limit {value}")))
}

/// A number as whole, decimals cut off.
fn whole(value: &Value) -> Option<u64> {
    if let Some(number) = value.as_u64() {
        return Some(number);
    }
    let number = value.as_f64().filter(|number| (0.0..1.8e19).contains(number))?;
    format!("{:.0}", number.trunc()).parse().ok()
}

/// `512`, `512K`, `1gb`, `1GiB`: units are powers of 1024 however they are spelled.
fn memory_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" | "kb" | "ki" | "kib" => 1 << 10,
        "m" | "mb" | "mi" | "mib" => 1 << 20,
        "g" | "gb" | "gi" | "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// `never`, a Go duration, or empty for the default.
pub(crate) fn check_every_text(every: CheckEvery) -> String {
    match every {
        CheckEvery::Default => String::new(),
        CheckEvery::Never => "never".to_owned(),
        CheckEvery::Every(interval) => duration::format(interval),
    }
}

/// What [`check_every_text`] writes; unreadable texts mean the default.
pub(crate) fn check_every_from_text(text: &str) -> CheckEvery {
    match text {
        "never" => CheckEvery::Never,
        text => match duration::parse(text) {
            Ok(interval) if !interval.is_zero() => CheckEvery::Every(interval),
            _ => CheckEvery::Default,
        },
    }
}

impl From<TaskConfigJson> for TaskConfig {
    fn from(json: TaskConfigJson) -> Self {
        let RunJson { path, args, dir, user } = json.run;
        let input = |InputJson { name, path, optional }| TaskInput { name, path, optional };
        Self {
            platform: json.platform,
            rootfs_uri: json.rootfs_uri,
            image_resource: json.image_resource.map(ImageResource::from),
            limits: json.container_limits.map(ContainerLimits::from),
            params: json.params,
            run: TaskRun { path, args, dir, user },
            inputs: json.inputs.into_iter().map(input).collect(),
            outputs: json
                .outputs
                .into_iter()
                .map(|OutputJson { name, path }| TaskOutput { name, path })
                .collect(),
            caches: json
                .caches
                .into_iter()
                .map(|CacheJson { path, ttl }| TaskCache { path, ttl })
                .collect(),
        }
    }
}

impl From<TaskConfig> for TaskConfigJson {
    fn from(config: TaskConfig) -> Self {
        let TaskRun { path, args, dir, user } = config.run;
        let input = |TaskInput { name, path, optional }| InputJson { name, path, optional };
        Self {
            platform: config.platform,
            rootfs_uri: config.rootfs_uri,
            image_resource: config.image_resource.map(ImageResourceJson::from),
            container_limits: config.limits.map(LimitsJson::from),
            params: config.params,
            run: RunJson { path, args, dir, user },
            inputs: config.inputs.into_iter().map(input).collect(),
            outputs: config
                .outputs
                .into_iter()
                .map(|TaskOutput { name, path }| OutputJson { name, path })
                .collect(),
            caches: config
                .caches
                .into_iter()
                .map(|TaskCache { path, ttl }| CacheJson { path, ttl })
                .collect(),
        }
    }
}

impl From<ImageResourceJson> for ImageResource {
    fn from(image: ImageResourceJson) -> Self {
        let ImageResourceJson { name, r#type: kind, source, version, params, tags } = image;
        Self { name, kind, source, version, params, tags }
    }
}

impl From<ImageResource> for ImageResourceJson {
    fn from(image: ImageResource) -> Self {
        let ImageResource { name, kind, source, version, params, tags } = image;
        Self { name, r#type: kind, source, version, params, tags }
    }
}

impl From<LimitsJson> for ContainerLimits {
    fn from(LimitsJson { cpu, memory }: LimitsJson) -> Self {
        Self { cpu_shares: cpu, memory_bytes: memory }
    }
}

impl From<ContainerLimits> for LimitsJson {
    fn from(ContainerLimits { cpu_shares, memory_bytes }: ContainerLimits) -> Self {
        Self { cpu: cpu_shares, memory: memory_bytes }
    }
}

impl From<ResourceTypeJson> for ResourceTypeConfig {
    fn from(json: ResourceTypeJson) -> Self {
        Self {
            name: json.name,
            kind: json.r#type,
            source: json.source,
            defaults: json.defaults,
            privileged: json.privileged,
            check_every: check_every_from_text(&json.check_every),
            tags: json.tags,
            params: json.params,
        }
    }
}

impl From<ResourceTypeConfig> for ResourceTypeJson {
    fn from(config: ResourceTypeConfig) -> Self {
        Self {
            name: config.name,
            r#type: config.kind,
            source: config.source,
            defaults: config.defaults,
            privileged: config.privileged,
            check_every: check_every_text(config.check_every),
            tags: config.tags,
            params: config.params,
        }
    }
}

impl From<AcrossVarJson> for AcrossVar {
    fn from(json: AcrossVarJson) -> Self {
        Self { var: json.name, values: json.values, max_in_flight: json.max_in_flight.0 }
    }
}

impl From<AcrossVar> for AcrossVarJson {
    fn from(var: AcrossVar) -> Self {
        Self {
            name: var.var,
            values: var.values,
            max_in_flight: MaxInFlightJson(var.max_in_flight),
        }
    }
}
