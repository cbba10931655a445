//! The agent step: a container with a harness, whose only way out is a gateway in a container of its own.
//!
//! It is a task whose program is ours. The gateway is begun before the harness and stopped after it; both are found again
//! after a restart, with all they said meanwhile.

mod approvals;
mod context;
mod files;
mod model;
mod network;
mod outcome;
mod programs;
mod recording;
mod servers;
mod setup;
mod untrusted;

use jb_agent_protocol::{SOCKET, SOCKET_DIR, Source};
use jb_build::CancelReason;
use jb_model::agent::AgentConfig;
use jb_model::event::TaskSummary;
use jb_model::plan::TaskPlan;
use jb_model::{BuildEvent, ContainerHandle, Outcome, PlanStep, Timestamp, Value, VolumeHandle};
use jb_runtime::client::{ProcessSpec, Stdin};
use jb_runtime::{
    AGENT_PROGRAM, ContainerKind, ContainerSpec, Image, Link, Mount, MountSource, Network, User,
};

use super::{Done, Leaf, Started, Trouble, script, task};
use crate::build::BuildContext;
use crate::cancel;
use crate::process::{Exit, Process, Show, Speaker};
use crate::workspace::task_dir;
use approvals::{Limits, Over};
use outcome::Judged;
use setup::Setup;

/// Everything that is made for one agent.
struct Made {
    /// The step's name.
    name: String,
    agent: ContainerHandle,
    gateway: ContainerHandle,
    servers: Vec<programs::Made>,
    /// The processes to run in them.
    harness: ProcessSpec,
    way_out: ProcessSpec,
    start: BuildEvent,
    outputs: Vec<(String, VolumeHandle)>,
}

pub(crate) use servers::{image_owners, images};

/// The containers beside a step's agent, which are made before it.
pub(crate) fn beside(context: &BuildContext, leaf: &Leaf) -> Vec<ContainerHandle> {
    let PlanStep::Task(plan) = &leaf.plan.step else { return Vec::new() };
    let Some(agent) = &plan.agent else { return Vec::new() };
    let gateway = script::container_handle(context, &leaf.plan, ContainerKind::Gateway);
    let servers = agent.mcp.iter().map(|server| programs::handle(context, leaf, &server.name));
    std::iter::once(gateway).chain(servers).collect()
}

pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    agent: &AgentConfig,
    started: &Started<'_>,
) -> Result<Done, Trouble> {
    let Some(made) = make(context, leaf, plan, agent).await? else {
        return Ok(Done::new(Outcome::Aborted, Vec::new()));
    };
    context.resume_story(leaf).await?;
    let limits = Limits::resolve(context, leaf, agent).await?;
    let began = leaf.began.unwrap_or_else(|| context.now());
    let exits = follow(context, leaf, &made, &limits, began, started).await;
    if !matches!(&exits, Err(trouble) if trouble.of_server) {
        limits.withdraw(context, leaf).await?;
    }
    if let Ok(Some(exit)) = &exits {
        script::settle(context, &leaf.plan.id, &made.agent, exit).await?;
        // The recording, which is whole now.
        leaf.place(context).runtime.settle(&made.gateway).await?;
    }
    recording::hand_over(context, leaf, plan, &made.gateway).await?;
    // What the agent wrote is there for the step's hooks even when it failed.
    for (name, volume) in &made.outputs {
        context.register_artifact(leaf, name, volume).await?;
    }
    let Some(exit) = exits? else { return Ok(Done::new(Outcome::Aborted, Vec::new())) };
    if context.agent_end(leaf).await?.is_none()
        && let Some(over) = limits.over(context, leaf, began).await?
    {
        return cut_short(context, leaf, agent, over).await;
    }
    finish(context, leaf, plan, agent, &made, &exit).await
}

