//! Drives one build's machine to its end: load, apply what happened, store, act.
//!
//! One transaction stores the machine's events together with what the build says about them; only
//! then are effects performed. After a crash the stored events are applied again and what the
//! machine still waits for is started again, which finds what it had made: the same path as any other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jb_build::{Applied, BuildMachine, Effect, Event};
use jb_model::{BuildEvent, BuildId, BuildStatus, Outcome, PlanId, Timestamp};
use tokio::sync::{Notify, mpsc};
use tokio::task::{Id, JoinError, JoinSet};

use crate::Engine;
use crate::build::BuildContext;
use crate::cancel::{self, CancelHandle};
use crate::leaf::{self, Leaf, Report};
use crate::trace::{EndedStep, Steps};

/// A server that says nothing for this long has lost its builds to the others.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(10);
/// Reports of leaves that wait for the driver; leaves wait when it is full.
const REPORTS_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("build {0}: {1}")]
    Store(BuildId, jb_store::Error),
    #[error("build {0} has a plan that cannot be read: {1}")]
    Plan(BuildId, String),
    #[error("build {0} has a stored event that cannot be read: {1}")]
    Event(BuildId, String),
    #[error("build {0} is left for later: {1}")]
    Abandoned(BuildId, String),
    #[error("build {0} is driven by another server now")]
    TakenOver(BuildId),
}

/// Drives a build until it ends, is deleted, or another server holds it.
pub(crate) async fn drive(
    engine: Arc<Engine>,
    build: BuildId,
    nudge: Arc<Notify>,
) -> Result<(), Error> {
    let store_error = |error| Error::Store(build, error);
    let now = engine.now();
    let owner = engine.settings.owner.as_str();
    let lease = engine.store.acquire_lease(build, owner, LEASE, now).await.map_err(store_error)?;
    let Some(lease) = lease else { return Ok(()) };
    let Some(context) = BuildContext::load(engine, build, lease.fence).await? else {
        return Ok(());
    };
    let (tell, reports) = mpsc::channel(REPORTS_MAX);
    let mut driver = Driver {
        machine: BuildMachine::new(context.plan.clone())
            .map_err(|error| Error::Plan(build, error.to_string()))?,
        context: Arc::new(context),
        cancels: HashMap::new(),
        leaves: JoinSet::new(),
        running: HashMap::new(),
        tell,
        reports,
        nudge,
        abort_sent: false,
        steps: Steps::default(),
    };
    let context = driver.context.clone();
    let running = context.engine.count_running(&context.build);
    let end = driver.run().await;
    drop(running);
    if end.is_err() && context.is_deleted().await.map_err(store_error)? {
        driver.leaves.shutdown().await;
        tracing::info!(%build, "the build was deleted, so its steps are stopped");
        context.engine.collector.remove_containers_of(build).await;
        return Ok(());
    }
    end
}

struct Driver {
    machine: BuildMachine,
    context: Arc<BuildContext>,
    cancels: HashMap<PlanId, CancelHandle>,
    /// Answers to effects; none from a leaf with which this server cannot go on.
    leaves: JoinSet<Result<Report, String>>,
    /// What each of them was asked.
    running: HashMap<Id, Effect>,
    tell: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    nudge: Arc<Notify>,
    abort_sent: bool,
    steps: Steps,
}

