//! A pod's volumes and where they are mounted.

use jb_model::VolumeHandle;
use jb_runtime::placement::{Placed, absolute, place};
use jb_runtime::{ContainerSpec, MountSource};
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, ImageVolumeSource, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
};

use super::containers::Security;
use super::{
    Found, PROGRAMS_DIR, PULL_POLICY, PodImage, Published, RESOURCE_DIR, ROOT_DIR, ROOT_FILE,
    STATE_DIR, VOLUMES_DIR, Wanted, link, owned,
};
use crate::probe::Features;
use crate::settings::Settings;

pub(super) fn empty_dir(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

pub(super) fn claim(name: &str, claim: &str) -> Volume {
    let source =
        PersistentVolumeClaimVolumeSource { claim_name: claim.to_owned(), read_only: None };
    Volume { name: name.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() }
}

fn image_volume(name: &str, reference: &str) -> Volume {
    let source = ImageVolumeSource {
        reference: Some(reference.to_owned()),
        pull_policy: Some(PULL_POLICY.to_owned()),
    };
    Volume { name: name.to_owned(), image: Some(source), ..Volume::default() }
}

pub(super) fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

pub(super) fn read_only(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(volume, path) }
}

/// A pod's volumes and where they are mounted.
pub(super) struct Layout<'a> {
    pub(super) image: &'a PodImage,
    pub(super) found: &'a Found,
    pub(super) features: Features,
    pub(super) volumes: Vec<Volume>,
    pub(super) main: Vec<VolumeMount>,
    /// Whether directories shall belong to the step's user.
    pub(super) owned: bool,
    /// Mounts of the init container.
    pub(super) prepared: Vec<VolumeMount>,
    /// Inputs to extract, and where to.
    pub(super) extracted: Vec<(String, String)>,
    /// Directories to make.
    pub(super) made: Vec<String>,
    /// Where the step's container has what its process may write to.
    pub(super) writable: Vec<String>,
    pub(super) published: Vec<Published>,
    pub(super) helper: Vec<VolumeMount>,
    pub(super) forwarders: Vec<link::Forwarder>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(
        spec: &ContainerSpec,
        image: &'a PodImage,
        found: &'a Found,
        settings: &Settings,
        security: &Security<'_>,
    ) -> Result<Self, String> {
        let placed = place(&spec.mounts, &spec.working_dir)?;
        let features = security.features;
        let mut layout = Self {
            image,
            found,
            features,
            owned: owned::is_wanted(&placed, image, security.run_as),
            volumes: vec![empty_dir("state")],
            main: vec![mount("state", STATE_DIR), read_only("runner", PROGRAMS_DIR)],
            prepared: Vec::new(),
            extracted: Vec::new(),
            made: Vec::new(),
            writable: Vec::new(),
            published: Vec::new(),
            helper: Vec::new(),
            forwarders: Vec::new(),
        };
        layout.agent_programs(spec.kind);
        layout.volumes.push(if features.image_volumes {
            image_volume("runner", &settings.images.runner)
        } else {
            empty_dir("runner")
        });
        if let Some(directory) = &image.resource {
            layout.resource(directory);
        }
        if image.root.is_some() {
            layout.volumes.push(empty_dir("root"));
            layout.main.push(read_only("root", ROOT_DIR));
        }
        let working_dir = absolute(&spec.working_dir, "/");
        if working_dir != "/" && !placed.iter().any(|mount| mount.target == working_dir) {
            // Of its own, so that whoever the step runs as can write there.
            layout.empty("work", &working_dir, &format!("{VOLUMES_DIR}/work"));
        }
        for (n, placed) in placed.iter().enumerate() {
            layout.place(n, placed, settings)?;
        }
        Ok(layout)
    }

    fn resource(&mut self, directory: &str) {
        if self.features.image_volumes {
            self.volumes.push(image_volume("resource", &self.image.reference));
            self.main.push(VolumeMount {
                sub_path: Some(directory.trim_start_matches('/').to_owned()),
                ..read_only("resource", RESOURCE_DIR)
            });
        } else {
            self.volumes.push(empty_dir("resource"));
            self.main.push(read_only("resource", RESOURCE_DIR));
        }
    }

    fn place(&mut self, n: usize, placed: &Placed, settings: &Settings) -> Result<(), String> {
        let name = format!("volume-{n}");
        let path = format!("{VOLUMES_DIR}/{n}");
        let publish =
            |volume: &VolumeHandle| Published { volume: volume.to_string(), path: path.clone() };
        match &placed.source {
            MountSource::Input { volume, copy } => {
                self.filled(&name, &placed.target, &path, volume);
                if let Some(copy) = copy {
                    self.published.push(publish(copy));
                    self.helper.push(self.own(mount(&name, &path)));
                }
                if let Some(image) = self.found.images.get(volume) {
                    self.image_input(n, &image.reference, placed, copy.is_some())?;
                }
            }
            MountSource::Output(volume) => {
                self.empty(&name, &placed.target, &path);
                self.published.push(publish(volume));
                self.helper.push(self.own(mount(&name, &path)));
            }
            MountSource::Cache(volume) => {
                if let Some(caches) = &settings.cache_claim {
                    let sub_path = jb_artifacts::cache_path(volume.as_str());
                    let sub_path = sub_path.ok_or_else(|| {
                        format!("the name of cache `{volume}` is too long for a directory")
                    })?;
                    if !self.volumes.iter().any(|volume| volume.name == "caches") {
                        self.volumes.push(claim("caches", caches));
                    }
                    self.writable.push(placed.target.clone());
                    self.main.push(VolumeMount {
                        sub_path: Some(sub_path),
                        ..mount("caches", &placed.target)
                    });
                } else {
                    self.empty(&name, &placed.target, &path);
                }
            }
            MountSource::Link(link) => {
                self.link(&name, &path, link, &self.found.peers)?;
                self.volumes.push(empty_dir(&name));
                self.main.push(mount(&name, &placed.target));
            }
        }
        Ok(())
    }

    /// The files of an image that is an input: nodes have them, and share them among their pods.
    fn image_input(
        &mut self,
        n: usize,
        reference: &str,
        placed: &Placed,
        kept: bool,
    ) -> Result<(), String> {
        if !self.features.image_volumes {
            return Err(format!(
                "the input at `{}` is an image, whose files steps see where the cluster has image volumes only: \
                 upgrade it to Kubernetes 1.35, or get the image with `params: {{format: oci}}`",
                placed.target
            ));
        }
        let name = format!("image-{n}");
        self.volumes.push(image_volume(&name, reference));
        self.main.push(read_only(&name, &format!("{}/rootfs", placed.target)));
        if kept {
            self.helper.push(read_only(&name, &format!("{VOLUMES_DIR}/{n}/rootfs")));
        }
        Ok(())
    }

    pub(super) fn uses_volumes(&self) -> bool {
        !self.extracted.is_empty() || !self.published.is_empty() || self.image.root.is_some()
    }

    pub(super) fn wanted(&self) -> Vec<Wanted> {
        let inputs = self.extracted.iter().map(|(volume, path)| Wanted {
            volume: volume.clone(),
            path: path.clone(),
            is_file: false,
        });
        let root = self.image.root.iter().map(|volume| Wanted {
            volume: volume.to_string(),
            path: ROOT_FILE.to_owned(),
            is_file: true,
        });
        inputs.chain(root).collect()
    }

    pub(super) fn add_claim(&mut self, wanted: &[Wanted], settings: &Settings) {
        match settings.artifact_claim() {
            Some(artifacts) if self.uses_volumes() => {
                self.volumes.push(claim("artifacts", artifacts));
            }
            None if !wanted.is_empty() => self.volumes.push(empty_dir("prepare")),
            _ => {}
        }
        if !self.published.is_empty() {
            self.volumes.push(empty_dir("helper"));
        }
    }
}
