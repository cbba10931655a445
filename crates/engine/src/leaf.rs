//! Runs one leaf of a plan. Each phase may be repeated after a restart and then finds what it made.

mod agent;
mod approve;
mod artifact;
mod check;
mod fetch;
mod get;
mod image;
mod load_var;
mod put;
mod script;
mod set_pipeline;
mod task;

use std::sync::Arc;

use jb_build::{Event, ImageNeed, LeafResult, Phase};
use jb_model::plan::{PlanStep, RunPlan};
use jb_model::{BuildEvent, BuildStatus, Outcome, Plan, PlanId, Timestamp, Value};

use crate::build::BuildContext;
use crate::cancel::Cancel;
use crate::places::Place;

/// A leaf to run, with what the machine knows of its place in the plan.
pub(crate) struct Leaf {
    pub plan: Plan,
    pub phase: Phase,
    /// Enclosing `across` substeps, innermost first.
    pub scope: Vec<PlanId>,
    pub across_vars: Vec<(String, Value)>,
    /// What `BUILD_STATUS` says inside a hook.
    pub hook_status: Option<BuildStatus>,
    pub cancel: Cancel,
    /// When its process began, if it did before this run of the leaf.
    pub began: Option<Timestamp>,
    /// Where its container is or will be; set before it begins.
    pub place: std::sync::OnceLock<Arc<Place>>,
}

impl Leaf {
    /// Where the step runs.
    pub(crate) fn place<'a>(&'a self, context: &'a BuildContext) -> &'a Arc<Place> {
        self.place.get().unwrap_or_else(|| context.engine.places.first())
    }
}

pub(crate) use agent::{
    beside as beside_agent, image_owners as images_beside_agent, kept as kept_of_agent,
};
pub(crate) use script::{container_handle, version_of};

/// What a leaf reports: events for the machine and for the build's log, stored in one transaction.
pub(crate) struct Report {
    pub machine: Event,
    pub log: Vec<BuildEvent>,
}

/// How a leaf's run ended, with the last events of its log.
pub(crate) struct Done {
    pub outcome: Outcome,
    pub log: Vec<BuildEvent>,
}

impl Done {
    fn new(outcome: Outcome, log: Vec<BuildEvent>) -> Self {
        Self { outcome, log }
    }
}

/// Something around the step broke; the text becomes its error event.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub text: String,
    /// It is the server that cannot go on: the step is not to blame and is begun again by whoever can.
    pub of_server: bool,
}

impl Trouble {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), of_server: false }
    }
}

/// Whether the store could not be used, whatever it was used for.
fn is_unusable(error: &(dyn std::error::Error + 'static)) -> bool {
    use jb_store::Error;
    error.downcast_ref().is_some_and(|error| {
        matches!(
            error,
            Error::Open { .. }
                | Error::Locked { .. }
                | Error::Full { .. }
                | Error::Collided { .. }
                | Error::Statement { .. }
                | Error::FenceLost { .. }
        )
    })
}

impl<E: std::error::Error + 'static> From<E> for Trouble {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut of_server = is_unusable(&error);
        let mut source = error.source();
        while let Some(cause) = source {
            of_server |= is_unusable(cause);
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        Self { text, of_server }
    }
}

/// Tells the driver that the step's process runs, so that its timeout begins.
pub(crate) struct Started<'a> {
    pub tell: &'a tokio::sync::mpsc::Sender<Report>,
    pub node: &'a PlanId,
    /// What the plan's limit comes to.
    pub timeout: Option<std::time::Duration>,
}

impl Started<'_> {
    pub(crate) async fn tell(&self) {
        let report = Report {
            machine: Event::Started { node: self.node.clone(), timeout: self.timeout },
            log: Vec::new(),
        };
        // The driver is gone only when the whole build is being dropped.
        let _ = self.tell.send(report).await;
    }
}

/// Runs one phase of a leaf and says how it ended, unless this server cannot go on.
pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    tell: &tokio::sync::mpsc::Sender<Report>,
) -> Result<Report, Trouble> {
    let node = leaf.plan.id.clone();
    let ran = match leaf.phase {
        Phase::Prepare => prepare(context, leaf)
            .await
            .map(|images| (Event::Prepared { node: node.clone(), images }, Vec::new())),
        Phase::Run => execute(context, leaf, tell).await.map(|done| {
            let result = LeafResult { outcome: done.outcome, message: None };
            (Event::Finished { node: node.clone(), phase: leaf.phase, result }, done.log)
        }),
    };
    match ran {
        Ok((machine, log)) => Ok(Report { machine, log }),
        Err(trouble) if trouble.of_server => Err(trouble),
        Err(trouble) => Ok(errored(node, leaf.phase, trouble.text)),
    }
}