/// Makes the containers; none when the step was cancelled before.
async fn make(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    agent: &AgentConfig,
) -> Result<Option<Made>, Trouble> {
    let place = leaf.place(context);
    let worker = place.name().to_owned();
    if !place.runtime.runs_agents() {
        return Err(Trouble::new(format!("the worker `{worker}` cannot run agents")));
    }
    let config = context.task_config(leaf, plan).await?;
    let setup = Setup::new(context, leaf, &recording::name(leaf, plan), agent).await?;
    let handle = script::container_handle(context, &leaf.plan, ContainerKind::Agent);
    let gateway = script::container_handle(context, &leaf.plan, ContainerKind::Gateway);
    let (image, image_config) = task::image(context, leaf, plan, &config).await?;
    let mut layout = task::layout(context, leaf, plan, &config, &handle).await?;
    layout.mounts.extend(context::mount(context, leaf, plan, agent, &handle).await?);
    let origin = &leaf.plan.id;
    let time = context.now();
    let selected = BuildEvent::SelectedWorker { origin: origin.clone(), time, worker };
    context.once(origin, "selected", vec![selected]).await?;

    let step_image = (&image, &image_config);
    let servers = programs::make(context, leaf, plan, setup.programs(), step_image).await?;
    let Some(servers) = servers else { return Ok(None) };
    let Some(link) = make_gateway(context, leaf, plan, &gateway, &setup, &servers).await? else {
        return Ok(None);
    };
    // Whatever the plan says: one that was posted may say anything.
    let plan =
        TaskPlan { privileged: false, hermetic: network::is_hermetic(agent), ..plan.clone() };
    let mut spec =
        task::container_spec(context, &plan, &config, &layout, image, &image_config, &handle);
    spec.kind = ContainerKind::Agent;
    spec.coordinates = context.coordinates(leaf, &plan.name);
    spec.mounts.push(link);
    if !context.create_container(leaf, &spec, &plan.name).await? {
        return Ok(None);
    }
    let mut env = image_config.env;
    env.push(("ATC_EXTERNAL_URL".to_owned(), context.engine.settings.external_url.clone()));
    env.extend(config.params.iter().map(|(name, value)| (name.clone(), value.clone())));
    let working_dir = task_dir(&plan.name);
    let off_limits = leaf.place(context).runtime.off_limits();
    let told = setup.harness(&plan.name, &working_dir, &layout.mounts, &config, off_limits);
    let told = format!("{told}\n").into_bytes();
    // Whoever asks is told the answers later.
    let stdin = if agent.approval.is_some() { Stdin::Fed(told) } else { Stdin::Data(told) };
    let verb = setup::verb(agent.harness);
    let harness = process(verb, stdin, env, working_dir, image_config.user);
    context.keep_process(&handle, &harness).await?;
    let told = setup.gateway(context.secrets(), off_limits);
    let stdin = Stdin::Data(told.to_string().into_bytes());
    let way_out = process("gateway", stdin, Vec::new(), "/".to_owned(), None);
    let summary = TaskSummary {
        platform: config.platform.clone(),
        path: agent.harness.as_str().to_owned(),
        args: vec![setup.model_name().to_owned()],
        ..TaskSummary::default()
    };
    let start = BuildEvent::StartTask { origin: origin.clone(), time, config: summary };
    let name = plan.name;
    Ok(Some(Made {
        name,
        agent: handle,
        gateway,
        servers,
        harness,
        way_out,
        start,
        outputs: layout.outputs,
    }))
}

/// Makes the gateway's container, and the agent's end of the link to it; none when the step was cancelled before.
async fn make_gateway(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    gateway: &ContainerHandle,
    setup: &Setup<'_>,
    servers: &[programs::Made],
) -> Result<Option<Mount>, Trouble> {
    let volume = VolumeHandle::new(format!("{gateway}-socket"));
    context.record_volume(leaf, &volume, "artifact", &plan.name, SOCKET_DIR).await?;
    let link = |serves| {
        let socket = SOCKET.trim_start_matches(SOCKET_DIR).trim_start_matches('/').to_owned();
        let link = Link { volume: volume.clone(), socket, serves };
        Mount { path: SOCKET_DIR.to_owned(), source: MountSource::Link(link) }
    };
    let recording = recording::mount(context, leaf, plan, gateway, setup.recording()).await?;
    let step_name = format!("{}/gateway", plan.name);
    let mut mounts = vec![link(true), recording];
    mounts.extend(servers.iter().map(|server| server.link.clone()));
    let mut spec = gateway_container(gateway, mounts);
    if setup.recording().is_some() {
        spec.network = Network::Hermetic;
    }
    spec.coordinates = context.coordinates(leaf, &step_name);
    let made = context.create_container(leaf, &spec, &step_name).await?;
    Ok(made.then(|| link(false)))
}

fn gateway_container(handle: &ContainerHandle, mounts: Vec<Mount>) -> ContainerSpec {
    ContainerSpec {
        handle: handle.clone(),
        kind: ContainerKind::Gateway,
        image: Image::Host,
        hostname: handle.to_string(),
        working_dir: "/tmp".to_owned(),
        mounts,
        limits: Default::default(),
        privileged: false,
        network: Network::Outbound,
        user: User::Named("root".to_owned()),
        coordinates: Default::default(),
        source: None,
    }
}

fn process(
    verb: &str,
    stdin: Stdin,
    env: Vec<(String, String)>,
    dir: String,
    user: Option<String>,
) -> ProcessSpec {
    ProcessSpec {
        path: AGENT_PROGRAM.to_owned(),
        args: vec![verb.to_owned()],
        env,
        dir,
        create_dir: true,
        user,
        tty: None,
        stdin,
        privileged: false,
    }
}

