//! Artifacts that come from and go to a person's machine with `fly execute`.

use jb_model::{ArtifactId, Outcome};

use super::{Done, Leaf, Trouble};
use crate::build::BuildContext;

/// An uploaded artifact becomes one of the build's.
pub(crate) async fn input(
    context: &BuildContext,
    leaf: &Leaf,
    artifact: ArtifactId,
    name: &str,
) -> Result<Done, Trouble> {
    let volume = context.uploaded(artifact).await?;
    let volume = volume.ok_or_else(|| {
        Trouble::new(format!("artifact {artifact} is not there (any more); upload it again"))
    })?;
    context.register_artifact(leaf, name, &volume).await?;
    Ok(Done::new(Outcome::Succeeded, Vec::new()))
}

/// One of the build's artifacts can be downloaded.
pub(crate) async fn output(
    context: &BuildContext,
    leaf: &Leaf,
    name: &str,
) -> Result<Done, Trouble> {
    let artifacts = context.artifacts(leaf).await?;
    let volume = artifacts
        .get(name)
        .ok_or_else(|| Trouble::new(format!("no step made an artifact named `{name}`")))?;
    context.publish(name, volume).await?;
    Ok(Done::new(Outcome::Succeeded, Vec::new()))
}
