//! The agent step: a container with a harness, whose only way out is a gateway in a container of its own.
//!
//! It is a task whose program is ours. The gateway is begun before the harness and stopped after it; both are found again
//! after a restart, with all they said meanwhile. A harness that waits long for people stops, and goes on in new containers.

mod approvals;
mod context;
mod files;
mod follow;
mod model;
mod network;
mod outcome;
mod programs;
mod recording;
mod runs;
mod servers;
mod setup;
mod suspension;
mod untrusted;

use jb_agent_protocol::suspension::STATE_DIR;
use jb_agent_protocol::{SOCKET, SOCKET_DIR};
use jb_model::agent::AgentConfig;
use jb_model::event::TaskSummary;
use jb_model::plan::TaskPlan;
use jb_model::{BuildEvent, ContainerHandle, Outcome, PlanStep, Timestamp, Value, VolumeHandle};
use jb_runtime::client::{ProcessSpec, Stdin};
use jb_runtime::{
    AGENT_PROGRAM, ContainerKind, ContainerSpec, Image, Link, Mount, MountSource, Network, User,
};

use super::{Done, Leaf, Started, Trouble, script, task};
use crate::build::{BuildContext, PutAway};
use crate::process::Exit;
use crate::workspace::task_dir;
use approvals::{Held, Limits, Over};
use outcome::Judged;
use runs::{Handles, Run};
use setup::Setup;
use suspension::Next;

/// An agent's step that runs.
struct Step<'a> {
    context: &'a BuildContext,
    leaf: &'a Leaf,
    plan: &'a TaskPlan,
    agent: &'a AgentConfig,
    limits: Limits,
}

/// Everything that is made for one run of an agent.
struct Made {
    /// The step's name.
    name: String,
    run: Run,
    servers: Vec<programs::Made>,
    /// The processes to run.
    harness: ProcessSpec,
    way_out: ProcessSpec,
    start: BuildEvent,
    outputs: Vec<(String, VolumeHandle)>,
    /// What of the run before is not needed once all of this one is kept.
    superseded: Vec<VolumeHandle>,
}

pub(crate) use servers::{image_owners, images};

/// The containers beside a step's agent, which are made before it.
pub(crate) fn beside(context: &BuildContext, leaf: &Leaf) -> Vec<ContainerHandle> {
    let Some(agent) = agent_of(leaf) else { return Vec::new() };
    Handles::new(context, &leaf.plan, 0).beside(agent)
}

/// What is kept of an agent that stopped, which is where it goes on.
pub(crate) async fn kept(
    context: &BuildContext,
    leaf: &Leaf,
) -> Result<Option<VolumeHandle>, Trouble> {
    if agent_of(leaf).is_none() {
        return Ok(None);
    }
    let stopped = context.agent_suspended(leaf).await?;
    Ok(stopped.map(|it| Handles::new(context, &leaf.plan, it.run).state()))
}

fn agent_of(leaf: &Leaf) -> Option<&AgentConfig> {
    match &leaf.plan.step {
        PlanStep::Task(plan) => plan.agent.as_deref(),
        _ => None,
    }
}

pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    agent: &AgentConfig,
    started: &Started<'_>,
) -> Result<Done, Trouble> {
    let limits = Limits::resolve(context, leaf, agent).await?;
    let step = Step { context, leaf, plan, agent, limits };
    let done = step.run(started).await;
    if !matches!(&done, Err(trouble) if trouble.of_server) {
        step.limits.withdraw(context, leaf).await?;
    }
    done
}

