//! The `get` step: a version of a resource becomes an artifact.

use jb_model::event::LogSource;
use jb_model::plan::{GetPlan, VersionSource};
use jb_model::{BuildEvent, Object, Outcome, Version, VolumeHandle};
use jb_runtime::{ContainerKind, Mount, MountSource};
use serde_json::Value;

use super::script::{self, Script};
use super::{Done, Leaf, Started, Trouble, fetch};
use crate::build::{BuildContext, CachedResource};
use crate::process::{Exit, Show};
use crate::workspace::GET_DIR;

pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &GetPlan,
    started: &Started<'_>,
) -> Result<Done, Trouble> {
    let origin = &leaf.plan.id;
    let source = context.interpolate_object(leaf, &plan.source).await?;
    let params = context.interpolate_object(leaf, &plan.params).await?;
    let version = resolve_version(context, plan, &source).await?;
    let key = context.resource_cache_key(leaf, plan, &source, &params, &version).await?;
    let selected = selected(context, leaf);
    // Two builds that want the same version fetch it once.
    let _turn = context.engine.turns.take(&key.key, &leaf.cancel).await;
    let handle = script::container_handle(context, &leaf.plan, ContainerKind::Get);
    let volume = VolumeHandle::new(format!("{handle}-v"));
    if let Some(cached) = context.cached_resource(&key).await? {
        if cached.volume == volume {
            // Fetched by this very step, before a restart.
            return finish(context, leaf, plan, version, cached, Vec::new()).await;
        }
        context.engine.settings.metrics.steps.cache_hit();
        context.once(origin, "start", selected).await?;
        started.tell().await;
        return finish(context, leaf, plan, version, cached, found_in_cache(context, leaf)).await;
    }
    context.record_volume(leaf, &volume, "resource", &plan.name, GET_DIR).await?;
    let asked = (&source, &params, &version);
    let fetched = fetch::fetch(context, leaf, plan, asked, &volume, started, &selected).await?;
    match fetched {
        fetch::Fetched::No => {}
        fetch::Fetched::Yes(metadata) => {
            let fetched = CachedResource { volume, metadata };
            let cached = context.keep_resource(&key, fetched, &version).await?;
            return finish(context, leaf, plan, version, cached, Vec::new()).await;
        }
        fetch::Fetched::Failed => return Ok(failed(context, leaf, 1)),
        fetch::Fetched::Cancelled => return Ok(Done::new(Outcome::Aborted, Vec::new())),
    }
    let exit = run_script(context, leaf, plan, asked, &volume, started, selected).await?;
    if exit.cancelled {
        return Ok(Done::new(Outcome::Aborted, Vec::new()));
    }
    if exit.status != 0 {
        return Ok(failed(context, leaf, exit.status));
    }
    let result = script::parse_result("/opt/resource/in", &exit.result)?;
    let fetched = CachedResource { volume, metadata: result.metadata };
    let cached = context.keep_resource(&key, fetched, &version).await?;
    finish(context, leaf, plan, version, cached, Vec::new()).await
}

/// Runs the type's `in`.
async fn run_script(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &GetPlan,
    (source, params, version): (&Object, &Object, &Version),
    volume: &VolumeHandle,
    started: &Started<'_>,
    selected: Vec<BuildEvent>,
) -> Result<Exit, Trouble> {
    let mut request = script::request(source, params);
    request.insert("version".to_owned(), script::version_value(version));
    script::run(
        context,
        leaf,
        Script {
            kind: ContainerKind::Get,
            step_name: &plan.name,
            type_name: &plan.kind,
            image: &plan.image,
            working_dir: GET_DIR,
            mounts: vec![Mount {
                path: GET_DIR.to_owned(),
                source: MountSource::Output(volume.clone()),
            }],
            path: "/opt/resource/in",
            args: vec![GET_DIR.to_owned()],
            stdin: Value::Object(request),
            show: Show::Stderr,
            source: None,
        },
        started,
        selected,
    )
    .await
}

fn failed(context: &BuildContext, leaf: &Leaf, exit_status: i32) -> Done {
    let finished = BuildEvent::FinishGet {
        origin: leaf.plan.id.clone(),
        time: context.now(),
        exit_status,
        version: None,
        metadata: Vec::new(),
    };
    Done::new(Outcome::Failed, vec![finished])
}

fn selected(context: &BuildContext, leaf: &Leaf) -> Vec<BuildEvent> {
    let origin = &leaf.plan.id;
    vec![
        BuildEvent::StartGet { origin: origin.clone(), time: context.now() },
        context.selected_worker(leaf),
    ]
}

fn found_in_cache(context: &BuildContext, leaf: &Leaf) -> Vec<BuildEvent> {
    let line = |payload: &str| BuildEvent::Log {
        origin: leaf.plan.id.clone(),
        source: LogSource::Stderr,
        time: context.now(),
        payload: payload.to_owned(),
    };
    vec![line("\u{1b}[1;36mINFO: found existing resource cache\u{1b}[0m\n"), line("\n")]
}

async fn finish(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &GetPlan,
    version: Version,
    cached: CachedResource,
    mut log: Vec<BuildEvent>,
) -> Result<Done, Trouble> {
    context.register_artifact(leaf, &plan.name, &cached.volume).await?;
    context.record_input(plan, &version, &cached.metadata).await?;
    let fields: Object = cached
        .metadata
        .iter()
        .map(|field| (field.name.clone(), Value::String(field.value.clone())))
        .collect();
    if !plan.resource.is_empty() {
        context.set_var(leaf, &plan.name, Value::Object(fields), false).await?;
    }
    log.push(BuildEvent::FinishGet {
        origin: leaf.plan.id.clone(),
        time: context.now(),
        exit_status: 0,
        version: Some(version),
        metadata: cached.metadata,
    });
    Ok(Done::new(Outcome::Succeeded, log))
}

async fn resolve_version(
    context: &BuildContext,
    plan: &GetPlan,
    source: &Object,
) -> Result<Version, Trouble> {
    match &plan.version {
        VersionSource::Fixed(version) => Ok(version.clone()),
        VersionSource::From(node) => {
            let version = context.version_from(node).await?;
            version.ok_or_else(|| {
                Trouble::new(format!("step {node} found no {}", sought(plan, source)))
            })
        }
    }
}

/// What a `get` without a version would have fetched.
fn sought(plan: &GetPlan, source: &Object) -> String {
    let text = |key: &str| source.get(key).and_then(Value::as_str);
    match text("repository").filter(|_| plan.image.base_type == fetch::TYPE) {
        Some(repository) => match text("tag") {
            Some(tag) => format!("image `{repository}:{tag}`: is the tag right?"),
            None => format!("image in `{repository}` whose tag is a version"),
        },
        None => format!("version of `{}` to fetch", plan.name),
    }
}
