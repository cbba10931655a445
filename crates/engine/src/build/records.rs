//! What a build leaves behind in the store: containers, versions, inputs, outputs and caches.

use std::collections::BTreeMap;
use std::sync::Arc;

use jb_metrics::Step;
use jb_model::PlanStep;
use jb_model::config::TaskConfig;
use jb_model::plan::{GetPlan, PutPlan, TypeImage, VersionSource};
use jb_model::{ContainerHandle, Metadata, Object, PlanId, Value, Version, VolumeHandle};
use jb_runtime::client::ProcessSpec;
use jb_runtime::{ContainerKind, ContainerSpec, Coordinates, User};
use jb_store::{
    ContainerState, NewCache, NewContainer, NewVolume, ResourceKind, ResourceRecord, TaskCacheKey,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::BuildContext;
use crate::leaf::{Leaf, Trouble};
use crate::service::StepProcess;
use crate::workspace::clean_path;

/// Reasons why a container waits that are not in its step's log yet.
pub(crate) const WAITING_REASONS: usize = 16;

/// A fetched version: where it lies and what its `get` said about it.
#[derive(Clone, Debug)]
pub(crate) struct CachedResource {
    pub volume: VolumeHandle,
    pub metadata: Vec<Metadata>,
}

/// Names a cached version: by everything its content depends on, and by its configuration alone.
#[derive(Clone, Debug)]
pub(crate) struct CacheKey {
    pub key: String,
    config_hash: String,
    type_name: String,
}

impl BuildContext {
    /// Records a container and makes it; both find what exists. False when the step was cancelled before.
    pub(crate) async fn create_container(
        &self,
        leaf: &Leaf,
        spec: &ContainerSpec,
        step_name: &str,
    ) -> Result<bool, Trouble> {
        let store = &self.engine.store;
        let known = store.container(&spec.handle).await?;
        let is_made = known.is_some_and(|known| known.state == ContainerState::Created);
        if is_made && spec.kind != ContainerKind::Check {
            // Made by the server before this one. Should it be gone, its process is not to run twice. A check may.
            return Ok(true);
        }
        if leaf.cancel.is_requested() {
            return Ok(false);
        }
        let place = leaf.place(self);
        let attempts: Vec<String> = leaf.plan.attempts.iter().map(u32::to_string).collect();
        let container = NewContainer {
            handle: spec.handle.clone(),
            team: self.build.team_id,
            build: Some(self.build.id),
            plan: Some(leaf.plan.id.clone()),
            resource: self.build.resource_id,
            step_name: step_name.to_owned(),
            kind: spec.kind.as_str().to_owned(),
            attempt: attempts.join("."),
            worker: place.name().to_owned(),
            working_dir: spec.working_dir.clone(),
            user: match &spec.user {
                User::Image => String::new(),
                User::Named(name) => name.clone(),
            },
        };
        store.create_container(&container, self.now()).await?;
        let spec = &self.bring_volumes(place, spec.clone()).await?;
        let waiting = self.engine.settings.metrics.steps.waiting(&Step {
            team: &self.build.team_name,
            team_id: self.build.team_id.0,
            kind: spec.kind.as_str(),
        });
        self.mark(&leaf.plan.id, &spec.handle, "requested");
        if !self.await_container(leaf, spec).await? {
            return Ok(false);
        }
        self.mark(&leaf.plan.id, &spec.handle, "runner answered");
        drop(waiting);
        store.set_container_state(&spec.handle, ContainerState::Created).await?;
        Ok(true)
    }

    /// Makes a container; says in the step's log what it waits for. False when the step was cancelled while it waited.
    async fn await_container(&self, leaf: &Leaf, spec: &ContainerSpec) -> Result<bool, Trouble> {
        let runtime = &leaf.place(self).runtime;
        let (sender, mut reasons) = mpsc::channel(WAITING_REASONS);
        let mut waits = false;
        {
            let mut creating = std::pin::pin!(runtime.create_watched(spec, sender));
            loop {
                tokio::select! {
                    // What was said before the end is stored before the end.
                    biased;
                    Some(reason) = reasons.recv() => {
                        waits = true;
                        self.say_waits(&leaf.plan.id, &reason).await?;
                    }
                    created = &mut creating => return Ok(created.map(|()| true)?),
                    () = leaf.cancel.requested(), if waits => break,
                }
            }
        }
        // It might wait for long, and nobody would use it. What cannot be destroyed now is collected later.
        if let Err(error) = runtime.destroy(&spec.handle).await {
            tracing::warn!(container = %spec.handle, %error, "giving up a container that waits");
        }
        Ok(false)
    }

    /// Says in a step's log what it waits for.
    pub(crate) async fn say_waits(&self, origin: &PlanId, reason: &str) -> jb_store::Result<()> {
        self.say_anew(origin, "waits", format!("waiting: {reason}\n")).await
    }

    /// Where a step's container belongs.
    pub(crate) fn coordinates(&self, leaf: &Leaf, step_name: &str) -> Coordinates {
        let build = &self.build;
        let attempts: Vec<String> = leaf.plan.attempts.iter().map(u32::to_string).collect();
        Coordinates {
            team: build.team_name.clone(),
            pipeline: build
                .pipeline
                .as_ref()
                .map(|pipeline| pipeline.name.clone())
                .unwrap_or_default(),
            job: build.job_name.clone().unwrap_or_default(),
            build: build.name.clone(),
            build_id: build.id.to_string(),
            step: step_name.to_owned(),
            attempt: attempts.join("."),
        }
    }

    /// Keeps what a step's process is started with, for those who enter its container later.
    pub(crate) async fn keep_process(
        &self,
        handle: &ContainerHandle,
        process: &ProcessSpec,
    ) -> Result<(), Trouble> {
        let kept = StepProcess { env: process.env.clone(), privileged: process.privileged };
        kept.keep(&self.engine, handle).await?;
        Ok(())
    }

    /// Remembers the version a step made or found, for the `get` that fetches it.
    pub(crate) async fn set_version(
        &self,
        node: &PlanId,
        version: &Version,
    ) -> Result<(), Trouble> {
        let scope = format!("version of {node}");
        let store = &self.engine.store;
        store.set_build_var(self.build.id, &scope, "version", &json!(version), false).await?;
        Ok(())
    }

    pub(crate) async fn version_from(&self, node: &PlanId) -> Result<Option<Version>, Trouble> {
        let scope = format!("version of {node}");
        let vars = self.engine.store.build_vars(self.build.id).await?;
        let found = vars.into_iter().find(|var| var.scope == scope);
        Ok(found.and_then(|var| crate::leaf::version_of(&var.value)))
    }

    /// What a `set_pipeline` step said it changes, if it came that far.
    pub(crate) async fn announced_changes(&self, leaf: &Leaf) -> Result<Option<String>, Trouble> {
        let scope = format!("changes of {}", leaf.plan.id);
        let vars = self.engine.store.build_vars(self.build.id).await?;
        let found = vars.into_iter().find(|var| var.scope == scope);
        Ok(found.and_then(|var| var.value.as_str().map(str::to_owned)))
    }

    pub(crate) async fn announce_changes(&self, leaf: &Leaf, text: &str) -> Result<(), Trouble> {
        let scope = format!("changes of {}", leaf.plan.id);
        let store = &self.engine.store;
        store.set_build_var(self.build.id, &scope, "changes", &json!(text), false).await?;
        Ok(())
    }

    /// A resource of the build's pipeline by name.
    pub(crate) async fn resource(&self, name: &str) -> Result<Option<ResourceRecord>, Trouble> {
        let Some(pipeline) = &self.build.pipeline else { return Ok(None) };
        let store = &self.engine.store;
        Ok(store.resource_by_name(pipeline.id, ResourceKind::Resource, name).await?)
    }

    /// Keeps what a `get` said about its version.
    pub(crate) async fn record_input(
        &self,
        plan: &GetPlan,
        version: &Version,
        metadata: &[Metadata],
    ) -> Result<(), Trouble> {
        if plan.resource.is_empty() || metadata.is_empty() {
            return Ok(());
        }
        let scope = self.resource(&plan.resource).await?.and_then(|resource| resource.scope);
        if let Some(scope) = scope {
            self.engine.store.save_metadata(scope, version, metadata).await?;
        }
        Ok(())
    }

    /// Keeps the version a `put` made, whether or not a check ever saw it.
    pub(crate) async fn record_output(
        &self,
        plan: &PutPlan,
        source: &Object,
        version: &Version,
        metadata: &[Metadata],
    ) -> Result<(), Trouble> {
        let Some(resource) = self.resource(&plan.resource).await? else { return Ok(()) };
        let config_hash = self.config_hash(&plan.image, source).await?;
        let store = &self.engine.store;
        let (scope, _) = store.set_scope(resource.id, &config_hash, false, self.now()).await?;
        let id = store.save_put_version(scope, version, metadata).await?;
        store.save_build_output(self.build.id, &plan.name, resource.id, id).await?;
        Ok(())
    }

    /// What a resource's history belongs to: its source, its type, and the versions of the images that the
    /// type and the types of those are run by. A type that changes may see other versions.
    pub(crate) async fn config_hash(
        &self,
        image: &TypeImage,
        source: &Object,
    ) -> Result<String, Trouble> {
        let mut types = Vec::new();
        let mut image = image;
        while let Some(PlanStep::Get(get)) = image.get.as_deref().map(|get| &get.step) {
            let version = match &get.version {
                VersionSource::Fixed(version) => Some(version.clone()),
                VersionSource::From(check) => self.version_from(check).await?,
            };
            types.push(json!({"source": get.source, "version": version}));
            image = &get.image;
        }
        Ok(hash(&json!({"base": image.base_type, "types": types, "source": source})))
    }

    /// A type's image is cached itself, so its volume stands for the version of the type.
    async fn type_identity(&self, leaf: &Leaf, image: &TypeImage) -> Result<String, Trouble> {
        match &image.get {
            Some(_) => {
                let image = self.image_of(&leaf.plan.id).await?;
                Ok(image.map(|volume| volume.0).unwrap_or_default())
            }
            None => Ok(image.base_type.clone()),
        }
    }

    pub(crate) async fn resource_cache_key(
        &self,
        leaf: &Leaf,
        plan: &GetPlan,
        source: &Object,
        params: &Object,
        version: &Version,
    ) -> Result<CacheKey, Trouble> {
        let kind = self.type_identity(leaf, &plan.image).await?;
        let key =
            hash(&json!({"type": kind, "source": source, "params": params, "version": version}));
        let config_hash = self.config_hash(&plan.image, source).await?;
        Ok(CacheKey { key, config_hash, type_name: plan.kind.clone() })
    }

    pub(crate) async fn cached_resource(
        &self,
        key: &CacheKey,
    ) -> Result<Option<CachedResource>, Trouble> {
        let found = self.engine.store.use_cache(&key.key, self.now()).await?;
        Ok(found.map(|cache| CachedResource { volume: cache.volume, metadata: cache.metadata }))
    }

    /// Remembers a fetched version; when another build was faster, its copy serves.
    pub(crate) async fn keep_resource(
        &self,
        key: &CacheKey,
        fetched: CachedResource,
        version: &Version,
    ) -> Result<CachedResource, Trouble> {
        let store = &self.engine.store;
        let cache = NewCache {
            key: key.key.clone(),
            config_hash: key.config_hash.clone(),
            type_name: key.type_name.clone(),
            version: version.clone(),
            metadata: fetched.metadata,
            volume: fetched.volume,
        };
        let kept = store.save_cache(&cache, self.now()).await?;
        Ok(CachedResource { volume: kept.volume, metadata: kept.metadata })
    }

    pub(crate) async fn record_volume(
        &self,
        leaf: &Leaf,
        handle: &VolumeHandle,
        kind: &str,
        step_name: &str,
        path: &str,
    ) -> Result<(), Trouble> {
        let volume = NewVolume {
            handle: handle.clone(),
            kind: kind.to_owned(),
            worker: leaf.place(self).name().to_owned(),
            team: Some(self.build.team_id),
            build: Some(self.build.id),
            container: None,
            job: self.build.job_id,
            step_name: step_name.to_owned(),
            path: path.to_owned(),
            parent: None,
        };
        self.engine.store.create_volume(&volume, self.now()).await?;
        Ok(())
    }

    /// The volumes of a task's caches by path; none for builds without a job.
    pub(crate) async fn task_caches(
        &self,
        leaf: &Leaf,
        step_name: &str,
        config: &TaskConfig,
    ) -> Result<BTreeMap<String, VolumeHandle>, Trouble> {
        let Some(job) = self.build.job_id else { return Ok(BTreeMap::new()) };
        let store = &self.engine.store;
        let mut caches = BTreeMap::new();
        for cache in &config.caches {
            let path = clean_path(&cache.path);
            // Each place has caches of its own; those of the first have the names of a server without others.
            let place = leaf.place(self);
            let of_place = if Arc::ptr_eq(place, self.engine.places.first()) {
                path.clone()
            } else {
                format!("{path}@{}", place.name())
            };
            let key = TaskCacheKey { job, step_name, path: &of_place };
            let volume = match store.use_task_cache(key, self.now()).await? {
                Some(volume) => volume,
                None => {
                    let digest = hash(&json!([step_name, of_place, self.build.id.0]));
                    let fresh = VolumeHandle::new(format!("cache-{job}-{}", &digest[..16]));
                    self.record_volume(leaf, &fresh, "task-cache", step_name, &path).await?;
                    store.save_task_cache(key, &fresh, self.now()).await?
                }
            };
            caches.insert(path, volume);
        }
        Ok(caches)
    }
}

/// Hex SHA-256 of a value's canonical JSON: maps are sorted by key.
pub(crate) fn hash(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
