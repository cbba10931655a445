//! One build as its driver and leaves see it: its rows, its log, its artifacts and its vars.

mod agents;
mod artifacts;
mod asking;
mod counts;
mod environment;
pub(crate) mod records;
mod task_config;
mod transcript;
mod values;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jb_model::{BuildEvent, BuildId, BuildStatus, ContainerHandle, Plan, PlanId, Timestamp, Value};
use jb_store::{BuildRecord, Fence, Position};

use crate::Engine;
use crate::driver::{self, LEASE};
use crate::leaf::{Leaf, Trouble};
use crate::log::Redactor;
use crate::trace::{Marks, Place, Stories, build_span};

pub(crate) use asking::{Asking, question};
pub(crate) use records::CachedResource;
pub(crate) use transcript::{PutAway, Suspended};
pub(crate) use values::Secrets;

/// A build that this server drives.
pub(crate) struct BuildContext {
    pub engine: Arc<Engine>,
    pub build: BuildRecord,
    pub plan: Plan,
    /// The pipeline's `var_sources`, as configured when the build began to be driven.
    var_sources: Vec<jb_model::config::VarSourceConfig>,
    fence: Fence,
    /// How many machine events are stored.
    stored: tokio::sync::Mutex<u64>,
    redactor: Mutex<Redactor>,
    /// How far each journal is stored, as read or written last.
    positions: Mutex<HashMap<String, u64>>,
    pub(crate) place: Place,
    /// What happened to the containers of steps.
    pub(crate) marks: Marks,
    /// What its agents have done so far.
    stories: Stories,
}

