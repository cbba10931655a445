//! Giving steps their places.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jb_model::plan::{PlanStep, TypeImage};
use jb_model::{BuildEvent, VolumeHandle};
use jb_runtime::ContainerKind;

use super::Place;
use super::placement::{self, Facts, Refusal, Wanted};
use crate::build::BuildContext;
use crate::leaf::{
    Leaf, Trouble, beside_agent, container_handle, images_beside_agent, kept_of_agent,
};

/// Between looks at places for a step that waits for one.
const PAUSE: Duration = Duration::from_secs(5);

/// What of a step its place depends on.
struct Asked<'a> {
    kind: ContainerKind,
    tags: &'a [String],
    image: Option<&'a TypeImage>,
}

/// None for steps without a container.
fn asked(step: &PlanStep) -> Option<Asked<'_>> {
    Some(match step {
        PlanStep::Get(plan) => {
            Asked { kind: ContainerKind::Get, tags: &plan.tags, image: Some(&plan.image) }
        }
        PlanStep::Put(plan) => {
            Asked { kind: ContainerKind::Put, tags: &plan.tags, image: Some(&plan.image) }
        }
        PlanStep::Check(plan) => {
            Asked { kind: ContainerKind::Check, tags: &plan.tags, image: Some(&plan.image) }
        }
        PlanStep::Task(plan) => {
            let kind =
                if plan.agent.is_some() { ContainerKind::Agent } else { ContainerKind::Task };
            Asked { kind, tags: &plan.tags, image: None }
        }
        _ => return None,
    })
}

/// Whether a step has a container, and so a place.
pub(crate) fn has_place(step: &PlanStep) -> bool {
    asked(step).is_some()
}

impl BuildContext {
    /// The place of a step: the one where its container is, else one that it may use. One that finds none waits. None
    /// when the step is cancelled before, and for steps without a container.
    pub(crate) async fn find_place(&self, leaf: &Leaf) -> Result<Option<Arc<Place>>, Trouble> {
        let Some(asked) = asked(&leaf.plan.step) else { return Ok(None) };
        let places = &self.engine.places;
        if let Some(only) = places.only() {
            return Ok(Some(only.clone()));
        }
        let own = std::iter::once(container_handle(self, &leaf.plan, asked.kind));
        for handle in own.chain(beside_agent(self, leaf)) {
            if self.engine.store.container(&handle).await?.is_some() {
                return Ok(Some(self.engine.place_of(&handle).await?));
            }
        }
        // Of an agent that stopped there may be no container, and all that it wrote is there.
        if let Some(volume) = kept_of_agent(self, leaf).await? {
            return Ok(Some(self.engine.place_of_volume(&volume).await?));
        }
        let inputs = self.wanted_inputs(leaf).await?;
        loop {
            let facts = self.facts(&inputs).await?;
            let image = asked.image.filter(|image| image.get.is_none());
            let wanted = Wanted {
                team: &self.build.team_name,
                tags: asked.tags,
                base_type: image.map(|image| image.base_type.as_str()),
            };
            match placement::place(&wanted, &facts) {
                Ok(name) => return Ok(places.named(&name).cloned()),
                Err(refusal @ Refusal::NoType { .. }) => {
                    return Err(Trouble::new(refusal.to_string()));
                }
                Err(refusal) => self.say_that_it_waits(leaf, &refusal).await?,
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = leaf.cancel.requested() => return Ok(None),
            }
        }
    }

    async fn say_that_it_waits(&self, leaf: &Leaf, refusal: &Refusal) -> Result<(), Trouble> {
        let origin = leaf.plan.id.clone();
        let waiting = BuildEvent::WaitingForWorker { origin: origin.clone(), time: self.now() };
        self.once(&origin, "waiting", vec![waiting]).await?;
        let text = format!("{refusal}; the step waits for one\n");
        self.say_on(leaf, jb_model::event::LogSource::Stderr, &text).await?;
        Ok(())
    }

    /// The volumes that a step will have, as far as that is known before it begins.
    async fn wanted_inputs(&self, leaf: &Leaf) -> Result<Vec<VolumeHandle>, Trouble> {
        let all = self.artifacts(leaf).await?;
        let PlanStep::Task(plan) = &leaf.plan.step else {
            let is_put = matches!(leaf.plan.step, PlanStep::Put(_));
            return Ok(all.into_values().filter(|_| is_put).collect());
        };
        let config = self.task_config(leaf, plan).await?;
        let names = config.inputs.iter().map(|input| {
            plan.input_mapping.get(&input.name).map_or(input.name.as_str(), String::as_str)
        });
        let mut inputs: Vec<VolumeHandle> =
            names.filter_map(|name| all.get(name).cloned()).collect();
        inputs.extend(all.get(&plan.image_artifact).cloned());
        for owner in std::iter::once(leaf.plan.id.clone()).chain(images_beside_agent(self, leaf)) {
            inputs.extend(self.image_of(&owner).await?);
        }
        Ok(inputs)
    }

    async fn facts(&self, inputs: &[VolumeHandle]) -> Result<Vec<Facts>, Trouble> {
        let mut n_inputs: BTreeMap<String, usize> = BTreeMap::new();
        for volume in inputs {
            if let Some(row) = self.engine.store.volume(volume).await? {
                *n_inputs.entry(row.volume.worker).or_default() += 1;
            }
        }
        let mut all = Vec::new();
        for place in self.engine.places.iter() {
            let containers = match place.is_stalled() {
                true => 0,
                false => place.runtime.list().await.map_or(0, |containers| containers.len()),
            };
            all.push(Facts {
                name: place.name().to_owned(),
                tags: place.tags.clone(),
                teams: place.teams.clone(),
                base_types: place.runtime.base_types().into_iter().map(|base| base.name).collect(),
                is_stalled: place.is_stalled(),
                n_containers: containers,
                n_inputs: n_inputs.get(place.name()).copied().unwrap_or_default(),
            });
        }
        Ok(all)
    }
}
