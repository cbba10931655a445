//! Making a container: from its spec to a runner that answers.

use std::io;
use std::time::Duration;

use jb_runtime::{ContainerSpec, Error, Image, MountSource, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use tokio::time::Instant;

use super::{Inner, words};
use crate::artifacts::Known;
use crate::checks::member::is_shared;
use crate::exec::Failure;
use crate::failure::{Answer, Problem, Standing, answer_of, standing, waiting_for};
use crate::image::Reference;
use crate::pod::{self, ImageInputs, MAIN, PodImage};
use crate::{api, exec, policy};

/// Between attempts to reach the runner of a pod that has a node. A kubelet needs about half a second.
const FIRST_PAUSE: Duration = Duration::from_millis(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between looks at a pod of the same name that is going.
const GOING_PAUSE: Duration = Duration::from_millis(200);

impl Inner {
    pub(super) async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        match spec.source.as_deref().filter(|_| is_shared(spec)) {
            Some(source) => self.create_check(spec, source).await,
            None => self.create_pod(spec, |_| {}).await,
        }
    }

    /// Finds or makes a pod of the spec, changed at last by `adjust`.
    pub(super) async fn create_pod(
        &self,
        spec: &ContainerSpec,
        adjust: fn(&mut Pod),
    ) -> Result<()> {
        let deadline = Instant::now() + self.settings.start_timeout;
        let name = match self.table.of(&spec.handle) {
            Some(pod) => pod.metadata.name.clone().unwrap_or_default(),
            None => {
                let mut pod = self.pod(spec).await?;
                adjust(&mut pod);
                self.request(spec, &pod, deadline).await?
            }
        };
        let waited = self.wait(spec, &name, deadline).await;
        if waited.is_err() {
            // What never ran is of no use to anybody; its words are in the error.
            if let Err(error) = self.destroy_pod(&spec.handle).await {
                tracing::warn!(container = %spec.handle, %error, "a pod that did not start stays");
            }
        }
        waited
    }

    /// The pod of a spec, once it is clear that everything it needs is there.
    async fn pod(&self, spec: &ContainerSpec) -> Result<Pod> {
        let image = self.image(&spec.image).await?;
        let (mut caches, mut images) = (Vec::new(), ImageInputs::new());
        for mount in &spec.mounts {
            match &mount.source {
                MountSource::Input { volume, .. } => match self.artifacts.find(volume).await? {
                    Some(Known::Archive) => {}
                    Some(Known::Image(json)) => {
                        let Reference { name, .. } = Reference::parse(volume, &json)?;
                        images.insert(volume.clone(), name);
                    }
                    None => return Err(Error::NoVolume(volume.clone())),
                },
                MountSource::Cache(volume) if self.settings.cache_claim.is_some() => {
                    caches.push(volume.to_string());
                }
                MountSource::Cache(_) | MountSource::Output(_) => {}
            }
        }
        self.artifacts.make_caches(caches).await?;
        let pod = pod::step(spec, &image, &images, &self.settings, self.features);
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
                root: None,
            }),
            Image::BaseType(name) => {
                Err(Error::Image(format!("there is no built-in resource type `{name}`")))
            }
            Image::Volume(volume) => match self.artifacts.find(volume).await? {
                Some(Known::Image(json)) => {
                    let Reference { name, user, .. } = Reference::parse(volume, &json)?;
                    Ok(PodImage { reference: name, user: Some(user), ..PodImage::default() })
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

    /// Creates the pod or finds the one of its name; returns its name.
    async fn request(&self, spec: &ContainerSpec, pod: &Pod, deadline: Instant) -> Result<String> {
        let context = || format!("cannot create the pod of container `{}`", spec.handle);
        let name = pod.metadata.name.clone().unwrap_or_default();
        let params = PostParams::default();
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            let created =
                api::call_until_room("create a pod", patience, || self.pods.create(&params, pod));
            match created.await {
                Ok(created) => {
                    self.table.created(created);
                    return Ok(name);
                }
                Err(error) if answer_of(&error) == Answer::Exists => {}
                Err(error) => return Err(api::failed(context(), error)),
            }
            let found = api::call("look for a pod", || self.pods.get_opt(&name)).await;
            match found.map_err(|error| api::failed(context(), error))? {
                Some(found) if found.metadata.deletion_timestamp.is_none() => {
                    self.table.created(found);
                    return Ok(name);
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
    async fn wait(&self, spec: &ContainerSpec, name: &str, deadline: Instant) -> Result<()> {
        let handle = &spec.handle;
        let context = || format!("cannot start container `{handle}`");
        let mut changes = self.table.changes();
        let mut pause = FIRST_PAUSE;
        loop {
            changes.mark_unchanged();
            let pod = self.pod_of(handle).await?;
            match standing(&pod) {
                Standing::Over(Problem::Image(text)) => return Err(Error::Image(text)),
                Standing::Over(Problem::NoVolume(volume)) => {
                    return Err(Error::NoVolume(jb_model::VolumeHandle::new(volume)));
                }
                Standing::Over(problem) => {
                    return Err(Error::io(context(), io::Error::other(words(problem))));
                }
                Standing::Placed => {
                    match exec::connect(&self.pods, name, MAIN, pod::connect()).await {
                        Ok(stream) => {
                            self.spare().insert(handle.clone(), (Instant::now(), stream));
                            return Ok(());
                        }
                        Err(Failure::Api(error))
                            if matches!(
                                answer_of(&error),
                                Answer::Forbidden | Answer::Ending | Answer::Refused
                            ) && !is_early(&error) =>
                        {
                            return Err(api::failed(context(), error));
                        }
                        Err(failure) => {
                            tracing::trace!(%handle, %failure, "the runner does not answer yet");
                        }
                    }
                }
                Standing::Waiting(_) => {}
            }
            if Instant::now() > deadline {
                let waited = self.settings.start_timeout.as_secs();
                let text = format!("after {waited} seconds {}", waiting_for(&pod));
                return Err(Error::io(context(), io::Error::other(text)));
            }
            let woken = tokio::time::timeout(pause, changes.changed()).await;
            if woken.is_err() {
                pause = (pause * 3 / 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// What API servers say of a container that is not there yet differs.
fn is_early(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.code == 400 || status.message.contains("container not found"))
}