impl Driver {
    async fn run(&mut self) -> Result<(), Error> {
        let mut effects = self.restore().await?;
        if effects.is_none() {
            self.context.engine.count_start(&self.context.build);
        }
        let begin = effects.is_none().then(|| Report { machine: Event::Start, log: Vec::new() });
        if let Some(effects) = effects.take()
            && self.perform(effects).await?
        {
            return Ok(());
        }
        let mut batch: Vec<Report> = begin.into_iter().collect();
        batch.extend(self.abort_requested().await?);
        let mut renew = tokio::time::interval(RENEW);
        loop {
            if !batch.is_empty() && self.step(std::mem::take(&mut batch)).await? {
                return Ok(());
            }
            let now = self.context.now();
            let deadline = self.machine.deadline().map(|deadline| deadline.since(now));
            tokio::select! {
                Some(report) = self.reports.recv() => {
                    batch.push(report);
                    while let Ok(report) = self.reports.try_recv() { batch.push(report); }
                }
                Some(ended) = self.leaves.join_next_with_id() => batch.push(self.answer(ended)?),
                () = until(deadline) => batch.push(Report { machine: Event::Tick, log: Vec::new() }),
                () = self.nudge.notified() => batch.extend(self.abort_requested().await?),
                _ = renew.tick() => {
                    if !self.context.renew_lease().await.map_err(|error| self.store_error(error))? {
                        return Err(Error::TakenOver(self.context.build.id));
                    }
                    // A nudge from another server may be lost with its connection.
                    batch.extend(self.abort_requested().await?);
                }
            }
        }
    }

    /// Applies what is stored; `None` for a build that has not begun.
    async fn restore(&mut self) -> Result<Option<Vec<Effect>>, Error> {
        let build = self.context.build.id;
        let stored =
            self.context.machine_events().await.map_err(|error| self.store_error(error))?;
        if stored.is_empty() {
            return Ok(None);
        }
        let mut discarded = Vec::new();
        for text in &stored {
            let (now, event) = jb_wire::machine::from_stored(text)
                .map_err(|error| Error::Event(build, error.to_string()))?;
            self.abort_sent |= matches!(event, Event::Abort);
            self.machine.apply(now, event, &mut discarded);
            for effect in discarded.drain(..) {
                if let Effect::Run { node, .. } = effect {
                    self.steps.began(&node, now);
                }
            }
        }
        let mut effects = Vec::new();
        self.machine.outstanding(&mut effects);
        // What was said is stored with the events that caused it.
        effects.retain(|effect| !matches!(effect, Effect::Emit(_)));
        Ok(Some(effects))
    }

    async fn abort_requested(&mut self) -> Result<Option<Report>, Error> {
        if self.abort_sent {
            return Ok(None);
        }
        let requested = self.context.abort_requested().await;
        if !requested.map_err(|error| self.store_error(error))? {
            return Ok(None);
        }
        self.abort_sent = true;
        Ok(Some(Report { machine: Event::Abort, log: Vec::new() }))
    }

    /// Applies and stores a batch of reports, then acts on it; true when the build ended.
    async fn step(&mut self, batch: Vec<Report>) -> Result<bool, Error> {
        let now = self.context.now();
        let mut events = Vec::with_capacity(batch.len());
        let mut said = Vec::new();
        let (mut acts, mut ended) = (Vec::new(), Vec::new());
        for report in batch {
            if let Event::Finished { node, result, .. } = &report.machine {
                self.cancels.remove(node);
                ended.push((node.clone(), result.outcome));
            }
            if matches!(report.machine, Event::Start) {
                said.push(BuildEvent::Status { status: BuildStatus::Started, time: now });
            }
            said.extend(report.log);
            let stored = jb_wire::machine::to_stored(now, &report.machine)
                .map_err(|error| Error::Event(self.context.build.id, error.to_string()))?;
            let mut effects = Vec::new();
            let applied = self.machine.apply(now, report.machine, &mut effects);
            if applied == Applied::Changed {
                events.push(stored);
            }
            for effect in effects {
                match effect {
                    Effect::Emit(event) => said.push(event),
                    other => acts.push(other),
                }
            }
        }
        self.context.commit(&events, &said).await.map_err(|error| self.store_error(error))?;
        for (node, outcome) in ended {
            self.trace_step(&node, outcome, now).await;
        }
        self.perform(acts).await
    }

