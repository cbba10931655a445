//! The `load_var` step: a file's content becomes a local var.

use jb_model::Outcome;
use jb_model::config::LoadVarStep;

use super::{Done, Leaf, Trouble, generic_start};
use crate::build::BuildContext;

/// A var's file may not be larger than this.
const VAR_BYTES_MAX: usize = 1024 * 1024;

pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    step: &LoadVarStep,
) -> Result<Done, Trouble> {
    let origin = &leaf.plan.id;
    context.once(origin, "start", generic_start(origin, context.now())).await?;
    let file = context.interpolate_text(leaf, &step.file).await?;
    let content = context.read_artifact_file(leaf, &file, VAR_BYTES_MAX).await?;
    let value = jb_pipeline::load_var::decode(&step.format, &file, &content)
        .map_err(|error| Trouble::new(format!("load var `{}` from {file}: {error}", step.name)))?;
    context.say(leaf, &format!("var {} fetched.\n", step.name)).await?;
    context.set_var(leaf, &step.name, value, !step.reveal).await?;
    context.say(leaf, &format!("added var {} to build.\n", step.name)).await?;
    let finished = jb_model::BuildEvent::Finish {
        origin: origin.clone(),
        time: context.now(),
        succeeded: true,
    };
    Ok(Done::new(Outcome::Succeeded, vec![finished]))
}
