//! The `check` step: which versions a resource has.

use jb_model::plan::CheckPlan;
use jb_model::{BuildEvent, Outcome, Version};
use jb_runtime::ContainerKind;
use serde_json::Value;

use super::script::{self, Script};
use super::{Done, Leaf, Started, Trouble};
use crate::build::BuildContext;
use crate::process::Show;
use crate::workspace::CHECK_DIR;

pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &CheckPlan,
    started: &Started<'_>,
) -> Result<Done, Trouble> {
    let origin = &leaf.plan.id;
    let source = context.interpolate_object(leaf, &plan.source).await?;
    let begin = context.now();
    let on_start = vec![
        BuildEvent::SelectedWorker {
            origin: origin.clone(),
            time: begin,
            worker: context.engine.runtime.worker_name().to_owned(),
        },
        BuildEvent::Start { origin: origin.clone(), time: begin },
    ];
    context.check_started(plan).await?;
    let mut request = script::request(&source, &Default::default());
    if let Some(version) = &plan.from_version {
        request.insert("version".to_owned(), script::version_value(version));
    }
    let exit = script::run(
        context,
        leaf,
        Script {
            kind: ContainerKind::Check,
            step_name: &plan.name,
            type_name: &plan.kind,
            image: &plan.image,
            working_dir: CHECK_DIR,
            mounts: Vec::new(),
            path: "/opt/resource/check",
            args: Vec::new(),
            stdin: Value::Object(request),
            show: Show::Stderr,
        },
        started,
        on_start,
    )
    .await;
    let (outcome, trouble, versions) = match exit {
        Ok(exit) if exit.cancelled => (Outcome::Aborted, None, Vec::new()),
        Ok(exit) if exit.status != 0 => (Outcome::Failed, None, Vec::new()),
        Ok(exit) => match parse_versions(&exit.result) {
            Ok(versions) => (Outcome::Succeeded, None, versions),
            Err(trouble) => (Outcome::Errored, Some(trouble), Vec::new()),
        },
        Err(trouble) => (Outcome::Errored, Some(trouble), Vec::new()),
    };
    if let Some(newest) = versions.last() {
        context.set_version(origin, newest).await?;
    }
    context.check_finished(plan, outcome == Outcome::Succeeded, versions).await?;
    match trouble {
        Some(trouble) => Err(trouble),
        None => {
            let succeeded = outcome == Outcome::Succeeded;
            let finished =
                BuildEvent::Finish { origin: origin.clone(), time: context.now(), succeeded };
            Ok(Done::new(outcome, vec![finished]))
        }
    }
}

/// Reads what a check printed: a list of versions, oldest first; nothing at all means none.
fn parse_versions(output: &[u8]) -> Result<Vec<Version>, Trouble> {
    if output.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let wrong = |why: String| {
        Trouble(format!(
            "/opt/resource/check printed no list of versions: {why}; it printed: {}",
            script::excerpt(output)
        ))
    };
    let parsed: Value = serde_json::from_slice(output).map_err(|error| wrong(error.to_string()))?;
    let items = match parsed {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        other => return Err(wrong(format!("it is {other}"))),
    };
    items
        .iter()
        .map(|item| {
            let version = script::version_of(item)
                .ok_or_else(|| wrong(format!("{item} is no map of strings")))?;
            if version.is_empty() { Err(wrong("a version is empty".to_owned())) } else { Ok(version) }
        })
        .collect()
}
