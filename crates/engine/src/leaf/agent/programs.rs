//! MCP servers that are programs: each in a container of its own, beside the gateway, which alone reaches it.

use futures_util::future::try_join_all;
use jb_agent_protocol::{Source, mcp};
use jb_build::CancelReason;
use jb_model::plan::TaskPlan;
use jb_model::{ContainerHandle, VolumeHandle};
use jb_runtime::client::{ProcessSpec, Stdin};
use jb_runtime::{ContainerKind, ContainerSpec, Image, Link, Mount, MountSource, Network, User};
use serde_json::json;

use super::runs::Run;
use super::servers::{Program, ProgramImage};
use crate::build::BuildContext;
use crate::cancel::{Cancel, CancelHandle};
use crate::leaf::image::ImageConfig;
use crate::leaf::{Leaf, Trouble, task};
use crate::process::{Process, Show, Speaker};

/// Where servers are started.
const DIR: &str = "/tmp";

/// A server whose container is made.
pub(super) struct Made {
    name: String,
    handle: ContainerHandle,
    /// What runs in it, and its name there.
    process_name: String,
    process: ProcessSpec,
    /// Where the gateway finds it.
    pub(super) link: Mount,
}

/// Makes the containers of servers, side by side; none when the step was cancelled before. `image` is the step's.
pub(super) async fn make(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    run: &Run,
    programs: &[Program],
    image: (&Image, &ImageConfig),
) -> Result<Option<Vec<Made>>, Trouble> {
    let made = programs.iter().map(|program| make_one(context, leaf, plan, run, program, image));
    Ok(try_join_all(made).await?.into_iter().collect())
}

async fn make_one(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    run: &Run,
    program: &Program,
    image: (&Image, &ImageConfig),
) -> Result<Option<Made>, Trouble> {
    let Program { name, command, image: own, params } = program;
    let own = match own {
        ProgramImage::Step => None,
        ProgramImage::Artifact(artifact) => {
            Some(task::artifact_image(context, leaf, artifact).await?)
        }
        ProgramImage::Fetched(owner) => Some(task::fetched_image(context, owner).await?),
    };
    let (image, config) = own.as_ref().map_or(image, |(image, config)| (image, config));
    let handle = run.own.server(name);
    let volume = VolumeHandle::new(format!("{handle}-socket"));
    let path = mcp::socket_dir(name);
    context.record_volume(leaf, &volume, "artifact", &plan.name, &path).await?;
    let link = |serves| {
        let link = Link { volume: volume.clone(), socket: mcp::SOCKET.to_owned(), serves };
        Mount { path: path.clone(), source: MountSource::Link(link) }
    };
    let step_name = format!("{}/{name}", plan.name);
    let spec = ContainerSpec {
        handle: handle.clone(),
        kind: ContainerKind::Mcp,
        image: image.clone(),
        hostname: handle.to_string(),
        working_dir: DIR.to_owned(),
        mounts: vec![link(true)],
        limits: context.engine.settings.default_task_limits,
        privileged: false,
        network: Network::Outbound,
        user: config.user.clone().map_or(User::Image, User::Named),
        coordinates: context.coordinates(leaf, &step_name),
        source: None,
    };
    if !context.create_container(leaf, &spec, &step_name).await? {
        return Ok(None);
    }
    let told = json!(mcp::ProgramSpec {
        name: name.clone(),
        socket: format!("{path}/{}", mcp::SOCKET),
        command: command.clone(),
    });
    let mut env = config.env.clone();
    env.extend(params.iter().map(|(name, value)| (name.clone(), value.clone())));
    let user = config.user.clone();
    let process = super::process(
        "serve",
        Stdin::Data(told.to_string().into_bytes()),
        env,
        DIR.to_owned(),
        user,
    );
    let (name, process_name) = (name.clone(), run.named(&format!("mcp {name}")));
    Ok(Some(Made { name, process_name, handle, process, link: link(false) }))
}

/// Follows servers until they are told to end. One that is lost is no more than its tools: the step goes on. One that could
/// not begin is why nothing else does: the gateway would wait for it.
pub(super) async fn follow(
    context: &BuildContext,
    leaf: &Leaf,
    agent: &str,
    servers: &[Made],
    (stop, stop_harness): (&Cancel, &CancelHandle),
) -> Result<(), Trouble> {
    let follow = servers.iter().map(async |server| {
        let process = Process {
            context,
            origin: &leaf.plan.id,
            container: &server.handle,
            name: &server.process_name,
            show: Show::Transcript(Speaker { agent, source: Source::Server, asking: None }),
        };
        let ended = process.run(server.process.clone(), stop, async || Ok(())).await;
        let why = match ended.map_err(Trouble::from) {
            Err(trouble) if trouble.of_server => return Err(trouble),
            Err(trouble) => trouble.text,
            Ok(exit) if exit.status != 0 && !exit.cancelled => {
                let said = String::from_utf8_lossy(&exit.result).trim().to_owned();
                if exit.status == mcp::NEVER_BEGAN {
                    let text =
                        format!("the MCP server `{}` cannot be started: {said}", server.name);
                    return Err(Trouble::new(text));
                }
                let memory = if exit.oom { " at its memory limit" } else { "" };
                format!("its container ended with status {}{memory} {said}", exit.status)
            }
            Ok(_) => return Ok(()),
        };
        let text = format!("the MCP server `{}`: {}\n", server.name, why.trim_end());
        context.say(leaf, &text).await?;
        Ok(())
    });
    let ended = try_join_all(follow).await.map(drop);
    if matches!(&ended, Err(trouble) if !trouble.of_server) {
        stop_harness.cancel(CancelReason::Abort);
    }
    ended
}
