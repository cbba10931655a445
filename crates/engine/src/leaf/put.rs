//! The `put` step: artifacts become a new version of a resource.

use jb_model::plan::PutPlan;
use jb_model::{BuildEvent, Outcome};
use jb_runtime::{ContainerKind, Mount, MountSource};
use serde_json::Value;

use super::script::{self, Script};
use super::{Done, Leaf, Started, Trouble};
use crate::build::BuildContext;
use crate::process::Show;
use crate::workspace::{PUT_DIR, put_inputs};

pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &PutPlan,
    started: &Started<'_>,
) -> Result<Done, Trouble> {
    let origin = &leaf.plan.id;
    let source = context.interpolate_object(leaf, &plan.source).await?;
    let params = context.interpolate_object(leaf, &plan.params).await?;
    let artifacts = context.artifacts(leaf).await?;
    let inputs = put_inputs(&plan.inputs, &params, &artifacts)?;
    let mounts = inputs
        .into_iter()
        .map(|(name, volume)| Mount {
            path: format!("{PUT_DIR}/{name}"),
            source: MountSource::Input { volume, copy: None },
        })
        .collect();
    let time = context.now();
    let on_start =
        vec![context.selected_worker(leaf), BuildEvent::StartPut { origin: origin.clone(), time }];
    let exit = script::run(
        context,
        leaf,
        Script {
            kind: ContainerKind::Put,
            step_name: &plan.name,
            type_name: &plan.kind,
            image: &plan.image,
            working_dir: PUT_DIR,
            mounts,
            path: "/opt/resource/out",
            args: vec![PUT_DIR.to_owned()],
            stdin: Value::Object(script::request(&source, &params)),
            show: Show::Stderr,
            source: None,
        },
        started,
        on_start,
    )
    .await?;
    if exit.cancelled {
        return Ok(Done::new(Outcome::Aborted, Vec::new()));
    }
    let mut finished = BuildEvent::FinishPut {
        origin: origin.clone(),
        time: context.now(),
        exit_status: exit.status,
        version: None,
        metadata: Vec::new(),
    };
    if exit.status != 0 {
        return Ok(Done::new(Outcome::Failed, vec![finished]));
    }
    let result = script::parse_result("/opt/resource/out", &exit.result)?;
    context.set_version(origin, &result.version).await?;
    context.record_output(plan, &source, &result.version, &result.metadata).await?;
    if let BuildEvent::FinishPut { version, metadata, .. } = &mut finished {
        *version = Some(result.version);
        *metadata = result.metadata;
    }
    Ok(Done::new(Outcome::Succeeded, vec![finished]))
}