impl BuildContext {
    /// Reads what is needed to drive a build; none when it is over already.
    pub(crate) async fn load(
        engine: Arc<Engine>,
        build: BuildId,
        fence: Fence,
    ) -> Result<Option<Self>, driver::Error> {
        let store_error = |error| driver::Error::Store(build, error);
        let plan_error = |reason: String| driver::Error::Plan(build, reason);
        let record = engine.store.build(build).await.map_err(store_error)?;
        let Some(record) = record.filter(|record| !record.status.is_final()) else {
            return Ok(None);
        };
        let plan = engine.store.build_plan(build).await.map_err(store_error)?;
        let plan = plan.ok_or_else(|| plan_error("it has none".to_owned()))?;
        let plan = jb_wire::plan::from_private(&plan.to_string())
            .map_err(|error| plan_error(error.to_string()))?;
        let var_sources = match &record.pipeline {
            Some(pipeline) => {
                let config =
                    engine.store.pipeline_config(pipeline.id).await.map_err(store_error)?;
                config.map(|(config, _)| var_sources(&config)).unwrap_or_default()
            }
            None => Vec::new(),
        };
        let mut redactor = Redactor::default();
        for var in engine.store.build_vars(build).await.map_err(store_error)? {
            if var.redact {
                values::private_texts(&var.value, &mut |text| redactor.add(text));
            }
        }
        let place = Place::of(&engine.settings.external_url, &record);
        Ok(Some(Self {
            engine,
            build: record,
            place,
            marks: Marks::default(),
            stories: Stories::default(),
            plan,
            var_sources,
            fence,
            stored: tokio::sync::Mutex::new(0),
            redactor: Mutex::new(redactor),
            positions: Mutex::new(HashMap::new()),
        }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.engine.now()
    }

    pub(crate) fn mask(&self, text: String) -> String {
        self.redactor.lock().unwrap_or_else(PoisonError::into_inner).mask(text)
    }

    /// Masks what an agent said, where secrets may be written in other ways.
    pub(crate) fn mask_all(&self, text: String) -> String {
        self.redactor.lock().unwrap_or_else(PoisonError::into_inner).mask_all(text)
    }

    /// Every text that is masked of what agents say.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.redactor.lock().unwrap_or_else(PoisonError::into_inner).texts()
    }

    /// Notes for the trace what happened to a step's container.
    pub(crate) fn mark(&self, node: &PlanId, container: &ContainerHandle, event: &'static str) {
        if self.engine.settings.tracer.is_on() {
            self.marks.mark(node, container, event, self.now());
        }
    }

    /// What a step's process is told of the trace it is in.
    pub(crate) fn trace_env(&self, node: &PlanId) -> Option<(String, String)> {
        let is_on = self.engine.settings.tracer.is_on();
        let context = || self.place.context(self.place.span(node.as_str()));
        is_on.then(|| ("TRACEPARENT".to_owned(), context()))
    }

    /// Masks a local var from now on.
    pub(crate) fn add_private(&self, value: &Value) {
        let mut redactor = self.redactor.lock().unwrap_or_else(PoisonError::into_inner);
        values::private_texts(value, &mut |text| redactor.add(text));
    }

    pub(crate) fn add_secret(&self, value: &Value) {
        let mut redactor = self.redactor.lock().unwrap_or_else(PoisonError::into_inner);
        values::texts(value, &mut |text| redactor.add(text));
    }

    /// Says where a step runs.
    pub(crate) fn selected_worker(&self, leaf: &Leaf) -> BuildEvent {
        let worker = leaf.place(self).name().to_owned();
        BuildEvent::SelectedWorker { origin: leaf.plan.id.clone(), time: self.now(), worker }
    }

    /// The stored events of the machine with the times they were applied at.
    pub(crate) async fn machine_events(&self) -> jb_store::Result<Vec<String>> {
        let events = self.engine.store.machine_events(self.build.id).await?;
        *self.stored.lock().await = events.len() as u64;
        Ok(events)
    }

    /// Stores what the machine took in and what the build says about it.
    pub(crate) async fn commit(
        &self,
        machine_events: &[String],
        said: &[BuildEvent],
    ) -> jb_store::Result<()> {
        let mut stored = self.stored.lock().await;
        let said: Vec<String> = said.iter().map(|event| self.render(event)).collect();
        self.engine
            .store
            .commit_step(self.build.id, self.fence, *stored, machine_events, &said, &[])
            .await?;
        *stored += machine_events.len() as u64;
        Ok(())
    }

    /// Renders an event for the log, with secrets in error texts and task arguments masked.
    fn render(&self, event: &BuildEvent) -> String {
        let event = match event {
            BuildEvent::Error { origin, message, time } => BuildEvent::Error {
                origin: origin.clone(),
                message: self.mask(message.clone()),
                time: *time,
            },
            BuildEvent::StartTask { origin, time, config } => {
                let mut config = config.clone();
                config.path = self.mask(config.path);
                config.args = config.args.into_iter().map(|arg| self.mask(arg)).collect();
                BuildEvent::StartTask { origin: origin.clone(), time: *time, config }
            }
            other => return encode(other),
        };
        encode(&event)
    }

    /// Says something once per step, however often the step is begun anew.
    pub(crate) async fn once(
        &self,
        origin: &PlanId,
        what: &str,
        events: Vec<BuildEvent>,
    ) -> jb_store::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let key = format!("{origin}#{what}");
        let rendered: Vec<String> = events.iter().map(|event| self.render(event)).collect();
        let position = Position { key: &key, from: 0, upto: 1 };
        let store = &self.engine.store;
        store.append_events(self.build.id, &rendered, Some(self.fence), Some(position)).await?;
        Ok(())
    }

    /// A line of a step that has no process to say it; said once, whatever its text.
    pub(crate) async fn say(&self, leaf: &Leaf, text: &str) -> jb_store::Result<()> {
        self.say_on(leaf, jb_model::event::LogSource::Stdout, text).await
    }

    pub(crate) async fn say_on(
        &self,
        leaf: &Leaf,
        source: jb_model::event::LogSource,
        text: &str,
    ) -> jb_store::Result<()> {
        let origin = leaf.plan.id.clone();
        let payload = self.mask(text.to_owned());
        let event = BuildEvent::Log { origin: origin.clone(), source, time: self.now(), payload };
        self.once(&origin, &format!("say {text}"), vec![event]).await
    }

    /// A line of a step about `what`, which is told again when the step is begun anew.
    pub(crate) async fn say_anew(
        &self,
        origin: &PlanId,
        what: &str,
        text: String,
    ) -> jb_store::Result<()> {
        let origin = origin.clone();
        let key = format!("{origin}/{what}");
        let position = self.log_position(&key).await?;
        let event = BuildEvent::Log {
            origin,
            source: jb_model::event::LogSource::Stderr,
            time: self.now(),
            payload: self.mask(text),
        };
        self.append_log(event, &key, position + 1).await
    }

