//! Making a container: from its spec to a runner that answers.

use std::io;
use std::time::Duration;

use jb_model::ContainerHandle;
use jb_runtime::{ContainerSpec, Error, Image, MountSource, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use tokio::time::Instant;

use super::attempts::Attempts;
use super::birth::Birth;
use super::prepare::Preparing;
use super::starting::{Held, Start};
use super::{Inner, words};
use crate::artifacts::Known;
use crate::checks::member::is_shared;
use crate::exec::Failure;
use crate::failure::{Answer, Problem, Standing, answer_of, obstacle, standing, waiting_for};
use crate::image::Reference;
use crate::pod::{self, Found, ImageInput, MAIN, PodImage};
use crate::waits::Waits;
use crate::{api, names, policy};

/// Between looks at a pod of the same name that is going.
const GOING_PAUSE: Duration = Duration::from_millis(200);

impl Inner {
    pub(super) async fn create(&self, spec: &ContainerSpec, waits: &Waits) -> Result<()> {
        match spec.source.as_deref().filter(|_| is_shared(spec)) {
            Some(source) => self.create_check(spec, source, waits).await,
            None => self.create_pod(spec, |_| {}, waits).await,
        }
    }

    /// Finds or makes a pod of the spec, changed at last by `adjust`.
    pub(super) async fn create_pod(
        &self,
        spec: &ContainerSpec,
        adjust: fn(&mut Pod),
        waits: &Waits,
    ) -> Result<()> {
        let deadline = Instant::now() + self.settings.start_timeout;
        let start = self.starting.begin();
        let mut birth = match self.table.of(&spec.handle) {
            Some(_) => None,
            None => {
                let mut pod = self.pod_once_there_are_volumes(spec, deadline, waits).await?;
                adjust(&mut pod);
                self.ports.open(&mut pod);
                let birth = Birth::new(&self.settings.metrics.pods, names::kind_of(&pod));
                self.request(spec, &pod, deadline, (&start, waits)).await?;
                Some(birth)
            }
        };
        let waited = match self.admit(spec).await {
            Ok(()) => self.wait(spec, deadline, (&start, waits), &mut birth).await,
            Err(error) => Err(error),
        };
        if let Some(birth) = birth {
            birth.ended(waited.is_ok());
        }
        if waited.is_err() {
            // What never ran is of no use to anybody; its words are in the error.
            if let Err(error) = self.destroy_pod(&spec.handle).await {
                tracing::warn!(container = %spec.handle, %error, "a pod that did not start stays");
            }
        }
        waited
    }

    /// [`Self::pod`], which may have to wait for the pod that holds the volumes.
    async fn pod_once_there_are_volumes(
        &self,
        spec: &ContainerSpec,
        deadline: Instant,
        waits: &Waits,
    ) -> Result<Pod> {
        let mut obstacle = self.artifacts.obstacle();
        obstacle.mark_changed();
        let mut making = std::pin::pin!(self.pod(spec, deadline));
        loop {
            tokio::select! {
                biased;
                made = &mut making => return made,
                Ok(()) = obstacle.changed() => waits.tell(&obstacle.borrow_and_update()),
            }
        }
    }

    /// The pod of a spec, once it is clear that everything it needs is there.
    async fn pod(&self, spec: &ContainerSpec, deadline: Instant) -> Result<Pod> {
        let image = self.image(&spec.image).await?;
        let (mut caches, mut found) = (Vec::new(), Found::default());
        for mount in &spec.mounts {
            match &mount.source {
                MountSource::Input { volume, .. } => match self.artifacts.find(volume).await? {
                    Some(Known::Archive) => {}
                    Some(Known::Image(json)) => {
                        let Reference { name: reference, pull_secret, .. } =
                            Reference::parse(volume, &json)?;
                        let image = ImageInput { reference, pull_secret };
                        found.images.insert(volume.clone(), image);
                    }
                    None => return Err(Error::NoVolume(volume.clone())),
                },
                MountSource::Cache(volume) if self.settings.cache_claim.is_some() => {
                    caches.push(volume.to_string());
                }
                MountSource::Link(link) if !link.serves => {
                    let peer = self.peer(link, deadline).await?;
                    found.peers.insert(link.volume.clone(), peer);
                }
                MountSource::Cache(_) | MountSource::Output(_) | MountSource::Link(_) => {}
            }
        }
        self.artifacts.make_caches(caches).await?;
        let pod = pod::step(spec, &image, &found, &self.settings, self.features);
        let pod = pod.map_err(Error::Unsupported)?;
        let violations = policy::violations(&pod, &self.settings);
        if violations.is_empty() {
            return Ok(pod);
        }
        Err(Error::Unsupported(format!(
            "the pod of container `{}` would not keep to the rules for pods: {}",
            spec.handle,
            violations.join("; ")
        )))
    }

    async fn image(&self, image: &Image) -> Result<PodImage> {
        let images = &self.settings.images;
        match image {
            Image::Host => Ok(PodImage { reference: images.task.clone(), ..PodImage::default() }),
            Image::BaseType(name) if self.settings.base_types.contains(name) => Ok(PodImage {
                reference: images.resources.clone(),
                user: Some(String::new()),
                resource: Some(format!("/opt/resources/{name}")),
                ..PodImage::default()
            }),
            Image::BaseType(name) => {
                Err(Error::Image(format!("there is no built-in resource type `{name}`")))
            }
            Image::Volume(volume) => match self.artifacts.find(volume).await? {
                Some(Known::Image(json)) => {
                    let Reference { name: reference, user, pull_secret, .. } =
                        Reference::parse(volume, &json)?;
                    let user = Some(user);
                    Ok(PodImage { reference, user, pull_secret, ..PodImage::default() })
                }
                Some(Known::Archive) => Ok(PodImage {
                    reference: images.runner.clone(),
                    root: Some(volume.clone()),
                    ..PodImage::default()
                }),
                None => Err(Error::NoVolume(volume.clone())),
            },
        }
    }

    /// Creates the pod or finds the one of its name.
    async fn request(
        &self,
        spec: &ContainerSpec,
        pod: &Pod,
        deadline: Instant,
        (start, waits): (&Start<'_>, &Waits),
    ) -> Result<()> {
        let context = || format!("cannot create the pod of container `{}`", spec.handle);
        let name = pod.metadata.name.clone().unwrap_or_default();
        let params = PostParams::default();
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            let create = || self.pods.create(&params, pod);
            let full = |why: &str| {
                start.is(Held::ByRoom);
                waits.tell(&format!("the namespace has no room: {why}"));
            };
            match api::call_until_room("create a pod", patience, create, full).await {
                Ok(created) => {
                    self.table.created(created);
                    return Ok(());
                }
                Err(error) if answer_of(&error) == Answer::Exists => {}
                Err(error) => return Err(api::failed(context(), error)),
            }
            let found = api::call("look for a pod", || self.pods.get_opt(&name)).await;
            match found.map_err(|error| api::failed(context(), error))? {
                Some(found) if found.metadata.deletion_timestamp.is_none() => {
                    self.table.created(found);
                    return Ok(());
                }
                // One that is going has the name for a moment longer.
                _ if Instant::now() > deadline => {
                    let source =
                        io::Error::other(format!("pod `{name}` is being deleted and stays"));
                    return Err(Error::Transient { context: context(), source });
                }
                _ => tokio::time::sleep(GOING_PAUSE).await,
            }
        }
    }

    /// Returns once the runner answers. The status of a pod lags behind what it does: it only tells when there is no
    /// use in waiting.
    async fn wait(
        &self,
        spec: &ContainerSpec,
        deadline: Instant,
        (start, waits): (&Start<'_>, &Waits),
        birth: &mut Option<Birth>,
    ) -> Result<()> {
        let handle = &spec.handle;
        let context = || format!("cannot start container `{handle}`");
        let (mut changes, mut starts) = (self.table.changes(), self.starts.changes());
        let mut attempts = Attempts::default();
        let mut preparing = Preparing::default();
        loop {
            changes.mark_unchanged();
            starts.mark_unchanged();
            let pod = self.pod_of(handle).await.map_err(|error| self.explained(handle, error))?;
            let (standing, obstacle) = (standing(&pod), obstacle(&pod));
            start.is(match (&standing, &obstacle) {
                (_, None) => Held::Busy,
                (Standing::Waiting(_), Some(_)) => Held::ByRoom,
                (_, Some(_)) => Held::ByOther,
            });
            match standing {
                Standing::Over(Problem::Image(text)) => return Err(Error::Image(text)),
                Standing::Over(Problem::NoVolume(volume)) => {
                    return Err(Error::NoVolume(jb_model::VolumeHandle::new(volume)));
                }
                Standing::Over(problem) => {
                    return Err(Error::io(context(), io::Error::other(words(problem))));
                }
                Standing::Placed => {
                    if let Some(birth) = birth {
                        birth.placed();
                    }
                    self.bring_inputs(handle, &pod, &mut preparing).await?;
                    if attempts.is_due(self.starts.of(&pod, MAIN), Instant::now()) {
                        if self.is_up(handle, &pod, context).await? {
                            return Ok(());
                        }
                        attempts.failed(Instant::now());
                    }
                }
                Standing::Waiting(_) => {}
            }
            waits.tell(&obstacle.unwrap_or_default());
            let now = Instant::now();
            if now > deadline {
                let waited = self.settings.start_timeout.as_secs();
                let text = format!("after {waited} seconds {}", waiting_for(&pod));
                return Err(Error::io(context(), io::Error::other(text)));
            }
            let next = attempts.next(now).min(preparing.next(now)).min(deadline);
            tokio::select! {
                _ = changes.changed() => {}
                _ = starts.changed() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Whether the runner answers; its stream is kept for the first who connects.
    async fn is_up(
        &self,
        handle: &ContainerHandle,
        pod: &Pod,
        context: impl Fn() -> String,
    ) -> Result<bool> {
        match self.attempt(pod, MAIN).await {
            Ok(stream) => {
                self.spare().insert(handle.clone(), (Instant::now(), stream));
                Ok(true)
            }
            Err(Failure::Api(error))
                if matches!(
                    answer_of(&error),
                    Answer::Forbidden | Answer::Ending | Answer::Refused
                ) && !is_early(&error) =>
            {
                Err(api::failed(context(), error))
            }
            Err(failure) => {
                tracing::trace!(%handle, %failure, "the runner does not answer yet");
                Ok(false)
            }
        }
    }
}

/// What API servers say of a container that is not there yet differs.
fn is_early(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.code == 400 || status.message.contains("container not found"))
}
