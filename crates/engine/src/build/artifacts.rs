//! Artifacts of a build: names for volumes, local to the step's scope.

use std::collections::BTreeMap;

use jb_model::{ArtifactId, PlanId, VolumeHandle};

use super::BuildContext;
use super::values::scope_name;
use crate::leaf::{Leaf, Trouble};

/// The scope under which a step's fetched image is registered, so that no artifact can have its name.
fn image_scope(step: &PlanId) -> String {
    format!("image of {step}")
}

impl BuildContext {
    /// Every artifact a step can see; those of inner scopes hide those of outer ones.
    pub(crate) async fn artifacts(
        &self,
        leaf: &Leaf,
    ) -> Result<BTreeMap<String, VolumeHandle>, Trouble> {
        let all = self.engine.store.build_artifacts(self.build.id).await?;
        let mut visible = BTreeMap::new();
        let inner_last = leaf.scope.iter().rev().map(PlanId::as_str);
        for scope in std::iter::once("").chain(inner_last) {
            let here = all.iter().filter(|artifact| artifact.scope == scope);
            visible.extend(here.map(|found| (found.name.clone(), found.volume.clone())));
        }
        Ok(visible)
    }

    /// Names a volume for later steps. The image of a step is registered for that step alone.
    pub(crate) async fn register_artifact(
        &self,
        leaf: &Leaf,
        name: &str,
        volume: &VolumeHandle,
    ) -> Result<(), Trouble> {
        let scope = match image_owner(&leaf.plan.id) {
            Some(owner) => image_scope(&owner),
            None => scope_name(leaf),
        };
        let name = if image_owner(&leaf.plan.id).is_some() { "image" } else { name };
        self.engine.store.set_build_artifact(self.build.id, &scope, name, volume).await?;
        Ok(())
    }

    /// The image that was fetched for a step.
    pub(crate) async fn image_of(&self, step: &PlanId) -> Result<Option<VolumeHandle>, Trouble> {
        let scope = image_scope(step);
        let all = self.engine.store.build_artifacts(self.build.id).await?;
        Ok(all.into_iter().find(|artifact| artifact.scope == scope).map(|found| found.volume))
    }

    /// One file of an artifact, named as `artifact/path`.
    pub(crate) async fn read_artifact_file(
        &self,
        leaf: &Leaf,
        file: &str,
        limit: usize,
    ) -> Result<Vec<u8>, Trouble> {
        let (name, path) = file.split_once('/').ok_or_else(|| {
            Trouble::new(format!(
                "file `{file}` does not start with the name of an artifact, as in `artifact/path`"
            ))
        })?;
        let artifacts = self.artifacts(leaf).await?;
        let volume = artifacts.get(name).ok_or_else(|| {
            Trouble::new(format!("unknown artifact source: '{name}' in file path '{file}'"))
        })?;
        let place = self.engine.place_of_volume(volume).await?;
        let content = place.runtime.read_file(volume, path, limit).await?;
        content.ok_or_else(|| {
            Trouble::new(format!("file '{path}' not found within artifact '{name}'"))
        })
    }

    pub(crate) async fn uploaded(
        &self,
        artifact: ArtifactId,
    ) -> Result<Option<VolumeHandle>, Trouble> {
        let found = self.engine.store.artifact(artifact).await?;
        // A plan is written by its sender: artifacts of other teams are as good as absent.
        let own = found.filter(|artifact| artifact.team_id == self.build.team_id);
        Ok(own.map(|artifact| artifact.volume))
    }

    /// Numbers an artifact for download, once.
    pub(crate) async fn publish(
        &self,
        name: &str,
        volume: &VolumeHandle,
    ) -> Result<ArtifactId, Trouble> {
        let store = &self.engine.store;
        let mut known = store.artifacts_of_build(self.build.id).await?.into_iter();
        let known = known.find(|artifact| artifact.name == name && artifact.volume == *volume);
        if let Some(artifact) = known {
            return Ok(artifact.id);
        }
        let (team, build, now) = (self.build.team_id, Some(self.build.id), self.now());
        Ok(store.create_artifact(team, build, name, volume, now).await?.id)
    }
}

/// The step whose image this plan fetches, from the id that the planner gives such plans.
pub(super) fn image_owner(plan: &PlanId) -> Option<PlanId> {
    plan.as_str().strip_suffix("/image-get").map(PlanId::new)
}