    /// Performs effects; true when the build ended.
    async fn perform(&mut self, effects: Vec<Effect>) -> Result<bool, Error> {
        for effect in effects {
            match effect {
                Effect::Run { node, phase } => self.start(node, phase),
                Effect::ResolveAcross { node } => self.resolve_across(node),
                Effect::Cancel { node, reason } => {
                    if let Some(handle) = self.cancels.get(&node) {
                        handle.cancel(reason);
                    }
                }
                Effect::Emit(_) => {}
                Effect::Finish(status) => {
                    self.finished(status).await?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn trace_step(&mut self, node: &PlanId, outcome: Outcome, now: Timestamp) {
        let context = &self.context;
        let tracer = &context.engine.settings.tracer;
        let Some(plan) = self.machine.plan_of(node).filter(|_| tracer.is_on()) else { return };
        let pods = context.engine.places.pods(context.build.id).unwrap_or_default();
        let step = EndedStep {
            place: &context.place,
            plan,
            outcome,
            url: &context.url(),
            marks: context.marks.take(node),
            pods: &pods,
            events: context.approval_events(plan).await,
        };
        let agent = context.agent_spans(plan, now);
        for span in self.steps.ended(&step, now).into_iter().chain(agent) {
            tracer.emit(span);
        }
    }

    fn leaf(&mut self, node: &PlanId, phase: jb_build::Phase) -> Option<Leaf> {
        let plan = self.machine.plan_of(node)?.clone();
        let (handle, cancel) = cancel::pair();
        self.cancels.insert(node.clone(), handle);
        Some(Leaf {
            plan,
            phase,
            scope: self.machine.scope_of(node),
            across_vars: self.machine.across_vars_of(node),
            hook_status: self.machine.hook_status(node),
            began: self.machine.began(node),
            cancel,
            place: std::sync::OnceLock::new(),
        })
    }

    fn start(&mut self, node: PlanId, phase: jb_build::Phase) {
        let Some(leaf) = self.leaf(&node, phase) else {
            tracing::error!(build = %self.context.build.id, %node, "the machine runs a node it does not have");
            return;
        };
        self.steps.began(&node, self.context.now());
        let (context, tell) = (self.context.clone(), self.tell.clone());
        let task = self.leaves.spawn(async move {
            leaf::run(&context, &leaf, &tell).await.map_err(|trouble| trouble.text)
        });
        self.running.insert(task.id(), Effect::Run { node, phase });
    }

    fn resolve_across(&mut self, node: PlanId) {
        let Some(leaf) = self.leaf(&node, jb_build::Phase::Run) else { return };
        let (context, asked) = (self.context.clone(), node.clone());
        let task = self.leaves.spawn(async move {
            let values = match context.across_values(&leaf).await {
                Err(trouble) if trouble.of_server => return Err(trouble.text),
                values => values.map_err(|trouble| trouble.text),
            };
            Ok(Report { machine: Event::AcrossValues { node, values }, log: Vec::new() })
        });
        self.running.insert(task.id(), Effect::ResolveAcross { node: asked });
    }

    /// What a leaf that ended has to report.
    fn answer(
        &mut self,
        ended: Result<(Id, Result<Report, String>), JoinError>,
    ) -> Result<Report, Error> {
        let build = self.context.build.id;
        let panic = match ended {
            Ok((task, report)) => {
                self.running.remove(&task);
                return report.map_err(|reason| Error::Abandoned(build, reason));
            }
            Err(panic) => panic,
        };
        tracing::error!(%build, %panic, "a step broke the server's own rules");
        let message = "internal error: see the server's log".to_owned();
        match self.running.remove(&panic.id()) {
            Some(Effect::Run { node, phase }) => Ok(leaf::errored(node, phase, message)),
            Some(Effect::ResolveAcross { node }) => {
                let machine = Event::AcrossValues { node, values: Err(message) };
                Ok(Report { machine, log: Vec::new() })
            }
            _ => Err(Error::Abandoned(build, message)),
        }
    }

    async fn finished(&mut self, status: BuildStatus) -> Result<(), Error> {
        self.leaves.abort_all();
        self.context.finished(status).await.map_err(|error| self.store_error(error))
    }

    fn store_error(&self, error: jb_store::Error) -> Error {
        Error::Store(self.context.build.id, error)
    }
}

async fn until(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