/// Follows the harness to its end, and the gateway and servers beside it; none when the step was cancelled.
async fn follow(
    context: &BuildContext,
    leaf: &Leaf,
    made: &Made,
    limits: &Limits,
    began: Timestamp,
    started: &Started<'_>,
) -> Result<Option<Exit>, Trouble> {
    let of = |container, name, source| {
        let speaker = Speaker { agent: &made.name, source, asking: limits.asking.as_ref() };
        Process { context, origin: &leaf.plan.id, container, name, show: Show::Transcript(speaker) }
    };
    let gateway = of(&made.gateway, "gateway", Source::Gateway);
    let agent = of(&made.agent, "agent", Source::Harness);
    let (stop_servers, servers_stopped) = cancel::pair();
    let (stop_gateway, gateway_stopped) = cancel::pair();
    let (stop_harness, harness_stopped) = cancel::pair();
    let stops = (&servers_stopped, &stop_harness);
    let servers = programs::follow(context, leaf, &made.name, &made.servers, stops);
    let (gateway_began, harness_began) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let gateway = async {
        let on_start = async || {
            gateway_began.notify_one();
            Ok(())
        };
        let ended = gateway.run(made.way_out.clone(), &gateway_stopped, on_start).await;
        // Without it the harness can do nothing, and servers have nobody to answer.
        stop_harness.cancel(CancelReason::Abort);
        stop_servers.cancel(CancelReason::Abort);
        ended
    };
    let harness = async {
        let ended = tokio::select! {
            biased;
            () = gateway_began.notified() => {
                let begun = async || {
                    context.once(&leaf.plan.id, "start", vec![made.start.clone()]).await?;
                    started.tell().await;
                    harness_began.notify_one();
                    Ok(())
                };
                agent.run(made.harness.clone(), &harness_stopped, begun).await
            }
            () = harness_stopped.requested() => Ok(Exit::unseen()),
        };
        // Whoever waits for the gateway would wait for ever.
        stop_gateway.cancel(CancelReason::Abort);
        ended
    };
    let limited = async {
        harness_began.notified().await;
        limits.watch(context, leaf, began, &agent).await
    };
    let stop = async {
        tokio::select! {
            () = leaf.cancel.requested() => {}
            over = limited => if let Err(trouble) = over { return trouble },
        }
        stop_harness.cancel(CancelReason::Abort);
        std::future::pending().await
    };
    let (gateway, harness, servers) = tokio::select! {
        all = async { tokio::join!(gateway, harness, servers) } => all,
        trouble = stop => return Err(trouble),
    };
    let (gateway, harness, ()) = (gateway?, harness?, servers?);
    if leaf.cancel.is_requested() {
        return Ok(None);
    }
    // After a restart both may have ended long ago, in good order.
    if harness.cancelled
        && context.agent_end(leaf).await?.is_none()
        && limits.over(context, leaf, began).await?.is_none()
    {
        return Err(without_gateway(context, leaf, made, &gateway).await);
    }
    Ok(Some(harness))
}

/// Why a gateway ended before its agent.
async fn without_gateway(
    context: &BuildContext,
    leaf: &Leaf,
    made: &Made,
    gateway: &Exit,
) -> Trouble {
    let said = String::from_utf8_lossy(&gateway.result).trim().to_owned();
    // One that is asked to end does so in good order, whoever asks.
    let why = match leaf.place(context).runtime.taken_away(&made.gateway).await {
        Some(why) => why,
        None if said.is_empty() => format!("it ended with status {}", gateway.status),
        None => said,
    };
    Trouble::new(format!("the agent's gateway: {why}"))
}

/// Ends a step whose agent was not let come to its end.
async fn cut_short(
    context: &BuildContext,
    leaf: &Leaf,
    agent: &AgentConfig,
    over: Over,
) -> Result<Done, Trouble> {
    let (origin, time) = (leaf.plan.id.clone(), context.now());
    let finished = BuildEvent::FinishTask { origin: origin.clone(), time, exit_status: 1 };
    match over {
        Over::Expired(id) => {
            let text = format!("approval {id} expired: nobody decided about the call\n");
            context.say(leaf, &text).await?;
            Ok(Done::new(Outcome::Aborted, vec![finished]))
        }
        Over::OutOfTime => {
            let message = format!("the budget is spent: {} of time", agent.budget.time);
            let error = BuildEvent::Error { origin, time, message };
            Ok(Done::new(Outcome::Failed, vec![error, finished]))
        }
    }
}

async fn finish(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    agent: &AgentConfig,
    made: &Made,
    exit: &Exit,
) -> Result<Done, Trouble> {
    let end = context.agent_end(leaf).await?;
    let judged = outcome::judge(agent, exit, end.as_ref())?;
    let result = end.and_then(|end| end.get("result").cloned()).filter(|result| !result.is_null());
    if let Some(result) = &result {
        keep_result(context, leaf, plan, &made.agent, result).await?;
    }
    let Judged { outcome, say } = judged;
    if let Some(text) = say {
        context.say(leaf, &format!("{text}\n")).await?;
    }
    let exit_status = i32::from(outcome != Outcome::Succeeded);
    let time = context.now();
    let finished = BuildEvent::FinishTask { origin: leaf.plan.id.clone(), time, exit_status };
    Ok(Done::new(outcome, vec![finished]))
}

/// Makes the result an artifact and a var, both of the step's name.
async fn keep_result(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    container: &ContainerHandle,
    result: &Value,
) -> Result<(), Trouble> {
    let volume = VolumeHandle::new(format!("{container}-result"));
    let files = [("result.json", format!("{result:#}\n"))];
    files::keep(context, leaf, &volume, &plan.name, &files).await?;
    context.register_artifact(leaf, &plan.name, &volume).await?;
    context.set_var(leaf, &plan.name, result.clone(), false).await
}