pub(crate) fn errored(node: PlanId, phase: Phase, message: String) -> Report {
    let result = LeafResult::errored(message);
    Report { machine: Event::Finished { node, phase, result }, log: Vec::new() }
}

async fn prepare(context: &BuildContext, leaf: &Leaf) -> Result<Vec<ImageNeed>, Trouble> {
    let origin = leaf.plan.id.clone();
    let time = context.now();
    let (initialize, image) = match &leaf.plan.step {
        PlanStep::Get(get) => (BuildEvent::InitializeGet { origin, time }, &get.image),
        PlanStep::Put(put) => (BuildEvent::InitializePut { origin, time }, &put.image),
        PlanStep::Check(check) => {
            let name = check.name.clone();
            (BuildEvent::InitializeCheck { origin, time, name }, &check.image)
        }
        PlanStep::Task(plan) => return task::prepare(context, leaf, plan).await,
        _ => return Ok(Vec::new()),
    };
    context.once(&leaf.plan.id, "initialize", vec![initialize]).await?;
    Ok(ImageNeed::of_type(image).into_iter().collect())
}

async fn execute(
    context: &BuildContext,
    leaf: &Leaf,
    tell: &tokio::sync::mpsc::Sender<Report>,
) -> Result<Done, Trouble> {
    let timeout = context.time_limit(leaf).await?;
    let started = &Started { tell, node: &leaf.plan.id, timeout };
    if let Some(place) = context.find_place(leaf).await? {
        // It is the same however often it is asked for.
        let _ = leaf.place.set(place);
    } else if crate::places::has_place(&leaf.plan.step) {
        // Cancelled while it waited for one.
        return Ok(Done::new(Outcome::Aborted, Vec::new()));
    }
    match &leaf.plan.step {
        PlanStep::Get(plan) => get::run(context, leaf, plan, started).await,
        PlanStep::Put(plan) => put::run(context, leaf, plan, started).await,
        PlanStep::Check(plan) => check::run(context, leaf, plan, started).await,
        PlanStep::Task(plan) => match plan.agent.as_deref() {
            Some(agent) => agent::run(context, leaf, plan, agent, started).await,
            None => task::run(context, leaf, plan, started).await,
        },
        PlanStep::LoadVar(step) => load_var::run(context, leaf, step).await,
        PlanStep::Approve(plan) => approve::run(context, leaf, plan, timeout).await,
        PlanStep::SetPipeline(step) => set_pipeline::run(context, leaf, step).await,
        PlanStep::ArtifactInput { artifact, name } => {
            artifact::input(context, leaf, *artifact, name).await
        }
        PlanStep::ArtifactOutput { name } => artifact::output(context, leaf, name).await,
        PlanStep::Run(step) => pretend_to_run(context, leaf, step).await,
        PlanStep::Do(_)
        | PlanStep::Retry(_)
        | PlanStep::InParallel { .. }
        | PlanStep::Across(_)
        | PlanStep::OnSuccess { .. }
        | PlanStep::OnFailure { .. }
        | PlanStep::OnError { .. }
        | PlanStep::OnAbort { .. }
        | PlanStep::Ensure { .. }
        | PlanStep::Try(_)
        | PlanStep::Timeout { .. } => Err(Trouble::new(format!(
            "step {} holds other steps and runs nothing itself",
            leaf.plan.id
        ))),
    }
}

/// The language has no way yet to run a prototype: Concourse says so and succeeds, and so do we.
async fn pretend_to_run(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &RunPlan,
) -> Result<Done, Trouble> {
    let origin = &leaf.plan.id;
    context.once(origin, "start", generic_start(origin, context.now())).await?;
    let notice = format!(
        "\u{1b}[1;33mthe run step is not yet implemented\u{1b}[0m\n\n\
         \u{1b}[1;34mpretending to run {} on prototype {}...\u{1b}[0m\n",
        plan.message, plan.kind
    );
    context.say(leaf, &notice).await?;
    let end = BuildEvent::Finish { origin: origin.clone(), time: context.now(), succeeded: true };
    Ok(Done::new(Outcome::Succeeded, vec![end]))
}

/// The pair of events around a step that has none of its own kind.
pub(crate) fn generic_start(origin: &PlanId, time: Timestamp) -> Vec<BuildEvent> {
    vec![
        BuildEvent::Initialize { origin: origin.clone(), time },
        BuildEvent::Start { origin: origin.clone(), time },
    ]
}
