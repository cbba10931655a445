//! Checks in pods that they share.

use std::io;
use std::time::{Duration, Instant};

use jb_model::ContainerHandle;
use jb_runtime::client::{Output, ProcessSpec, ProcessState, RunnerClient, StartError};
use jb_runtime::{ContainerSpec, Coordinates, Error, Result, RunnerStream};
use k8s_openapi::api::core::v1::Pod;

use super::Inner;
use crate::checks::member::{Member, isolation, pod_key};
use crate::checks::mux::Mux;
use crate::checks::{Newcomer, Place, Seated};
use crate::failure::{Standing, standing};
use crate::names;
use crate::pod::MAIN;
use crate::table::handle_of;
use crate::waits::Waits;

/// Between looks for a free place.
const WAIT: Duration = Duration::from_secs(1);
/// Between attempts when the stream to a pod's runner breaks.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a killed process may take to end.
const KILLED: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

impl Inner {
    /// Finds a check's place in a pod, or gives it one. No pod is made when one of its like is there.
    pub(super) async fn create_check(
        &self,
        spec: &ContainerSpec,
        source: &str,
        waits: &Waits,
    ) -> Result<()> {
        let place = match self.find_check(&spec.handle).await {
            Some(place) => place,
            None => self.seat(spec, source, waits).await?,
        };
        let ready = self.prepare(spec, &place, waits).await;
        if ready.is_err() {
            self.checks.remove(&spec.handle, Instant::now());
        }
        ready
    }