    /// How far a journal is stored.
    pub(crate) async fn log_position(&self, key: &str) -> jb_store::Result<u64> {
        let position = self.engine.store.position(self.build.id, key).await?;
        self.remember(key, position);
        Ok(position)
    }

    fn remember(&self, key: &str, position: u64) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.insert(key.to_owned(), position);
    }

    /// How far a journal is stored, as read or written last.
    fn position_of(&self, key: &str) -> u64 {
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.get(key).copied().unwrap_or(0)
    }

    /// Stores a part of a journal together with how far it reaches.
    pub(crate) async fn append_log(
        &self,
        event: BuildEvent,
        key: &str,
        upto: u64,
    ) -> jb_store::Result<()> {
        let from = self.position_of(key);
        let rendered = [encode(&event)];
        let position = Position { key, from, upto };
        let store = &self.engine.store;
        let stored =
            store.append_events(self.build.id, &rendered, Some(self.fence), Some(position)).await?;
        if stored.is_none() {
            // Only the holder of the lease writes, so this is a defect and not a race.
            tracing::error!(build = %self.build.id, key, from, upto, "a log position was refused");
        }
        self.remember(key, upto);
        Ok(())
    }

    pub(crate) async fn renew_lease(&self) -> jb_store::Result<bool> {
        self.engine.store.renew_lease(self.build.id, self.fence, LEASE, self.now()).await
    }

    pub(crate) async fn abort_requested(&self) -> jb_store::Result<bool> {
        let build = self.engine.store.build(self.build.id).await?;
        Ok(build.is_none_or(|build| build.aborted))
    }

    /// Whether the build went with its pipeline or team.
    pub(crate) async fn is_deleted(&self) -> jb_store::Result<bool> {
        Ok(self.engine.store.build(self.build.id).await?.is_none())
    }

    /// Records the end of the build and lets go of it.
    pub(crate) async fn finished(&self, status: BuildStatus) -> jb_store::Result<()> {
        let store = &self.engine.store;
        let fence = Some(self.fence);
        if store.finish_build(self.build.id, status, fence, self.now()).await? {
            self.engine.count_end(&self.build, status);
            let (tracer, now) = (&self.engine.settings.tracer, self.now());
            tracer.emit(build_span(&self.place, &self.build, status, &self.url(), now));
        }
        store.release_lease(self.build.id, self.fence).await?;
        self.engine.build_ended(&self.build, status).await?;
        Ok(())
    }

    /// The values of an `across` step, one list per var.
    pub(crate) async fn across_values(&self, leaf: &Leaf) -> Result<Vec<Vec<Value>>, Trouble> {
        let jb_model::PlanStep::Across(across) = &leaf.plan.step else {
            return Err(Trouble::new(format!("step {} is no across step", leaf.plan.id)));
        };
        let mut all = Vec::with_capacity(across.vars.len());
        for var in &across.vars {
            match self.interpolate(leaf, &var.values).await? {
                Value::Array(values) => all.push(values),
                other => {
                    return Err(Trouble::new(format!(
                        "the values of across var `{}` are no list: {other}",
                        var.var
                    )));
                }
            }
        }
        Ok(all)
    }
}

/// The var sources of a stored configuration.
pub(crate) fn var_sources(config: &Value) -> Vec<jb_model::config::VarSourceConfig> {
    let sources = config.get("var_sources").and_then(Value::as_array);
    sources
        .into_iter()
        .flatten()
        .map(|source| {
            let text = |key: &str| source.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
            jb_model::config::VarSourceConfig {
                name: text("name"),
                kind: text("type"),
                config: source.get("config").cloned().unwrap_or(Value::Null),
            }
        })
        .collect()
}

/// An event as the log stores it, without its number.
pub(crate) fn encode(event: &BuildEvent) -> String {
    // Events are plain data of our own making; there is nothing in them that JSON cannot hold.
    jb_wire::event::to_stored(event).unwrap_or_default()
}
