//! Making containers, finding them again, and clearing them away.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jb_model::VolumeHandle;
use jb_runtime::{
    ContainerKind, ContainerSpec, Error, Image, Link, MountSource, Network, Result, User,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FlockOperation;

use super::Inner;
use crate::janitor::Remover;
use crate::launch::{
    EtcFiles, Failure, FailureKind, IdMaps, Init, Launch, Limits, NetworkPlan, Outcome, Ownership,
    Root, VolumeMount, VolumeSource,
};
use crate::store::{MAX_LAYERS, Pin, Store, VolumeRecord, file_name, read_json};
use jb_runtime::placement::{Placed, absolute, place};

/// How long the shim may take, mostly for handing large volumes to another user.
const SHIM_TIMEOUT: Duration = Duration::from_secs(600);
/// Most of an image's `metadata.json` that is read.
const MAX_METADATA: usize = 1 << 20;

impl Inner {
    pub(super) fn create(&self, spec: &ContainerSpec) -> Result<()> {
        let handle = spec.handle.as_str();
        let _lock = self.lock(handle);
        if self.store.container(handle).is_some_and(|found| found.init.is_some()) {
            return Ok(());
        }
        let (launch, _pins) = self.plan(spec)?;
        let launch = self.store.reserve(launch, |taken, launch| match self.bridge() {
            Some(bridge) if spec.network == Network::Outbound => {
                self.next_address(bridge, launch, taken)
            }
            _ => Ok(()),
        })?;
        let made = self.write(&launch).and_then(|()| self.start(&launch));
        match made {
            Ok(init) => {
                self.store.remember(launch, Some(init));
                Ok(())
            }
            Err(error) => {
                if let Err(clean) = clean_up(&self.store, &launch) {
                    tracing::warn!(handle, error = %clean, "cannot clear a failed container away");
                }
                Err(error)
            }
        }
    }

    /// Decides everything about a container but its address. The pins keep its volumes until it
    /// is remembered.
    fn plan(&self, spec: &ContainerSpec) -> Result<(Launch, Vec<Pin>)> {
        let handle = spec.handle.as_str();
        let dir = self.store.container_dir(handle);
        let limits = Limits {
            memory_bytes: spec.limits.memory_bytes.filter(|bytes| *bytes > 0),
            cpu_shares: spec.limits.cpu_shares.filter(|shares| *shares > 0),
            pids: self.settings.pids_limit,
        };
        let cgroup = self.cgroups.plan(&file_name(handle), limits).map_err(Error::Unsupported)?;
        let working_dir = absolute(&spec.working_dir, "/");
        let placed = place(&spec.mounts, &working_dir).map_err(Error::Unsupported)?;
        let mut resources =
            Resources { inner: self, dir: &dir, data: Vec::new(), pins: Vec::new() };
        let (root, image_user) = resources.root(&spec.image)?;
        let user = match &spec.user {
            User::Image => image_user,
            User::Named(name) => name.clone(),
        };
        let user =
            if ["root", "0", "0:0", "root:root"].contains(&&*user) { String::new() } else { user };
        let mut mounts = Vec::with_capacity(placed.len());
        for (n, mount) in placed.iter().enumerate() {
            mounts.push(resources.mount(n, mount)?);
        }
        let Resources { data, pins, .. } = resources;
        let shared = self.bridge().is_none();
        let (network, resolv_conf, host) = match spec.network {
            Network::Hermetic => (NetworkPlan::Loopback, Some(String::new()), None),
            Network::Outbound if shared => {
                let text = fs::read_to_string("/etc/resolv.conf").ok();
                (NetworkPlan::Host, text, Some(std::net::Ipv4Addr::LOCALHOST.into()))
            }
            // The address is chosen later, when no other container can take it.
            Network::Outbound => {
                let text = crate::network::read_resolv_conf(&self.settings.dns_servers);
                (NetworkPlan::Loopback, Some(text), None)
            }
        };
        let hosts = crate::network::hosts(&spec.hostname, None, host);
        let launch = Launch {
            handle: handle.to_owned(),
            dir: dir.clone(),
            hostname: spec.hostname.clone(),
            root,
            working_dir,
            mounts,
            user,
            privileged: spec.privileged,
            network,
            files: EtcFiles { hosts, resolv_conf },
            cgroup,
            ids: self.ids.clone(),
            runner: self.settings.runner.clone(),
            without_metadata: spec.kind == ContainerKind::Agent,
            agent: self.agent_program(spec.kind)?,
            data,
        };
        Ok((launch, pins))
    }

    /// The program of agents, for the containers that are theirs.
    fn agent_program(&self, kind: ContainerKind) -> Result<Option<PathBuf>> {
        if !kind.has_agent_program() {
            return Ok(None);
        }
        let program = self.settings.agent.clone();
        let none = || Error::Unsupported("this worker has no program for agents".into());
        program.map(Some).ok_or_else(none)
    }

    /// Makes the container's directory.
    fn write(&self, launch: &Launch) -> Result<()> {
        let write = || -> io::Result<()> {
            // A container that never came to be may have left one.
            self.store.discard(&launch.dir)?;
            fs::create_dir(&launch.dir)?;
            for name in ["root", "upper", "work", "scratch", "journal"] {
                fs::create_dir(launch.dir.join(name))?;
            }
            crate::store::set_mode(&launch.dir.join("upper"), 0o755)?;
            if launch.root.host && launch.ids.is_some() {
                crate::host_image::apply_in_parts(&self.mask, &launch.dir, &self.store.mark())?;
            } else if launch.root.host {
                let layer = launch.dir.join("upper");
                crate::host_image::apply(&self.mask, &layer, &self.store.mark())?;
            }
            crate::store::set_mode(&launch.dir.join("journal"), 0o700)?;
            for mount in &launch.mounts {
                let VolumeSource::Overlay { lowers, upper, work, disposable } = &mount.source
                else {
                    continue;
                };
                fs::create_dir(work)?;
                if *disposable {
                    fs::create_dir(upper)?;
                    if let Some(top) = lowers.first() {
                        imitate(upper, top)?;
                    }
                }
            }
            crate::store::write_json(&launch.dir.join("spec.json"), launch)
        };
        write().map_err(|error| {
            Error::io(format!("cannot prepare container `{}`", launch.handle), error)
        })
    }

    /// Runs the shim and hears from it how it went.
    fn start(&self, launch: &Launch) -> Result<Init> {
        let context = || format!("cannot start container `{}`", launch.handle);
        let Some((program, arguments)) = self.settings.shim.split_first() else {
            return Err(Error::Unsupported("no shim is configured".into()));
        };
        let run = || -> io::Result<(Vec<u8>, String)> {
            let log = fs::File::create(launch.dir.join("runner.log"))?;
            let mut child = Command::new(program)
                .args(arguments)
                .arg("run")
                .arg(&launch.dir)
                // Nothing of the server's environment belongs into a container.
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .current_dir("/")
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(log)
                .spawn()?;
            let output = read_until(&mut child, Instant::now() + SHIM_TIMEOUT);
            if output.is_err() {
                child.kill()?;
            }
            let status = child.wait()?;
            Ok((output?, status.to_string()))
        };
        let (output, status) = run().map_err(|error| Error::io(context(), error))?;
        match serde_json::from_slice(&output) {
            Ok(Outcome::Running(init)) => Ok(init),
            Ok(Outcome::Failed(failure)) => Err(sorted(failure, &launch.handle)),
            Err(_) => {
                let log = fs::read_to_string(launch.dir.join("runner.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it said nothing");
                let message = format!("the shim ended with {status}: {last}");
                Err(Error::io(context(), io::Error::other(message)))
            }
        }
    }
}

/// What a container takes from volumes, gathered.
struct Resources<'a> {
    inner: &'a Inner,
    dir: &'a Path,
    data: Vec<String>,
    pins: Vec<Pin>,
}

impl Resources<'_> {
    fn use_volume(&mut self, handle: &VolumeHandle) -> Result<VolumeRecord> {
        let (record, pin) = self.inner.pinned(handle)?;
        self.pins.push(pin);
        self.data.extend(record.layers().cloned());
        Ok(record)
    }

    fn contents<'b>(&self, ids: impl IntoIterator<Item = &'b String>) -> Vec<PathBuf> {
        ids.into_iter().map(|id| self.inner.store.content(id)).collect()
    }

    /// The root, and the user that the image names.
    fn root(&mut self, image: &Image) -> Result<(Root, String)> {
        let host = |resource: Option<PathBuf>| Root {
            layers: vec!["/".into()],
            subdirectory: None,
            host: true,
            resource,
        };
        match image {
            Image::Host => Ok((host(None), String::new())),
            Image::BaseType(name) => Ok((host(Some(self.base_type(name)?)), String::new())),
            Image::Volume(volume) => {
                let record = self.use_volume(volume)?;
                let metadata = self.image_metadata(&record)?;
                let text = |key: &str| metadata.get(key).and_then(|value| value.as_str());
                let user = text("user").unwrap_or_default().to_owned();
                // A mirror of a container that ran on the machine's own root.
                if text("rootfs") == Some("host") {
                    let resource =
                        text("base_type").map(|name| self.base_type(name)).transpose()?;
                    return Ok((host(resource), user));
                }
                let root = Root {
                    layers: self.contents(record.layers()),
                    subdirectory: Some("rootfs".into()),
                    host: false,
                    resource: None,
                };
                Ok((root, user))
            }
        }
    }

    /// The directory of a built-in resource type.
    fn base_type(&mut self, name: &str) -> Result<PathBuf> {
        let base = self.inner.base.as_ref().map_err(|why| Error::Image(why.clone()))?;
        if !crate::base::types().iter().any(|known| known.name == name) {
            return Err(Error::Image(format!("there is no built-in resource type `{name}`")));
        }
        self.data.push(base.clone());
        Ok(self.inner.store.content(base).join(name))
    }

    /// An image's `metadata.json`; null when it has none.
    fn image_metadata(&self, record: &VolumeRecord) -> Result<serde_json::Value> {
        let explain = |error: io::Error| {
            Error::Image(format!("cannot read the image's metadata.json: {error}"))
        };
        let merged = self.inner.merged(record).map_err(explain)?;
        let path = Path::new("metadata.json");
        let text = jb_archive::pack::read_file(&merged, path, MAX_METADATA).map_err(explain)?;
        let Some(text) = text else { return Ok(serde_json::Value::Null) };
        serde_json::from_slice(&text).map_err(|error| explain(error.into()))
    }

    fn mount(&mut self, n: usize, placed: &Placed) -> Result<VolumeMount> {
        let (source, ownership) = match &placed.source {
            MountSource::Output(volume)
            | MountSource::Cache(volume)
            | MountSource::Link(Link { volume, .. }) => {
                let record = self.make_volume(volume, &[])?;
                (self.writable(n, &record), Ownership::Unless)
            }
            MountSource::Input { volume, copy: None } => {
                let record = self.use_volume(volume)?;
                let source = VolumeSource::Overlay {
                    lowers: self.contents(record.layers()),
                    upper: self.dir.join(format!("input-{n}")),
                    work: self.dir.join(format!("work-{n}")),
                    disposable: true,
                };
                (source, Ownership::All)
            }
            MountSource::Input { volume, copy: Some(copy) } => {
                let record = self.use_volume(volume)?;
                let lowers: Vec<String> = record.layers().cloned().collect();
                let record = if lowers.len() < MAX_LAYERS {
                    self.make_volume(copy, &lowers)?
                } else {
                    self.make_full_copy(copy, &record)?
                };
                (self.writable(n, &record), Ownership::All)
            }
        };
        Ok(VolumeMount { target: placed.target.clone(), source, ownership })
    }

    /// A mount whose writes stay in the volume.
    fn writable(&self, n: usize, record: &VolumeRecord) -> VolumeSource {
        let content = self.inner.store.content(&record.data);
        if record.lowers.is_empty() {
            return VolumeSource::Bind(content);
        }
        VolumeSource::Overlay {
            lowers: self.contents(&record.lowers),
            upper: content,
            work: self.dir.join(format!("work-{n}")),
            disposable: false,
        }
    }

    fn make_volume(&mut self, handle: &VolumeHandle, lowers: &[String]) -> Result<VolumeRecord> {
        let store = &self.inner.store;
        let make = || -> io::Result<()> {
            let new = store.volume(handle.as_str()).is_none();
            let record = store.find_or_create_volume(handle.as_str(), lowers)?;
            match record.lowers.first() {
                Some(top) if new => imitate(&store.content(&record.data), &store.content(top)),
                _ => Ok(()),
            }
        };
        make().map_err(|error| Error::io(format!("cannot make volume `{handle}`"), error))?;
        self.use_volume(handle)
    }

    /// A volume with the whole content of another, for stacks that have become too deep.
    fn make_full_copy(&mut self, handle: &VolumeHandle, of: &VolumeRecord) -> Result<VolumeRecord> {
        let store = &self.inner.store;
        let make = || -> io::Result<()> {
            if store.volume(handle.as_str()).is_some() {
                return Ok(());
            }
            let data = store.new_data()?;
            let _pin = store.pin([data.clone()]);
            crate::transfer::flatten(self.inner.merged(of)?, &store.content(&data))?;
            let handle = handle.as_str().to_owned();
            store.replace_volume(VolumeRecord { handle, data, lowers: Vec::new() })
        };
        make().map_err(|error| Error::io(format!("cannot copy a volume to `{handle}`"), error))?;
        self.use_volume(handle)
    }
}