    async fn seat(&self, spec: &ContainerSpec, source: &str, waits: &Waits) -> Result<Place> {
        let isolation = isolation(&spec.image, self.settings.pod_security);
        let key = pod_key(spec, isolation);
        let newcomer = Newcomer { handle: &spec.handle, key: &key, source };
        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            self.forget_lost_pods();
            let freed = self.checks.freed.notified();
            let member = |place| Member::new(spec, isolation, place);
            match self.checks.seat(&newcomer, Instant::now(), member) {
                Seated::At(place) => return Ok(place),
                Seated::After(other) => {
                    if self.checks.vacate(&other) {
                        self.destroy_pod(&other).await?;
                    }
                }
                Seated::Wait if Instant::now() > deadline => {
                    return Err(Error::Transient {
                        context: format!("cannot start container `{}`", spec.handle),
                        source: io::Error::other(self.no_seat()),
                    });
                }
                Seated::Wait => {
                    waits.tell(&self.no_seat());
                    drop(tokio::time::timeout(WAIT, freed).await);
                }
            }
        }
    }

    fn no_seat(&self) -> String {
        let max = self.settings.check_pods.max;
        format!("all of the {max} pods for checks are at work (--kubernetes-check-pods)")
    }

    /// Pods that somebody deleted, or that ended, take no more checks.
    fn forget_lost_pods(&self) {
        for pod in self.checks.started() {
            let known = self.table.of(&pod);
            if known.is_none_or(|known| matches!(standing(&known), Standing::Over(_))) {
                tracing::warn!(%pod, "a pod of checks is gone");
                self.checks.remove_pod(&pod);
            }
        }
    }

    /// Starts the pod, once for all who wait for it, and makes the source's own directory.
    async fn prepare(&self, spec: &ContainerSpec, place: &Place, waits: &Waits) -> Result<()> {
        let Place { pod, member, number, line } = place;
        let started = line.started.get_or_try_init(async || {
            let spec = ContainerSpec {
                handle: pod.clone(),
                hostname: pod.to_string(),
                coordinates: Coordinates {
                    team: spec.coordinates.team.clone(),
                    ..Coordinates::default()
                },
                ..spec.clone()
            };
            self.create_pod(&spec, names::mark_of_checks, waits).await
        });
        started.await?;
        let (Some(number), Some((_, directory))) = (number, &member.directory) else {
            return Ok(());
        };
        let mut furnished = line.furnished.lock().await;
        if furnished.contains(number) {
            return Ok(());
        }
        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            match self.make_directory(place, directory).await {
                // A process is started once by its name, so asking again does no harm.
                Err(Error::Transient { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(AGAIN).await;
                }
                made => {
                    made?;
                    break;
                }
            }
        }
        furnished.insert(*number);
        Ok(())
    }

    /// Nobody else can look into it.
    async fn make_directory(&self, place: &Place, directory: &str) -> Result<()> {
        const PROCESS: &str = "directory";
        let context = || format!("cannot make directory `{directory}` for a check");
        let client = self.check_client(place, place.member.clone()).await?;
        let spec = ProcessSpec {
            path: "mkdir".to_owned(),
            args: ["-p", "-m", "700", directory].map(str::to_owned).to_vec(),
            user: place.member.user_name(),
            ..ProcessSpec::default()
        };
        client.start(PROCESS, spec).await.map_err(|error| match error {
            StartError::Lost => Error::Transient {
                context: context(),
                source: io::ErrorKind::ConnectionReset.into(),
            },
            other => Error::io(context(), io::Error::other(other.to_string())),
        })?;
        let mut attached = client.attach(PROCESS, 0).await?;
        let mut said = Vec::new();
        while let Some(output) = attached.next().await {
            match output {
                Output::Data { bytes, .. } => said.extend(bytes),
                Output::Exited { status: 0, .. } => return client.forget(PROCESS).await,
                Output::Exited { .. } => {
                    let said = String::from_utf8_lossy(&said).trim().to_owned();
                    return Err(Error::io(context(), io::Error::other(said)));
                }
            }
        }
        Err(Error::Transient { context: context(), source: io::ErrorKind::ConnectionReset.into() })
    }

    /// The stream to a check's processes. `None` when there is no such check.
    pub(super) async fn connect_check(
        &self,
        handle: &ContainerHandle,
    ) -> Result<Option<Box<dyn RunnerStream>>> {
        let Some(place) = self.find_check(handle).await else { return Ok(None) };
        match self.check_mux(&place).await {
            Ok(mux) => Ok(Some(Box::new(mux.open(place.member)))),
            Err(Error::NoContainer(_)) => {
                self.checks.remove_pod(&place.pod);
                Err(Error::NoContainer(handle.clone()))
            }
            Err(error) => Err(error),
        }
    }

    async fn check_client(&self, place: &Place, member: Member) -> Result<RunnerClient> {
        let mux = self.check_mux(place).await?;
        RunnerClient::handshake(Box::new(mux.open(member))).await
    }

    async fn check_mux(&self, place: &Place) -> Result<Mux> {
        let mut mux = place.line.mux.lock().await;
        if let Some(mux) = mux.as_ref().filter(|mux| !mux.is_lost()) {
            return Ok(mux.clone());
        }
        let spare = self.spare().remove(&place.pod);
        let stream = match spare {
            Some((_, stream)) => stream,
            None => self.reach(&place.pod, MAIN, &Waits::unwatched()).await?,
        };
        Ok(mux.insert(Mux::new(stream).await?).clone())
    }

    /// Ends a check's processes. False when there is no such check.
    pub(super) async fn destroy_check(&self, handle: &ContainerHandle) -> Result<bool> {
        let Some(place) = self.find_check(handle).await else { return Ok(false) };
        let ended = self.end_processes(&place).await;
        match ended {
            Ok(()) | Err(Error::NoContainer(_)) => {}
            Err(error) => return Err(error),
        }
        self.checks.remove(handle, Instant::now());
        self.retire_checks().await;
        Ok(true)
    }

    async fn end_processes(&self, place: &Place) -> Result<()> {
        if !place.line.started.initialized() {
            return Ok(());
        }
        let client = self.check_client(place, place.member.clone()).await?;
        for process in client.processes().await? {
            if matches!(process.state, ProcessState::Running { .. }) {
                client.signal(&process.id, SIGKILL).await?;
                let mut attached = client.attach(&process.id, process.next_seq).await?;
                let end = async { while attached.next().await.is_some() {} };
                let _ = tokio::time::timeout(KILLED, end).await;
            }
            client.forget(&process.id).await?;
        }
        Ok(())
    }

    /// Deletes the pods that had their time.
    pub(super) async fn retire_checks(&self) {
        for (pod, own) in self.checks.retire(Instant::now()) {
            if !own && self.is_at_work(&pod).await {
                continue;
            }
            match self.destroy_pod(&pod).await {
                Ok(()) => self.checks.remove_pod(&pod),
                Err(error) => tracing::warn!(%pod, %error, "a pod of checks stays"),
            }
        }
    }

    /// Whether checks run in another server's pod now.
    async fn is_at_work(&self, pod: &ContainerHandle) -> bool {
        let Some(place) = self.checks.whole(pod) else { return false };
        let processes = async {
            let client = self.check_client(&place, Member::default()).await?;
            client.processes().await
        };
        let running = |state| matches!(state, ProcessState::Running { .. });
        processes.await.is_ok_and(|all| all.into_iter().any(|process| running(process.state)))
    }

    /// A check's place, also when another server gave it.
    async fn find_check(&self, handle: &ContainerHandle) -> Option<Place> {
        if let Some(place) = self.checks.find(handle) {
            return Some(place);
        }
        self.adopt_checks().await;
        self.checks.find(handle)
    }

    /// Looks into the pods that this server did not make, once each.
    pub(super) async fn adopt_checks(&self) {
        let strange = |pod: &ContainerHandle| !self.checks.knows(pod);
        if !self.check_pods().iter().any(|(handle, _)| strange(handle)) {
            return;
        }
        let _one = self.checks.adopting.lock().await;
        for (handle, pod) in self.check_pods().into_iter().filter(|(handle, _)| strange(handle)) {
            if matches!(standing(&pod), Standing::Over(_)) {
                continue;
            }
            let now = Instant::now();
            let made = pod.metadata.creation_timestamp.as_ref();
            let age = made.and_then(|made| {
                let seconds = k8s_openapi::jiff::Timestamp::now().duration_since(made.0).as_secs();
                u64::try_from(seconds).ok()
            });
            let made = age.and_then(|age| now.checked_sub(Duration::from_secs(age)));
            self.checks.adopt(&handle, &pod_key_of(&handle), made.unwrap_or(now), now);
            let Some(place) = self.checks.whole(&handle) else { continue };
            let found = async {
                let client = self.check_client(&place, Member::default()).await?;
                client.processes().await
            };
            match found.await {
                Ok(found) => {
                    let members = found.iter().filter_map(|info| Member::of_process(&info.id));
                    self.checks.found(&handle, members);
                }
                Err(error) => {
                    tracing::warn!(pod = %handle, %error, "a pod of checks does not answer")
                }
            }
        }
    }

    fn check_pods(&self) -> Vec<(ContainerHandle, std::sync::Arc<Pod>)> {
        let pods = self.table.all().into_iter();
        let pods = pods.filter(|pod| names::is_of_checks(pod));
        pods.filter_map(|pod| Some((ContainerHandle::new(handle_of(&pod)?), pod))).collect()
    }
}

/// The key in the handle of a pod of checks.
fn pod_key_of(pod: &ContainerHandle) -> String {
    pod.as_str().split('-').nth(1).unwrap_or_default().to_owned()
}
