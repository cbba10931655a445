//! The `check` step: which versions a resource has.

use std::time::Duration;

use jb_model::plan::CheckPlan;
use jb_model::{BuildEvent, Object, Outcome, ResourceId, ScopeId, Version};
use jb_runtime::ContainerKind;
use jb_store::{ResourceKind, ResourceRecord};
use serde_json::Value;

use super::script::{self, Script};
use super::{Done, Leaf, Started, Trouble};
use crate::build::BuildContext;
use crate::checks::{Begin, BeginCheck, Purpose};
use crate::process::Show;
use crate::workspace::CHECK_DIR;

/// Between looks at a scope that another check is running for.
const BUSY_WAIT: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &CheckPlan,
    started: &Started<'_>,
) -> Result<Done, Trouble> {
    let source = context.interpolate_object(leaf, &plan.source).await?;
    let resource = checked_row(context, plan).await?.map(|row| row.id);
    let config_hash = context.config_hash(&plan.image, &source).await?;
    let store = &context.engine.store;
    let scope = match resource {
        Some(resource) => store.set_scope(resource, &config_hash, false, context.now()).await?.0,
        // The image of a task is nobody's resource: whoever asks for the same one shares its history.
        None => store.shared_scope(&config_hash, context.now()).await?,
    };
    let from = match begin(context, leaf, plan, resource, scope).await? {
        Begin::Run { from } => from,
        Begin::Served { newest } => return succeed(context, leaf, newest.as_ref()).await,
        Begin::Busy => return Ok(ended(context, leaf, Outcome::Aborted)),
    };
    let checked = check(context, leaf, plan, (&source, config_hash), from, started).await;
    let checks = &context.engine.checks;
    let found = match &checked {
        Ok(Checked::Found(versions)) => Some(versions.as_slice()),
        _ => None,
    };
    checks.finish(resource, scope, found, context.now()).await?;
    match checked? {
        Checked::Found(_) => {
            let newest = store.latest_version(scope).await?;
            succeed(context, leaf, newest.map(|(_, version)| version).as_ref()).await
        }
        Checked::Ended(outcome) => Ok(ended(context, leaf, outcome)),
    }
}

enum Checked {
    Found(Vec<Version>),
    Ended(Outcome),
}

/// The row whose history the check fills, if it has one.
async fn checked_row(
    context: &BuildContext,
    plan: &CheckPlan,
) -> Result<Option<ResourceRecord>, Trouble> {
    let (kind, name) = if !plan.resource.is_empty() {
        (ResourceKind::Resource, &plan.resource)
    } else if !plan.resource_type.is_empty() {
        (ResourceKind::ResourceType, &plan.resource_type)
    } else if !plan.prototype.is_empty() {
        (ResourceKind::Prototype, &plan.prototype)
    } else {
        return Ok(None);
    };
    let Some(pipeline) = &context.build.pipeline else { return Ok(None) };
    Ok(context.engine.store.resource_by_name(pipeline.id, kind, name).await?)
}

/// Asks whether to check, and waits its turn while another check of the same history runs.
async fn begin(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &CheckPlan,
    resource: Option<ResourceId>,
    scope: ScopeId,
) -> Result<Begin, Trouble> {
    let build = &context.build;
    let own = resource.is_some() && build.resource_id == resource;
    let request = BeginCheck {
        resource,
        scope,
        build: own.then_some(build.id),
        purpose: if own { Purpose::Resource } else { Purpose::Image },
        skip_interval: plan.skip_interval,
        from_version: plan.from_version.as_ref(),
        build_created: build.created_at,
        build_started: build.start_time.unwrap_or(build.created_at),
    };
    loop {
        let begin = context.engine.checks.begin(&request, context.now()).await?;
        if !matches!(begin, Begin::Busy) {
            return Ok(begin);
        }
        tokio::select! {
            () = tokio::time::sleep(BUSY_WAIT) => {}
            () = leaf.cancel.requested() => return Ok(begin),
        }
    }
}

async fn check(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &CheckPlan,
    (source, config_hash): (&Object, String),
    from: Option<Version>,
    started: &Started<'_>,
) -> Result<Checked, Trouble> {
    let origin = &leaf.plan.id;
    let begin = context.now();
    let on_start = vec![
        context.selected_worker(leaf),
        BuildEvent::Start { origin: origin.clone(), time: begin },
    ];
    let mut request = script::request(source, &Object::new());
    if let Some(version) = &from {
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
            source: Some(config_hash),
        },
        started,
        on_start,
    )
    .await?;
    if exit.cancelled {
        return Ok(Checked::Ended(Outcome::Aborted));
    }
    if exit.status != 0 {
        return Ok(Checked::Ended(Outcome::Failed));
    }
    Ok(Checked::Found(parse_versions(&exit.result)?))
}

async fn succeed(
    context: &BuildContext,
    leaf: &Leaf,
    newest: Option<&Version>,
) -> Result<Done, Trouble> {
    if let Some(newest) = newest {
        context.set_version(&leaf.plan.id, newest).await?;
    }
    Ok(ended(context, leaf, Outcome::Succeeded))
}

fn ended(context: &BuildContext, leaf: &Leaf, outcome: Outcome) -> Done {
    let succeeded = outcome == Outcome::Succeeded;
    let event = BuildEvent::Finish { origin: leaf.plan.id.clone(), time: context.now(), succeeded };
    Done::new(outcome, vec![event])
}

/// Reads what a check printed: a list of versions, oldest first; nothing at all means none.
fn parse_versions(output: &[u8]) -> Result<Vec<Version>, Trouble> {
    if output.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let wrong = |why: String| {
        Trouble::new(format!(
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
            if version.is_empty() {
                Err(wrong("a version is empty".to_owned()))
            } else {
                Ok(version)
            }
        })
        .collect()
}