/// Gives a directory that will cover another the same attributes, as overlays show those of the
/// topmost.
fn imitate(upper: &Path, lower: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(lower)?;
    if crate::privilege::is_root() {
        std::os::unix::fs::chown(upper, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    crate::store::set_mode(upper, metadata.permissions().mode() & 0o7777)
}

fn sorted(failure: Failure, handle: &str) -> Error {
    let context = format!("cannot start container `{handle}`");
    // Its words say which call failed and why; the number alone would not.
    let source = io::Error::other(failure.message.clone());
    match failure.kind {
        FailureKind::Image => Error::Image(failure.message),
        FailureKind::Unsupported => Error::Unsupported(failure.message),
        FailureKind::Io => match failure.errno {
            Some(libc::EAGAIN | libc::ENOMEM | libc::ENOSPC | libc::EMFILE | libc::ENFILE) => {
                Error::Transient { context, source }
            }
            _ => Error::Io { context, source },
        },
    }
}

/// Reads what a process prints until it closes its output.
fn read_until(child: &mut Child, deadline: Instant) -> io::Result<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let Some(stdout) = child.stdout.take() else { return Ok(Vec::new()) };
    let mut output = Vec::new();
    let mut stdout = stdout.take(MOST);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(stdout.get_ref(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the shim hangs")),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 4096];
        match stdout.read(&mut buffer)? {
            0 => return Ok(output),
            n => output.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Ends what may still run of a container whose first process is gone or was never known, and
/// removes everything of it.
pub(super) fn clean_up(store: &Store, launch: &Launch) -> io::Result<()> {
    if let Some(plan) = &launch.cgroup {
        crate::cgroup::kill_all(plan);
        crate::cgroup::remove(plan)?;
    }
    if let NetworkPlan::Bridge(port) = &launch.network {
        // The kernel removes it with the network namespace too, if there was one.
        store.janitor().remove_link(port.veth.clone());
    }
    store.forget_container(&launch.handle, &launch.dir)
}

/// Finds the containers of an earlier server again and clears away those that were not finished.
pub(super) fn adopt(store: &Arc<Store>) -> io::Result<()> {
    for dir in store.container_dirs()? {
        let Ok(launch) = read_json::<Launch>(&dir.join("spec.json")) else {
            store.discard(&dir)?;
            continue;
        };
        // The shim of a server that was killed may still be at work.
        if let Ok(lock) = fs::File::open(dir.join("shim.lock")) {
            rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        }
        let launch = Arc::new(launch);
        match read_json::<Init>(&dir.join("init.json")) {
            Ok(init) => store.remember(launch, Some(init)),
            Err(_) => {
                store.remember(Arc::clone(&launch), None);
                clean_up(store, &launch)?;
            }
        }
    }
    Ok(())
}

/// Removes trees with the ids of containers, through the shim.
pub(super) fn remover(shim: Vec<OsString>, maps: IdMaps) -> Remover {
    Box::new(move |path| {
        let Some((program, arguments)) = shim.split_first() else {
            return Err(io::ErrorKind::PermissionDenied.into());
        };
        let status = Command::new(program)
            .args(arguments)
            .arg("remove")
            .arg(serde_json::to_string(&maps)?)
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if status.success() { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    })
}
