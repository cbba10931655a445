//! The `task` step: a person's program in a container, on a terminal 500 columns wide.

use jb_build::ImageNeed;
use jb_model::config::{ContainerLimits, ImageResource, TaskConfig};
use jb_model::event::TaskSummary;
use jb_model::plan::TaskPlan;
use jb_model::{BuildEvent, Outcome, PlanId};
use jb_runtime::client::{ProcessSpec, Stdin, WindowSize};
use jb_runtime::{ContainerKind, ContainerSpec, Image, MountSource, Network, User};

use super::image::{ImageConfig, image_config};
use super::{Done, Leaf, Started, Trouble, script};
use crate::build::BuildContext;
use crate::process::{Exit, Process, Show};
use crate::workspace::{TaskMounts, VolumeNames, task_dir, task_mounts};

/// Concourse gives every task this terminal; programs wrap their lines by it.
const TERMINAL: WindowSize = WindowSize { cols: 500, rows: 500 };

/// Reads the task's file, so that its image can be fetched, and those of servers beside it.
pub(crate) async fn prepare(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
) -> Result<Vec<ImageNeed>, Trouble> {
    // A task whose configuration cannot be used never says that it initializes.
    context.task_config(leaf, plan).await?;
    // The image's source keeps its references to secrets: only the image's own steps resolve them.
    let config = context.task_config_unresolved(leaf, plan).await?;
    let origin = leaf.plan.id.clone();
    let (time, summary) = (context.now(), TaskSummary::default());
    let initialize = BuildEvent::InitializeTask { origin: origin.clone(), time, config: summary };
    context.once(&origin, "initialize", vec![initialize]).await?;
    let own = config.image_resource.as_ref().filter(|_| plan.image_artifact.is_empty());
    let own = own.map(|image| (leaf.plan.id.clone(), "image".to_owned(), image));
    let images = own.into_iter().chain(super::agent::images(context, leaf, plan));
    let need = |(owner, name, image): (PlanId, String, &ImageResource)| {
        let (check, get) = jb_build::plan_task_image(
            image,
            &plan.resource_types,
            &context.engine.settings.base_defaults,
            (&owner, &name),
            &plan.tags,
            plan.check_skip_interval,
        )?;
        Ok(ImageNeed { check, get })
    };
    images.map(need).collect()
}

pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    started: &Started<'_>,
) -> Result<Done, Trouble> {
    let config = context.task_config(leaf, plan).await?;
    let handle = script::container_handle(context, &leaf.plan, ContainerKind::Task);
    let (image, image_config) = image(context, leaf, plan, &config).await?;
    let layout = layout(context, leaf, plan, &config, &handle).await?;
    let time = context.now();
    let origin = leaf.plan.id.clone();
    context.once(&origin, "selected", vec![context.selected_worker(leaf)]).await?;
    let spec = ContainerSpec {
        source: None,
        coordinates: context.coordinates(leaf, &plan.name),
        ..container_spec(context, plan, &config, &layout, image, &image_config, &handle)
    };
    let mut process = process_spec(context, plan, &config, image_config)?;
    process.env.extend(context.trace_env(&origin));
    let start =
        BuildEvent::StartTask { origin: origin.clone(), time, config: summary(&config, &process) };
    if !context.create_container(leaf, &spec, &plan.name).await? {
        return Ok(Done::new(Outcome::Aborted, Vec::new()));
    }
    context.keep_process(&handle, &process).await?;
    let running = Process {
        context,
        origin: &origin,
        container: &handle,
        name: "task",
        show: Show::Everything,
    };
    let exit = running
        .run(process, &leaf.cancel, async || {
            context.once(&origin, "start", vec![start]).await?;
            started.tell().await;
            Ok(())
        })
        .await;
    if let Ok(exit) = &exit {
        script::settle(context, &origin, &handle, exit).await?;
    }
    // What a task wrote is there for its hooks even when it failed.
    for (name, volume) in &layout.outputs {
        context.register_artifact(leaf, name, volume).await?;
    }
    finish(context, leaf, &config, exit?).await
}

/// Lays out a task's inputs, outputs and caches, and records the volumes it makes.
pub(super) async fn layout(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    config: &TaskConfig,
    handle: &jb_model::ContainerHandle,
) -> Result<TaskMounts, Trouble> {
    let artifacts = context.artifacts(leaf).await?;
    let caches = context.task_caches(leaf, &plan.name, config).await?;
    let layout = task_mounts(
        config,
        &plan.input_mapping,
        &plan.output_mapping,
        |name| artifacts.get(name).cloned(),
        &VolumeNames { container: handle.as_str() },
        |path| caches.get(path).cloned(),
    )?;
    // A volume that nobody knows would be collected while the task runs.
    for mount in &layout.mounts {
        if let MountSource::Output(volume) | MountSource::Input { copy: Some(volume), .. } =
            &mount.source
        {
            context.record_volume(leaf, volume, "artifact", &plan.name, &mount.path).await?;
        }
    }
    Ok(layout)
}

