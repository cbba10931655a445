//! What `get`, `put` and `check` share: a container of the resource's type and a script run in it.

use jb_model::plan::TypeImage;
use jb_model::{ContainerHandle, Metadata, Object, Plan, PlanId, Value, Version};
use jb_runtime::client::{ProcessSpec, Stdin};
use jb_runtime::{ContainerKind, ContainerSpec, Image, Mount, Network, User};
use serde_json::json;

use super::image::image_config;
use super::{Leaf, Started, Trouble};
use crate::build::BuildContext;
use crate::process::{Exit, Process, Show};

/// A resource script to run.
pub(crate) struct Script<'a> {
    pub kind: ContainerKind,
    pub step_name: &'a str,
    /// The resource's type.
    pub type_name: &'a str,
    pub image: &'a TypeImage,
    pub working_dir: &'a str,
    pub mounts: Vec<Mount>,
    /// `/opt/resource/in` and the like, with its argument.
    pub path: &'a str,
    pub args: Vec<String>,
    pub stdin: Value,
    pub show: Show<'a>,
    /// What a check looks at, see [`ContainerSpec::source`].
    pub source: Option<String>,
}

/// What `in` and `out` print.
pub(crate) struct VersionResult {
    pub version: Version,
    pub metadata: Vec<Metadata>,
}

/// The image of a type: the one its plan fetched, or the runtime's own.
pub(crate) async fn type_image(
    context: &BuildContext,
    leaf: &Leaf,
    type_name: &str,
    image: &TypeImage,
) -> Result<Image, Trouble> {
    if image.get.is_some() {
        let volume = context.image_of(&leaf.plan.id).await?;
        let volume = volume.ok_or_else(|| {
            Trouble::new(format!("the image of resource type `{type_name}` was not fetched"))
        })?;
        return Ok(Image::Volume(volume));
    }
    let known = leaf.place(context).runtime.base_types();
    if known.iter().any(|base| base.name == image.base_type) {
        return Ok(Image::BaseType(image.base_type.clone()));
    }
    let names: Vec<&str> = known.iter().map(|base| base.name.as_str()).collect();
    Err(Trouble::new(format!(
        "unknown resource type `{type_name}`: the pipeline's resource_types do not declare it, and worker `{}` has only {}",
        leaf.place(context).name(),
        names.join(", ")
    )))
}

/// Runs a script to its end; one that is cancelled early enough never begins.
pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    script: Script<'_>,
    started: &Started<'_>,
    on_start: Vec<jb_model::BuildEvent>,
) -> Result<Exit, Trouble> {
    let image = type_image(context, leaf, script.type_name, script.image).await?;
    // The image of a custom type sets the environment of its scripts.
    let mut env = match &image {
        Image::Volume(volume) => image_config(context, volume).await?.env,
        _ => Vec::new(),
    };
    env.extend(context.resource_env(leaf, script.kind).await?);
    let handle = container_handle(context, &leaf.plan, script.kind);
    let spec = ContainerSpec {
        handle: handle.clone(),
        kind: script.kind,
        image,
        hostname: handle.to_string(),
        working_dir: script.working_dir.to_owned(),
        mounts: script.mounts,
        limits: Default::default(),
        privileged: script.image.privileged,
        network: Network::Outbound,
        user: User::Named("root".to_owned()),
        source: script.source,
        coordinates: context.coordinates(leaf, script.step_name),
    };
    if !context.create_container(leaf, &spec, script.step_name).await? {
        return Ok(Exit::unseen());
    }
    let process = ProcessSpec {
        path: script.path.to_owned(),
        args: script.args,
        env,
        dir: script.working_dir.to_owned(),
        create_dir: true,
        stdin: Stdin::Data(script.stdin.to_string().into_bytes()),
        privileged: script.image.privileged,
        ..ProcessSpec::default()
    };
    context.keep_process(&handle, &process).await?;
    let running = Process {
        context,
        origin: &leaf.plan.id,
        container: &handle,
        name: "resource",
        show: script.show,
    };
    let exit = running
        .run(process, &leaf.cancel, async || {
            context.once(&leaf.plan.id, "start", on_start).await?;
            started.tell().await;
            Ok(())
        })
        .await?;
    settle(context, &leaf.plan.id, &handle, &exit).await?;
    Ok(exit)
}

/// Keeps what a process wrote to its container's outputs. Those of an aborted step may be whole or not.
pub(crate) async fn settle(
    context: &BuildContext,
    node: &PlanId,
    handle: &ContainerHandle,
    exit: &Exit,
) -> Result<(), Trouble> {
    let place = context.engine.place_of(handle).await?;
    let settled = place.runtime.settle(handle).await;
    context.mark(node, handle, "settled");
    match settled {
        Err(error) if exit.cancelled => {
            tracing::warn!(container = %handle, %error, "keeping what an aborted step wrote");
            Ok(())
        }
        settled => Ok(settled?),
    }
}

/// The same step of the same build always has the same container.
pub(crate) fn container_handle(
    context: &BuildContext,
    plan: &Plan,
    kind: ContainerKind,
) -> ContainerHandle {
    let node = plan.id.as_str().replace('/', "-");
    ContainerHandle::new(format!("b{}-{}-{}", context.build.id, kind.as_str(), node))
}

/// Source and params as they travel to a script.
pub(crate) fn request(source: &Object, params: &Object) -> Object {
    let mut request = Object::new();
    request.insert("source".to_owned(), Value::Object(source.clone()));
    if !params.is_empty() {
        request.insert("params".to_owned(), Value::Object(params.clone()));
    }
    request
}

/// Reads what `in` or `out` printed.
pub(crate) fn parse_result(path: &str, output: &[u8]) -> Result<VersionResult, Trouble> {
    let parsed: Value = serde_json::from_slice(output).map_err(|error| {
        Trouble::new(format!(
            "{path} printed no valid JSON: {error}; it printed: {}",
            excerpt(output)
        ))
    })?;
    let version = parsed
        .get("version")
        .and_then(version_of)
        .ok_or_else(|| Trouble::new(format!("resource script '{path}' output a null version")))?;
    let metadata = match parsed.get("metadata") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().filter_map(metadata_of).collect(),
        Some(other) => {
            return Err(Trouble::new(format!("{path} printed metadata that is no list: {other}")));
        }
    };
    Ok(VersionResult { version, metadata })
}

/// A version is a flat map of strings; scalars are taken as their text.
pub(crate) fn version_of(value: &Value) -> Option<Version> {
    value
        .as_object()?
        .iter()
        .map(|(key, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            Some((key.clone(), text))
        })
        .collect()
}

fn metadata_of(value: &Value) -> Option<Metadata> {
    Some(Metadata {
        name: value.get("name")?.as_str()?.to_owned(),
        value: match value.get("value") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        },
    })
}

/// The beginning of an output, for messages.
pub(crate) fn excerpt(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let text = text.trim();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None if text.is_empty() => "nothing".to_owned(),
        None => text.to_owned(),
    }
}

/// A version as JSON.
pub(crate) fn version_value(version: &Version) -> Value {
    json!(version)
}