impl Step<'_> {
    /// Follows one run of the agent after the other, to its end.
    async fn run(&self, started: &Started<'_>) -> Result<Done, Trouble> {
        let (context, leaf) = (self.context, self.leaf);
        let mut began = leaf.began;
        loop {
            let run = match self.next(began.unwrap_or_else(|| context.now())).await? {
                Next::Run(run) => *run,
                Next::Over(held) => return self.without_run(held).await,
            };
            let Some(made) = self.make(run).await? else {
                return self.without_run(Held::Cancelled).await;
            };
            context.resume_story(leaf).await?;
            let began = *began.get_or_insert_with(|| context.now());
            let exit = self.follow(&made, began, started).await;
            if let Ok(Some(exit)) = &exit
                && self.is_suspended(&made.run).await?
            {
                self.put_away(made, exit).await?;
                continue;
            }
            return self.conclude(&made, exit, began).await;
        }
    }

    /// Whether a run stopped to be gone on with.
    async fn is_suspended(&self, run: &Run) -> Result<bool, Trouble> {
        let stopped = self.context.agent_suspended(self.leaf).await?;
        Ok(stopped.is_some_and(|stopped| stopped.run == run.number))
    }

    /// Keeps what a run wrote that stopped. Its containers are not needed from then on.
    async fn put_away(&self, made: Made, exit: &Exit) -> Result<(), Trouble> {
        self.settle(&made, exit).await?;
        for volume in &made.superseded {
            // What cannot be removed now goes with the build.
            self.context.engine.collector.remove_volume(volume).await;
        }
        let kept = PutAway { run: made.run.number, outputs: made.outputs };
        self.context.put_agent_away(self.leaf, &kept).await
    }

    /// Keeps what a run wrote, of which the recording is whole now.
    async fn settle(&self, made: &Made, exit: &Exit) -> Result<(), Trouble> {
        let Handles { agent, gateway, .. } = &made.run.own;
        script::settle(self.context, &self.leaf.plan.id, agent, exit).await?;
        Ok(self.leaf.place(self.context).runtime.settle(gateway).await?)
    }

    /// Hands over what the agent left, for the step's hooks even when it failed.
    async fn hand_over(
        &self,
        gateway: &ContainerHandle,
        outputs: &[(String, VolumeHandle)],
    ) -> Result<(), Trouble> {
        recording::hand_over(self.context, self.leaf, self.plan, gateway).await?;
        for (name, volume) in outputs {
            self.context.register_artifact(self.leaf, name, volume).await?;
        }
        Ok(())
    }

    /// Ends a step of which nothing runs, with what the last run left if there was one.
    async fn without_run(&self, held: Held) -> Result<Done, Trouble> {
        if let Some(PutAway { run, outputs }) = self.context.agent_put_away(self.leaf).await? {
            let last = Handles::new(self.context, &self.leaf.plan, run);
            self.hand_over(&last.gateway, &outputs).await?;
        }
        match held {
            Held::Over(over) => self.cut_short(over).await,
            Held::Decided(_) | Held::Cancelled => Ok(Done::new(Outcome::Aborted, Vec::new())),
        }
    }

    /// Ends a step with its last run.
    async fn conclude(
        &self,
        made: &Made,
        exit: Result<Option<Exit>, Trouble>,
        began: Timestamp,
    ) -> Result<Done, Trouble> {
        let (context, leaf) = (self.context, self.leaf);
        if !matches!(&exit, Err(trouble) if trouble.of_server) {
            // It waits for nobody any more.
            self.limits.withdraw(context, leaf).await?;
        }
        if let Ok(Some(exit)) = &exit {
            self.settle(made, exit).await?;
        }
        self.hand_over(&made.run.own.gateway, &made.outputs).await?;
        let Some(exit) = exit? else { return Ok(Done::new(Outcome::Aborted, Vec::new())) };
        if context.agent_end(leaf).await?.is_none()
            && let Some(over) = self.limits.over(context, leaf, began).await?
        {
            return self.cut_short(over).await;
        }
        self.finish(made, &exit).await
    }

    /// Makes the containers of a run; none when the step was cancelled before.
    async fn make(&self, run: Run) -> Result<Option<Made>, Trouble> {
        let (context, leaf, plan, agent) = (self.context, self.leaf, self.plan, self.agent);
        let place = leaf.place(context);
        let worker = place.name().to_owned();
        if !place.runtime.runs_agents() {
            return Err(Trouble::new(format!("the worker `{worker}` cannot run agents")));
        }
        let config = context.task_config(leaf, plan).await?;
        let setup = Setup::new(context, leaf, &recording::name(leaf, plan), agent).await?;
        let handle = &run.own.agent;
        let (image, image_config) = task::image(context, leaf, plan, &config).await?;
        let mut layout = task::layout(context, leaf, plan, &config, handle).await?;
        layout.mounts.extend(context::mount(context, leaf, plan, agent, handle).await?);
        let origin = &leaf.plan.id;
        let time = context.now();
        let selected = BuildEvent::SelectedWorker { origin: origin.clone(), time, worker };
        context.once(origin, "selected", vec![selected]).await?;

        let step_image = (&image, &image_config);
        let servers = programs::make(context, leaf, plan, &run, setup.programs(), step_image);
        let Some(servers) = servers.await? else { return Ok(None) };
        let Some((link, mut superseded)) = self.make_gateway(&run, &setup, &servers).await? else {
            return Ok(None);
        };
        // Whatever the plan says: one that was posted may say anything.
        let allowed =
            TaskPlan { privileged: false, hermetic: network::is_hermetic(agent), ..plan.clone() };
        let mut spec =
            task::container_spec(context, &allowed, &config, &layout, image, &image_config, handle);
        spec.kind = ContainerKind::Agent;
        spec.coordinates = context.coordinates(leaf, &plan.name);
        spec.mounts.push(link);
        spec.mounts.extend(self.state(&run).await?);
        superseded.extend(run.carry_over(&mut spec.mounts));
        if !context.create_container(leaf, &spec, &plan.name).await? {
            return Ok(None);
        }
        let mut env = image_config.env;
        env.push(("ATC_EXTERNAL_URL".to_owned(), context.engine.settings.external_url.clone()));
        env.extend(config.params.iter().map(|(name, value)| (name.clone(), value.clone())));
        let (dir, off_limits) = (task_dir(&plan.name), place.runtime.off_limits());
        let stops = run.suspension(context, agent);
        let told = setup.harness(&plan.name, &dir, &layout.mounts, &config, off_limits, stops);
        let harness = harness(agent, &told, env, dir, image_config.user);
        context.keep_process(handle, &harness).await?;
        let again = run.is_over_again(agent);
        let told = setup.gateway(context.secrets(), off_limits, run.spent, again);
        let stdin = Stdin::Data(told.to_string().into_bytes());
        let way_out = process("gateway", stdin, Vec::new(), "/".to_owned(), None);
        let summary = TaskSummary {
            platform: config.platform.clone(),
            path: agent.harness.as_str().to_owned(),
            args: vec![setup.model_name().to_owned()],
            ..TaskSummary::default()
        };
        let start = BuildEvent::StartTask { origin: origin.clone(), time, config: summary };
        let (name, outputs) = (plan.name.clone(), layout.outputs);
        Ok(Some(Made { name, run, servers, harness, way_out, start, outputs, superseded }))
    }

    /// Where the harness keeps what it goes on from; none for one that does not stop.
    async fn state(&self, run: &Run) -> Result<Option<Mount>, Trouble> {
        let mount = run.state(self.agent);
        if mount.is_some() {
            let (volume, name) = (run.own.state(), &self.plan.name);
            self.context.record_volume(self.leaf, &volume, "artifact", name, STATE_DIR).await?;
        }
        Ok(mount)
    }

    /// Makes the gateway's container, and the agent's end of the link to it, with what of the run before is not needed once
    /// all of this one is kept. None when the step was cancelled before.
    async fn make_gateway(
        &self,
        run: &Run,
        setup: &Setup<'_>,
        servers: &[programs::Made],
    ) -> Result<Option<(Mount, Vec<VolumeHandle>)>, Trouble> {
        let (context, leaf, plan) = (self.context, self.leaf, self.plan);
        let gateway = &run.own.gateway;
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
        let superseded = run.carry_over(&mut mounts);
        mounts.extend(servers.iter().map(|server| server.link.clone()));
        let mut spec = gateway_container(gateway, mounts);
        if setup.recording().is_some() {
            spec.network = Network::Hermetic;
        }
        spec.coordinates = context.coordinates(leaf, &step_name);
        let made = context.create_container(leaf, &spec, &step_name).await?;
        Ok(made.then(|| (link(false), superseded)))
    }

    /// Ends a step whose agent was not let come to its end.
    async fn cut_short(&self, over: Over) -> Result<Done, Trouble> {
        let (origin, time) = (self.leaf.plan.id.clone(), self.context.now());
        let finished = BuildEvent::FinishTask { origin: origin.clone(), time, exit_status: 1 };
        match over {
            Over::Expired(id) => {
                let text = format!("approval {id} expired: nobody decided about the call\n");
                self.context.say(self.leaf, &text).await?;
                Ok(Done::new(Outcome::Aborted, vec![finished]))
            }
            Over::OutOfTime => {
                let message = format!("the budget is spent: {} of time", self.agent.budget.time);
                let error = BuildEvent::Error { origin, time, message };
                Ok(Done::new(Outcome::Failed, vec![error, finished]))
            }
        }
    }

    async fn finish(&self, made: &Made, exit: &Exit) -> Result<Done, Trouble> {
        let (context, leaf) = (self.context, self.leaf);
        let end = context.agent_end(leaf).await?;
        let judged = outcome::judge(self.agent, exit, end.as_ref())?;
        let result = end.and_then(|end| end.get("result").cloned());
        if let Some(result) = result.filter(|result| !result.is_null()) {
            self.keep_result(&made.run.own.agent, &result).await?;
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
        &self,
        container: &ContainerHandle,
        result: &Value,
    ) -> Result<(), Trouble> {
        let (context, leaf, name) = (self.context, self.leaf, &self.plan.name);
        let volume = VolumeHandle::new(format!("{container}-result"));
        let files = [("result.json", format!("{result:#}\n"))];
        files::keep(context, leaf, &volume, name, &files).await?;
        context.register_artifact(leaf, name, &volume).await?;
        context.set_var(leaf, name, result.clone(), false).await
    }
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

/// The process of a harness that is told this.
fn harness(
    agent: &AgentConfig,
    told: &Value,
    env: Vec<(String, String)>,
    dir: String,
    user: Option<String>,
) -> ProcessSpec {
    let told = format!("{told}\n").into_bytes();
    // Whoever asks is told the answers later.
    let stdin = if agent.approval.is_some() { Stdin::Fed(told) } else { Stdin::Data(told) };
    process(setup::verb(agent.harness), stdin, env, dir, user)
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
