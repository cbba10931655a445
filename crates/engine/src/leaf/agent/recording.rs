//! What becomes of the recording of an agent's step.

use std::sync::PoisonError;

use jb_agent_protocol::{RECORDING_DIR, RECORDING_FILE, REPLAY_DIR};
use jb_model::plan::TaskPlan;
use jb_model::{ContainerHandle, VolumeHandle};
use jb_runtime::{Mount, MountSource};

use super::files;
use crate::agents::{Recordings, recording_name};
use crate::build::BuildContext;
use crate::leaf::{Leaf, Trouble};

/// The largest recording that is handed over.
const RECORDING_BYTES_MAX: usize = 256 << 20;

pub(super) fn name(leaf: &Leaf, plan: &TaskPlan) -> String {
    let scope = leaf.scope.first().map(jb_model::PlanId::as_str);
    recording_name(&plan.name, &leaf.plan.attempts, scope)
}

/// Where the gateway's recording is kept. It begins with those of the step's gateways before.
fn volume(gateway: &ContainerHandle) -> VolumeHandle {
    VolumeHandle::new(format!("{gateway}-recording"))
}

/// Where the gateway records, or answers from the recording that is given.
pub(super) async fn mount(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    gateway: &ContainerHandle,
    replayed: Option<&str>,
) -> Result<Mount, Trouble> {
    let Some(text) = replayed else {
        let volume = volume(gateway);
        context.record_volume(leaf, &volume, "artifact", &plan.name, RECORDING_DIR).await?;
        return Ok(Mount { path: RECORDING_DIR.to_owned(), source: MountSource::Output(volume) });
    };
    let volume = VolumeHandle::new(format!("{gateway}-replay"));
    files::keep(context, leaf, &volume, &plan.name, &[(RECORDING_FILE, text.to_owned())]).await?;
    let source = MountSource::Input { volume, copy: None };
    Ok(Mount { path: REPLAY_DIR.to_owned(), source })
}

/// Hands the gateway's recording over to whoever wants it.
pub(super) async fn hand_over(
    context: &BuildContext,
    leaf: &Leaf,
    plan: &TaskPlan,
    gateway: &ContainerHandle,
) -> Result<(), Trouble> {
    let Recordings::Kept(kept) = &context.engine.settings.agents.recordings else { return Ok(()) };
    let runtime = &leaf.place(context).runtime;
    let content = runtime.read_file(&volume(gateway), RECORDING_FILE, RECORDING_BYTES_MAX).await?;
    if let Some(content) = content {
        let text = String::from_utf8_lossy(&content).into_owned();
        kept.lock().unwrap_or_else(PoisonError::into_inner).insert(name(leaf, plan), text);
    }
    Ok(())
}
