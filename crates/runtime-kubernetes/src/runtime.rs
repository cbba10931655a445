//! The runtime port on a cluster.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jb_model::{BuildId, ContainerHandle, VolumeHandle};
use jb_object_store::ObjectStore;
use jb_runtime::{
    BaseType, ByteStream, ContainerInfo, ContainerSpec, Error, ImageFetch, ImageRequest, PodInfo,
    Result, RunnerStream, Runtime,
};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::artifacts::{Artifacts, Known};
use crate::checks::Checks;
use crate::failure::{Answer, Problem, Standing, answer_of, lost, standing};
use crate::image::Reference;
use crate::image::pointer::Pointer;
use crate::keys::Keys;
use crate::logins::Logins;
use crate::network::kept::Kept;
use crate::pod::Published;
use crate::probe::Features;
use crate::settings::{Access, ArtifactStore, Settings};
use crate::starts::Starts;
use crate::table::{PodTable, handle_of, is_meant};
use crate::waits::Waits;
use crate::{api, names, pod, pods, probe};
use ports::Ports;
use starting::Starting;

mod attempts;
mod birth;
mod check;
mod create;
mod link;
mod ports;
mod prepare;
mod reach;
mod settle;
mod starting;
mod store;

/// A stream made while a container was created is kept this long for the first who connects.
const SPARE_STREAM: Duration = Duration::from_secs(20);
/// How long the first list of pods may take.
const FIRST_LIST: Duration = Duration::from_secs(60);
/// Between SIGTERM and SIGKILL for what is not needed any more.
const DESTROY_SECONDS: u32 = 1;
/// The longest that pods which nobody needs stay because others are being started.
const LEISURE: Duration = Duration::from_secs(20);

/// Containers on a cluster. Cheap to clone; all clones are one runtime.
#[derive(Clone)]
pub struct KubernetesRuntime {
    inner: Arc<Inner>,
}

/// Streams that nobody has asked for yet, and since when.
type Spare = HashMap<ContainerHandle, (Instant, Box<dyn RunnerStream>)>;

struct Inner {
    settings: Arc<Settings>,
    features: Features,
    pods: Api<Pod>,
    policies: Api<NetworkPolicy>,
    table: PodTable,
    artifacts: Artifacts,
    logins: Logins,
    checks: Checks,
    spare: Mutex<Spare>,
    starts: Starts,
    starting: Starting,
    ports: Ports,
    watches: [JoinHandle<()>; 3],
    /// The API server's.
    api_addresses: Vec<String>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watches.iter().for_each(JoinHandle::abort);
    }
}