async fn finish(
    context: &BuildContext,
    leaf: &Leaf,
    config: &TaskConfig,
    exit: Exit,
) -> Result<Done, Trouble> {
    if exit.cancelled {
        return Ok(Done::new(Outcome::Aborted, Vec::new()));
    }
    if exit.oom {
        let limit = config.limits.and_then(|limits| limits.memory_bytes);
        let limit = limit.map_or_else(String::new, |bytes| format!(" of {bytes} bytes"));
        context
            .say(leaf, &format!("the task was ended because it reached its memory limit{limit}\n"))
            .await?;
    }
    let finished = BuildEvent::FinishTask {
        origin: leaf.plan.id.clone(),
        time: context.now(),
        exit_status: exit.status,
    };
    let outcome = if exit.status == 0 { Outcome::Succeeded } else { Outcome::Failed };
    Ok(Done::new(outcome, vec![finished]))
}

pub(super) async fn image(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    config: &TaskConfig,
) -> Result<(Image, ImageConfig), Trouble> {
    if !plan.image_artifact.is_empty() {
        return artifact_image(context, leaf, &plan.image_artifact).await;
    }
    match &config.image_resource {
        Some(_) => fetched_image(context, &leaf.plan.id).await,
        None if config.rootfs_uri.is_empty() => Ok((Image::Host, ImageConfig::default())),
        None => Err(Trouble::new(format!(
            "rootfs_uri `{}` is not supported: use image_resource, or `image:` with an artifact",
            config.rootfs_uri
        ))),
    }
}

/// The image that was fetched for a step, or for a part of one.
pub(super) async fn fetched_image(
    context: &BuildContext,
    owner: &PlanId,
) -> Result<(Image, ImageConfig), Trouble> {
    let volume = context.image_of(owner).await?;
    let volume = volume.ok_or_else(|| Trouble::new("the task's image was not fetched"))?;
    let config = image_config(context, &volume).await?;
    Ok((Image::Volume(volume), config))
}

/// An image that a step before made.
pub(super) async fn artifact_image(
    context: &BuildContext,
    leaf: &Leaf,
    name: &str,
) -> Result<(Image, ImageConfig), Trouble> {
    let artifacts = context.artifacts(leaf).await?;
    let volume = artifacts.get(name).cloned().ok_or_else(|| {
        Trouble::new(format!("missing image artifact source: {name}: no step made it"))
    })?;
    let config = image_config(context, &volume).await?;
    Ok((Image::Volume(volume), config))
}

pub(super) fn container_spec(
    context: &BuildContext,
    plan: &TaskPlan,
    config: &TaskConfig,
    layout: &TaskMounts,
    image: Image,
    image_config: &ImageConfig,
    handle: &jb_model::ContainerHandle,
) -> ContainerSpec {
    let defaults = context.engine.settings.default_task_limits;
    let limits = config.limits.unwrap_or_default();
    let user = if config.run.user.is_empty() {
        image_config.user.clone()
    } else {
        Some(config.run.user.clone())
    };
    ContainerSpec {
        handle: handle.clone(),
        kind: ContainerKind::Task,
        image,
        hostname: handle.to_string(),
        working_dir: task_dir(&plan.name),
        mounts: layout.mounts.clone(),
        limits: ContainerLimits {
            cpu_shares: limits.cpu_shares.or(defaults.cpu_shares),
            memory_bytes: limits.memory_bytes.or(defaults.memory_bytes),
        },
        privileged: plan.privileged,
        network: if plan.hermetic { Network::Hermetic } else { Network::Outbound },
        user: user.map_or(User::Image, User::Named),
        source: None,
        coordinates: Default::default(),
    }
}

fn process_spec(
    context: &BuildContext,
    plan: &TaskPlan,
    config: &TaskConfig,
    image: ImageConfig,
) -> Result<ProcessSpec, Trouble> {
    let mut argv = if config.run.path.is_empty() {
        let mut argv = image.entrypoint;
        argv.extend(if config.run.args.is_empty() { image.cmd } else { Vec::new() });
        argv
    } else {
        vec![config.run.path.clone()]
    };
    argv.extend(config.run.args.iter().cloned());
    let mut argv = argv.into_iter();
    let path = argv.next().ok_or_else(|| {
        Trouble::new("the task has no run.path and its image has no entrypoint".to_owned())
    })?;
    let mut env = image.env;
    env.push(("ATC_EXTERNAL_URL".to_owned(), context.engine.settings.external_url.clone()));
    env.extend(config.params.iter().map(|(name, value)| (name.clone(), value.clone())));
    let home = task_dir(&plan.name);
    let dir = if config.run.dir.is_empty() {
        home
    } else if config.run.dir.starts_with('/') {
        config.run.dir.clone()
    } else {
        format!("{home}/{}", config.run.dir)
    };
    let user = if config.run.user.is_empty() { image.user } else { Some(config.run.user.clone()) };
    Ok(ProcessSpec {
        path,
        args: argv.collect(),
        env,
        dir,
        user,
        tty: Some(TERMINAL),
        stdin: Stdin::Null,
        privileged: plan.privileged,
        create_dir: config.run.dir.is_empty(),
    })
}

fn summary(config: &TaskConfig, process: &ProcessSpec) -> TaskSummary {
    TaskSummary {
        platform: config.platform.clone(),
        image: String::new(),
        path: process.path.clone(),
        args: process.args.clone(),
        dir: config.run.dir.clone(),
        inputs: config
            .inputs
            .iter()
            .map(|input| (input.name.clone(), input.path.clone()))
            .collect(),
    }
}
