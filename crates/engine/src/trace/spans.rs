//! What spans say. Pure.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jb_model::{BuildStatus, ContainerHandle, Outcome, Plan, PlanId, PlanStep, Timestamp};
use jb_runtime::PodInfo;
use jb_store::BuildRecord;

use super::{Fact, Kind, Place, Span, SpanEvent};

/// When steps began, as far as this server saw or read it.
#[derive(Debug, Default)]
pub(crate) struct Steps(HashMap<PlanId, Timestamp>);

impl Steps {
    /// A phase of a step begins; the first one counts.
    pub(crate) fn began(&mut self, node: &PlanId, now: Timestamp) {
        self.0.entry(node.clone()).or_insert(now);
    }

    /// The spans of a step that ended, and of its container.
    pub(crate) fn ended(&mut self, step: &EndedStep<'_>, now: Timestamp) -> Vec<Span> {
        let Some(begin) = self.0.remove(&step.plan.id) else { return Vec::new() };
        let mut spans = vec![step_span(step, begin, now)];
        spans.extend(container_spans(step, begin, now));
        spans
    }
}

/// All a step's spans follow from.
pub(crate) struct EndedStep<'a> {
    pub(crate) place: &'a Place,
    pub(crate) plan: &'a Plan,
    pub(crate) outcome: Outcome,
    /// Where people see the build.
    pub(crate) url: &'a str,
    pub(crate) marks: Vec<(ContainerHandle, Marked)>,
    pub(crate) pods: &'a [PodInfo],
    /// What happened in it, in order.
    pub(crate) events: Vec<SpanEvent>,
}

/// When a container was requested, and what happened to it since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marked {
    pub(crate) events: Vec<(&'static str, Timestamp)>,
}

/// What this server saw of containers.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<HashMap<(PlanId, ContainerHandle), Marked>>);

impl Marks {
    pub(crate) fn mark(
        &self,
        node: &PlanId,
        container: &ContainerHandle,
        event: &'static str,
        now: Timestamp,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry((node.clone(), container.clone())).or_default().events.push((event, now));
    }

    /// What is known of a step's containers, once.
    pub(crate) fn take(&self, node: &PlanId) -> Vec<(ContainerHandle, Marked)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<_> = all.keys().filter(|(of, _)| of == node).cloned().collect();
        let taken = keys.into_iter().filter_map(|key| {
            let marked = all.remove(&key)?;
            Some((key.1, marked))
        });
        taken.collect()
    }
}

pub(crate) fn build_span(
    place: &Place,
    build: &BuildRecord,
    status: BuildStatus,
    url: &str,
    now: Timestamp,
) -> Span {
    let error = match status {
        BuildStatus::Failed => Some("failure"),
        BuildStatus::Errored => Some("error"),
        _ => None,
    };
    let result = match status {
        BuildStatus::Succeeded => "success",
        BuildStatus::Failed => "failure",
        BuildStatus::Aborted => "cancellation",
        _ => "error",
    };
    let pipeline = build.pipeline.as_ref().map(|pipeline| pipeline.name.clone());
    let mut attributes = vec![
        ("cicd.pipeline.run.id", build.id.to_string()),
        ("cicd.pipeline.run.url.full", url.to_owned()),
        ("cicd.pipeline.result", result.to_owned()),
        ("team", build.team_name.clone()),
        ("build", build.name.clone()),
        ("build_id", build.id.to_string()),
    ];
    attributes.extend(pipeline.map(|name| ("pipeline", name)));
    attributes.extend(build.resource_name.clone().map(|name| ("resource", name)));
    if let Some(job) = &build.job_name {
        attributes.extend([("cicd.pipeline.name", job.clone()), ("job", job.clone())]);
    }
    Span {
        trace: place.trace,
        id: place.root,
        parent: None,
        name: "build".into(),
        kind: Kind::Server,
        begin: build.start_time.unwrap_or(build.created_at).min(now),
        end: now,
        error: error.map(Into::into),
        attributes: facts(attributes),
        events: Vec::new(),
    }
}