impl KubernetesRuntime {
    /// Connects to a cluster, finds out what it offers, and finds the pods of earlier servers again.
    pub async fn new(settings: Settings, access: &Access) -> Result<Self> {
        let (client, url) = api::client(access, settings.metrics.calls.clone()).await?;
        let api_addresses = api::addresses(&client, &url).await;
        let settings = Arc::new(settings);
        let namespace = settings.namespace.as_str();
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let named = [settings.artifact_claim(), settings.cache_claim.as_deref()];
        for claim in named.into_iter().flatten() {
            check_claim(&claims, claim, namespace).await?;
        }
        let store = store(&settings.artifacts).await?;
        let probed = probe::probe(&pods, &settings, |features| {
            let name = pod::artifacts_name(&settings, features);
            pod::artifacts(&format!("{name}-probe"), &settings, features)
        });
        let features = probed.await.map_err(|error| {
            api::failed(format!("cannot run pods in namespace `{namespace}`"), error)
        })?;
        tracing::info!(
            namespace,
            image_volumes = features.image_volumes,
            user_namespaces = features.user_namespaces,
            pod_security = settings.pod_security.as_str(),
            "a cluster to run containers on"
        );
        let policies = Api::namespaced(client.clone(), namespace);
        let kept = Kept::put(policies.clone(), &settings, &api_addresses).await?;
        let table = PodTable::new(settings.metrics.pods.clone());
        let watch = tokio::spawn(table.clone().follow(pods.clone(), settings.worker_name.clone()));
        let mut changes = table.changes();
        let listed = tokio::time::timeout(FIRST_LIST, async {
            // The table lives as long as this.
            while !table.is_complete() && changes.changed().await.is_ok() {}
        });
        if listed.await.is_err() {
            watch.abort();
            let source = io::ErrorKind::TimedOut.into();
            let context = format!("cannot list the pods of namespace `{namespace}`");
            return Err(Error::Transient { context, source });
        }
        let artifacts = Artifacts::new(pods.clone(), Arc::clone(&settings), features, store);
        let logins = Logins::new(Api::namespaced(client.clone(), namespace), Arc::clone(&settings));
        let keys = Keys::fresh().map_err(|error| Error::io("cannot make a secret", error))?;
        let spare = Mutex::default();
        let checks = Checks::new(settings.check_pods, server_id());
        let events: Api<Event> = Api::namespaced(client, &settings.namespace);
        let starts = Starts::new();
        let watches =
            [watch, tokio::spawn(starts.clone().follow(events)), tokio::spawn(kept.follow())];
        let inner = Inner {
            settings,
            features,
            pods,
            policies,
            table,
            artifacts,
            logins,
            checks,
            spare,
            starts,
            starting: Starting::default(),
            ports: Ports::new(keys),
            watches,
            api_addresses,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// The bucket that volumes are kept in, if they are, once it is known to be there.
async fn store(settings: &ArtifactStore) -> Result<Option<Arc<ObjectStore>>> {
    let ArtifactStore::Objects(settings) = settings else { return Ok(None) };
    let unusable = |why: String| Error::Unsupported(format!("artifacts cannot be kept: {why}"));
    let store = ObjectStore::new(settings.clone()).map_err(|error| unusable(error.to_string()))?;
    store.check().await.map_err(|error| unusable(error.to_string()))?;
    Ok(Some(Arc::new(store)))
}

/// Differs between servers that run at the same time or one after the other.
fn server_id() -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{:x}{:x}", now.as_micros(), std::process::id())
}

/// A pod whose claim is missing would wait for it without a word.
async fn check_claim(
    claims: &Api<PersistentVolumeClaim>,
    claim: &str,
    namespace: &str,
) -> Result<()> {
    let found = api::call("look for a claim", || claims.get_opt(claim)).await;
    match found {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Error::Unsupported(format!(
            "there is no persistent volume claim `{claim}` in namespace `{namespace}`: create it, or name another"
        ))),
        // Not being allowed to look does not mean that it is not there.
        Err(error) if answer_of(&error) == Answer::Forbidden => Ok(()),
        Err(error) => Err(api::failed(format!("cannot look for claim `{claim}`"), error)),
    }
}

impl Inner {
    fn spare(&self) -> MutexGuard<'_, Spare> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.retain(|_, (since, _)| since.elapsed() < SPARE_STREAM);
        spare
    }

    /// A container's pod, asked of the cluster before it is said not to be there.
    async fn pod_of(&self, handle: &ContainerHandle) -> Result<Arc<Pod>> {
        if let Some(pod) = self.table.of(handle) {
            return Ok(pod);
        }
        let pod = self.pods_of(handle).await?.into_iter().find(is_meant);
        let pod = pod.ok_or_else(|| Error::NoContainer(handle.clone()))?;
        self.table.created(pod.clone());
        Ok(Arc::new(pod))
    }

    /// A container's pods in the API server's own words, those that are about to go too.
    async fn pods_of(&self, handle: &ContainerHandle) -> Result<Vec<Pod>> {
        let selector = format!("{}={}", names::HANDLE_HASH, names::handle_hash(handle));
        let params = ListParams::default()
            .labels(&format!("{},{selector}", names::selector(&self.settings.worker_name)));
        let found = api::call("look for a pod", || self.pods.list(&params)).await;
        let mut found = found.map_err(|error| {
            api::failed(format!("cannot look for the pod of container `{handle}`"), error)
        })?;
        found.items.retain(|pod| handle_of(pod) == Some(handle.as_str()));
        Ok(found.items)
    }

    /// Why the cluster takes a container's pod away, if it does. Its node may have ended the container before the watch
    /// told of that.
    async fn taken_away(&self, handle: &ContainerHandle) -> Option<String> {
        if let Some(why) = self.table.lost(handle) {
            return Some(why);
        }
        // A pod that cannot be looked for is of no help here.
        self.pods_of(handle).await.ok()?.iter().filter(|pod| !is_meant(pod)).find_map(lost)
    }

    /// Every pod that is not about to go, in the API server's own words: what the watch has not told of yet, or does
    /// not tell of while it is broken, may be another server's, and must not be taken for gone.
    async fn all_pods(&self) -> Result<Vec<Pod>> {
        let params = ListParams::default().labels(&names::selector(&self.settings.worker_name));
        let found = api::call("list the pods", || self.pods.list(&params)).await;
        let found = found.map_err(|error| {
            let namespace = &self.settings.namespace;
            api::failed(format!("cannot list the pods of namespace `{namespace}`"), error)
        })?;
        Ok(found.items.into_iter().filter(is_meant).collect())
    }

    async fn destroy_pod(&self, handle: &ContainerHandle) -> Result<()> {
        self.spare().remove(handle);
        let pod = match self.pod_of(handle).await {
            Ok(pod) => pod,
            Err(Error::NoContainer(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let uid = pod.metadata.uid.clone();
        let preconditions = Some(kube::api::Preconditions { uid, resource_version: None });
        let params = DeleteParams {
            grace_period_seconds: Some(DESTROY_SECONDS),
            preconditions,
            ..DeleteParams::default()
        };
        match api::call("delete a pod", || self.pods.delete(&name, &params)).await {
            Err(error) if answer_of(&error) != Answer::Missing => {
                Err(api::failed(format!("cannot destroy container `{handle}`"), error))
            }
            _ => {
                self.settings.metrics.pods.deleted(names::kind_of(&pod));
                self.table.deleted(&name);
                Ok(())
            }
        }
    }

    /// Whether nodes have a login for the image that a volume is.
    async fn has_login(&self, volume: &VolumeHandle) -> Result<bool> {
        Ok(match self.artifacts.find(volume).await? {
            Some(Known::Image(json)) => {
                Reference::parse(volume, &json).is_ok_and(|image| image.pull_secret.is_some())
            }
            Some(Known::Archive) | None => false,
        })
    }

    async fn reference(&self, volume: &VolumeHandle) -> Result<Option<Reference>> {
        match self.artifacts.find(volume).await? {
            None => Err(Error::NoVolume(volume.clone())),
            Some(Known::Archive) => Ok(None),
            Some(Known::Image(json)) => Reference::parse(volume, &json).map(Some),
        }
    }
}

/// The volumes a pod publishes.
fn published(pod: &Pod) -> Vec<Published> {
    let annotations = pod.metadata.annotations.as_ref();
    let outputs = annotations.and_then(|annotations| annotations.get(names::OUTPUTS));
    outputs.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

fn words(problem: Problem) -> String {
    match problem {
        Problem::Image(text) | Problem::Other(text) => text,
        Problem::NoVolume(volume) => format!("volume `{volume}` does not exist"),
    }
}

#[async_trait]
impl Runtime for KubernetesRuntime {
    fn worker_name(&self) -> &str {
        &self.inner.settings.worker_name
    }

    fn base_types(&self) -> Vec<BaseType> {
        let names = self.inner.settings.base_types.iter();
        names
            .map(|name| BaseType {
                name: name.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                privileged: false,
                unique_version_history: name == "time",
            })
            .collect()
    }

    fn runs_agents(&self) -> bool {
        true
    }

    fn off_limits(&self) -> &[String] {
        &self.inner.api_addresses
    }

    async fn taken_away(&self, handle: &ContainerHandle) -> Option<String> {
        self.inner.taken_away(handle).await
    }

    fn keeps_to_its_name(&self) -> bool {
        true
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        self.inner.create(spec, &Waits::unwatched()).await
    }

    async fn create_watched(
        &self,
        spec: &ContainerSpec,
        waits: mpsc::Sender<String>,
    ) -> Result<()> {
        self.inner.create(spec, &Waits::new(waits)).await
    }

    async fn connect(&self, handle: &ContainerHandle) -> Result<Box<dyn RunnerStream>> {
        self.inner.connect(handle, &Waits::unwatched()).await
    }

    async fn connect_watched(
        &self,
        handle: &ContainerHandle,
        waits: mpsc::Sender<String>,
    ) -> Result<Box<dyn RunnerStream>> {
        self.inner.connect(handle, &Waits::new(waits)).await
    }

    async fn settle(&self, handle: &ContainerHandle) -> Result<()> {
        self.inner.settle(handle).await
    }

    async fn leisure(&self) {
        self.inner.starting.over(LEISURE).await;
    }

    async fn destroy(&self, handle: &ContainerHandle) -> Result<()> {
        if self.inner.table.of(handle).is_none() && self.inner.destroy_check(handle).await? {
            return Ok(());
        }
        self.inner.destroy_pod(handle).await
    }

    async fn list(&self) -> Result<Vec<ContainerInfo>> {
        self.inner.adopt_checks().await;
        self.inner.retire_checks().await;
        let pods = self.inner.all_pods().await?;
        self.inner.artifacts.retire(&pods).await;
        let infos = pods.iter().filter(|pod| !names::is_of_checks(pod)).filter_map(|pod| {
            let handle = ContainerHandle::new(handle_of(pod)?);
            let running = !matches!(standing(pod), Standing::Over(_));
            Some(ContainerInfo { handle, running })
        });
        let checks = self.inner.checks.handles().into_iter();
        Ok(infos.chain(checks.map(|handle| ContainerInfo { handle, running: true })).collect())
    }

    async fn create_volume(&self, volume: &VolumeHandle) -> Result<()> {
        self.inner.artifacts.create(volume).await
    }

    async fn stream_in(&self, volume: &VolumeHandle, path: &str, tar: ByteStream) -> Result<()> {
        self.inner.artifacts.add(volume, path, tar).await
    }

    async fn stream_out(&self, volume: &VolumeHandle, path: &str) -> Result<ByteStream> {
        let context = || format!("cannot read `{path}` of volume `{volume}`");
        match self.inner.reference(volume).await? {
            Some(reference) => reference.archive().map_err(|error| Error::io(context(), error)),
            None => self.inner.artifacts.archive(volume, path).await,
        }
    }

    async fn read_file(
        &self,
        volume: &VolumeHandle,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>> {
        match self.inner.reference(volume).await? {
            Some(reference) => reference.read(path, limit),
            None => self.inner.artifacts.read(volume, path, limit).await,
        }
    }

    async fn pointer(&self, volume: &VolumeHandle) -> Result<Option<Vec<u8>>> {
        match self.inner.artifacts.find(volume).await? {
            Some(Known::Image(json)) => {
                let reference = Reference::parse(volume, &json)?;
                Pointer { reference, login: self.inner.logins.of(volume) }.to_json().map(Some)
            }
            Some(Known::Archive) => Ok(None),
            None => Err(Error::NoVolume(volume.clone())),
        }
    }

    async fn adopt(&self, volume: &VolumeHandle, pointer: &[u8]) -> Result<bool> {
        let Inner { artifacts, logins, settings, .. } = &*self.inner;
        let Some(pointer) = Pointer::parse(pointer) else { return Ok(false) };
        let (reference, login) = pointer.adopted(volume, settings)?;
        let json = serde_json::to_vec(&reference).map_err(|error| {
            Error::Image(format!("cannot note image `{}`: {error}", reference.name))
        })?;
        // The login last, as when it is fetched.
        artifacts.put_image(volume, json).await?;
        if let Some(login) = login {
            logins.adopt(volume, login).await?;
        }
        Ok(true)
    }

    async fn fetch_image(
        &self,
        volume: &VolumeHandle,
        request: ImageRequest,
        log: mpsc::Sender<String>,
    ) -> Result<ImageFetch> {
        let Inner { artifacts, logins, .. } = &*self.inner;
        crate::image::fetch(artifacts, logins, volume, request, log).await
    }

    async fn list_volumes(&self) -> Result<Vec<VolumeHandle>> {
        let mut all: BTreeSet<String> = self.inner.artifacts.list().await?.into_iter().collect();
        // Those that running steps are about to make.
        for pod in self.inner.all_pods().await? {
            all.extend(published(&pod).into_iter().map(|published| published.volume));
        }
        Ok(all.into_iter().map(VolumeHandle::new).collect())
    }

    async fn destroy_volume(&self, volume: &VolumeHandle) -> Result<()> {
        if self.inner.has_login(volume).await? {
            self.inner.logins.remove(volume).await?;
        }
        self.inner.artifacts.remove(volume).await
    }

    fn pods(&self, build: BuildId) -> Option<Vec<PodInfo>> {
        let pods = self.inner.table.of_build(&build.to_string());
        let mut pods: Vec<PodInfo> = pods.iter().map(|pod| pods::info(pod)).collect();
        pods.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
        Some(pods)
    }

    fn pod_changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.inner.table.changes())
    }

    fn endings(&self) -> Option<watch::Receiver<u64>> {
        Some(self.inner.table.endings())
    }
}