fn step_span(step: &EndedStep<'_>, begin: Timestamp, now: Timestamp) -> Span {
    let (kind, name) = kind_and_name(&step.plan.step);
    let (error, result) = match step.outcome {
        Outcome::Succeeded => (None, "success"),
        Outcome::Failed => (Some("failure"), "failure"),
        Outcome::Errored => (Some("error"), "error"),
        Outcome::Aborted => (None, "cancellation"),
    };
    let attempts: Vec<String> = step.plan.attempts.iter().map(u32::to_string).collect();
    let mut attributes = vec![
        ("cicd.pipeline.task.name", name.to_owned()),
        ("cicd.pipeline.task.run.id", step.plan.id.to_string()),
        ("cicd.pipeline.task.run.result", result.to_owned()),
        ("cicd.pipeline.task.run.url.full", step.url.to_owned()),
    ];
    if !attempts.is_empty() {
        attributes.push(("attempt", attempts.join(".")));
    }
    Span {
        trace: step.place.trace,
        id: step.place.span(step.plan.id.as_str()),
        parent: Some(step.place.root),
        name: kind.into(),
        kind: Kind::Internal,
        begin: begin.min(now),
        end: now,
        error: error.map(Into::into),
        attributes: facts(attributes),
        events: step.events.clone(),
    }
}

fn facts(texts: Vec<(&'static str, String)>) -> Vec<(&'static str, Fact)> {
    texts.into_iter().map(|(name, text)| (name, text.into())).collect()
}

/// `pod` where containers are pods, with what the cluster says of it, at most as late as the step's end.
fn container_spans(step: &EndedStep<'_>, begin: Timestamp, now: Timestamp) -> Vec<Span> {
    let all = step.marks.iter().map(|(handle, marked)| {
        let pod = step.pods.iter().find(|pod| pod.handle.as_ref() == Some(handle));
        let seen = marked.events.iter().map(|(what, at)| SpanEvent::new(*what, *at));
        let mut events: Vec<SpanEvent> = seen.collect();
        let begin = events.first().map_or(begin, |event| event.at).min(now);
        let mut attributes = vec![("container.id", handle.to_string())];
        if let Some(pod) = pod {
            attributes.extend([
                ("k8s.pod.name", pod.name.clone()),
                ("k8s.namespace.name", pod.namespace.clone()),
                ("k8s.node.name", pod.node.clone()),
            ]);
            // The cluster counts whole seconds.
            let told = phases(pod).into_iter();
            events.extend(told.map(|(what, at)| SpanEvent::new(what, at.clamp(begin, now))));
        }
        events.sort_by_key(|event| event.at);
        Span {
            trace: step.place.trace,
            id: step.place.span(handle.as_str()),
            parent: Some(step.place.span(step.plan.id.as_str())),
            name: if pod.is_some() { "pod" } else { "container" }.into(),
            kind: Kind::Internal,
            begin,
            end: events.last().map_or(now, |event| event.at),
            error: None,
            attributes: facts(attributes),
            events,
        }
    });
    all.collect()
}

/// What a cluster says of a pod's life. Its containers' images are there when they start.
fn phases(pod: &PodInfo) -> Vec<(String, Timestamp)> {
    let mut phases = vec![("scheduled".to_owned(), pod.scheduled_at)];
    phases.push(("taken by its node".to_owned(), pod.started_at));
    for container in &pod.containers {
        let name = &container.name;
        phases.push((format!("{name} started"), container.started_at));
        phases.push((format!("{name} ended"), container.finished_at));
    }
    phases.into_iter().filter_map(|(what, at)| Some((what, at?))).collect()
}

fn kind_and_name(step: &PlanStep) -> (&'static str, &str) {
    match step {
        PlanStep::Get(get) => ("get", &get.name),
        PlanStep::Put(put) => ("put", &put.name),
        PlanStep::Check(check) => ("check", &check.name),
        PlanStep::Task(task) if task.agent.is_some() => ("agent", &task.name),
        PlanStep::Task(task) => ("task", &task.name),
        PlanStep::Approve(approve) => ("approve", &approve.step.name),
        PlanStep::Run(run) => ("run", &run.message),
        PlanStep::SetPipeline(set) => ("set_pipeline", &set.name),
        PlanStep::LoadVar(load) => ("load_var", &load.name),
        PlanStep::ArtifactInput { name, .. } => ("artifact_input", name),
        PlanStep::ArtifactOutput { name } => ("artifact_output", name),
        _ => ("step", ""),
    }
}
