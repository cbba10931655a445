//! What every runtime must do, as checks that an adapter's tests run against it.
//!
//! Each check makes handles of its own from the prefix it is given, so that checks can share a
//! runtime, and clears them away when it passes. Containers need `/bin/sh`, `cat`, `ls`, `rm` and
//! `mkdir`, which `Subject::image` must have.

use std::time::Duration;

use jb_model::config::ContainerLimits;
use jb_model::event::LogSource;
use jb_model::{ContainerHandle, VolumeHandle};
use tokio::io::AsyncReadExt;

use crate::client::{Output, ProcessSpec, RunnerClient, Stdin};
use crate::{
    ByteStream, ContainerKind, ContainerSpec, Coordinates, Error, Image, Mount, MountSource,
    Network, Runtime, User,
};

mod archive;
mod containers;
mod volumes;

pub use containers::{
    asking_twice_is_harmless, destroying_ends_everything, hermetic_containers_run,
    output_and_exit_status_arrive, processes_outlive_their_connection, unknown_images_are_refused,
    working_directory_is_there,
};
pub use volumes::{
    archives_cannot_leave, archives_keep_what_they_hold, caches_stay, copies_become_outputs,
    files_are_read_with_bounds, inputs_are_copies, missing_volumes_are_told, mounts_nest,
    outputs_stay, volumes_in_use_are_kept, volumes_of_users,
};

/// What failed, in words.
pub type Outcome = Result<(), String>;

/// A runtime to check.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub runtime: &'a dyn Runtime,
    /// With a shell; the containers' image.
    pub image: &'a Image,
    /// Handles start with this.
    pub prefix: &'a str,
}

/// How long one process of a check may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs every check, one after the other; the first failure is named after its check.
pub async fn run_all(subject: Subject<'_>) -> Outcome {
    macro_rules! all {
        ($($check:ident),* $(,)?) => {$(
            let prefix = format!("{}-{}", subject.prefix, stringify!($check).replace('_', "-"));
            let own = Subject { prefix: &prefix, ..subject };
            $check(own).await.map_err(|failure| format!("{}: {failure}", stringify!($check)))?;
        )*};
    }
    all![
        output_and_exit_status_arrive,
        working_directory_is_there,
        asking_twice_is_harmless,
        destroying_ends_everything,
        processes_outlive_their_connection,
        hermetic_containers_run,
        unknown_images_are_refused,
        inputs_are_copies,
        outputs_stay,
        caches_stay,
        copies_become_outputs,
        mounts_nest,
        volumes_of_users,
        volumes_in_use_are_kept,
        missing_volumes_are_told,
        archives_keep_what_they_hold,
        archives_cannot_leave,
        files_are_read_with_bounds,
    ];
    Ok(())
}

/// What a process left behind.
#[derive(Debug, PartialEq, Eq)]
struct Finished {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Subject<'_> {
    fn container(&self, name: &str) -> ContainerHandle {
        ContainerHandle::new(format!("{}-{name}", self.prefix))
    }

    fn volume(&self, name: &str) -> VolumeHandle {
        VolumeHandle::new(format!("{}-{name}", self.prefix))
    }

    fn spec(&self, name: &str, mounts: Vec<Mount>) -> ContainerSpec {
        ContainerSpec {
            handle: self.container(name),
            kind: ContainerKind::Task,
            image: self.image.clone(),
            hostname: "conformance".into(),
            working_dir: "/tmp/build/conformance".into(),
            mounts,
            limits: ContainerLimits::default(),
            privileged: false,
            network: Network::Outbound,
            user: User::Image,
            source: None,
            coordinates: Coordinates::default(),
        }
    }

    async fn create(&self, spec: &ContainerSpec) -> Outcome {
        self.runtime.create(spec).await.map_err(|error| format!("create failed: {error}"))
    }

    async fn destroy(&self, name: &str) -> Outcome {
        let destroyed = self.runtime.destroy(&self.container(name)).await;
        destroyed.map_err(|error| format!("destroy failed: {error}"))
    }

    /// Ends a container whose outputs are wanted.
    async fn finish(&self, name: &str) -> Outcome {
        let settled = self.runtime.settle(&self.container(name)).await;
        settled.map_err(|error| format!("settle failed: {error}"))?;
        self.destroy(name).await
    }

    async fn connect(&self, name: &str) -> Result<RunnerClient, String> {
        let explain = |error: Error| format!("cannot reach the runner: {error}");
        let stream = self.runtime.connect(&self.container(name)).await.map_err(explain)?;
        RunnerClient::handshake(stream).await.map_err(explain)
    }

    /// Runs a script in a container by `/bin/sh` in the working directory.
    async fn sh(&self, name: &str, script: &str) -> Result<Finished, String> {
        let client = self.connect(name).await?;
        // The same script twice is two processes.
        let known = client.processes().await.map_err(|error| error.to_string())?.len();
        let id = format!("sh-{known}");
        let spec = shell(script, None);
        client.start(&id, spec).await.map_err(|error| format!("`{script}`: {error}"))?;
        follow(&client, &id, 0).await
    }

    /// The output of a script that must succeed.
    async fn ok(&self, name: &str, script: &str) -> Result<String, String> {
        let finished = self.sh(name, script).await?;
        if finished.status == 0 {
            return Ok(finished.stdout);
        }
        Err(format!("`{script}` ended with {}: {}", finished.status, finished.stderr))
    }

    async fn make_volume(
        &self,
        name: &str,
        entries: &[archive::Entry<'_>],
    ) -> Result<VolumeHandle, String> {
        let volume = self.volume(name);
        let made = self.runtime.create_volume(&volume).await;
        made.map_err(|error| format!("create_volume failed: {error}"))?;
        let filled = self.runtime.stream_in(&volume, ".", archive::stream(entries)).await;
        filled.map_err(|error| format!("stream_in failed: {error}"))?;
        Ok(volume)
    }

    /// A file of a volume that must be there.
    async fn file(&self, volume: &VolumeHandle, path: &str) -> Result<String, String> {
        match self.runtime.read_file(volume, path, 1 << 20).await {
            Ok(Some(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(None) => Err(format!("volume `{volume}` has no file `{path}`")),
            Err(error) => Err(format!("read_file failed: {error}")),
        }
    }

    async fn remove_volumes(&self, names: &[&str]) -> Outcome {
        for name in names {
            let destroyed = self.runtime.destroy_volume(&self.volume(name)).await;
            destroyed.map_err(|error| format!("destroy_volume failed: {error}"))?;
        }
        Ok(())
    }
}

fn shell(script: &str, user: Option<&str>) -> ProcessSpec {
    ProcessSpec {
        path: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/sbin:/usr/sbin".into())],
        dir: "/tmp/build/conformance".into(),
        user: user.map(str::to_owned),
        stdin: Stdin::Null,
        ..ProcessSpec::default()
    }
}

/// Reads a process's journal to its end.
async fn follow(client: &RunnerClient, id: &str, from_seq: u64) -> Result<Finished, String> {
    let reading = async {
        let mut attached =
            client.attach(id, from_seq).await.map_err(|error| format!("attach failed: {error}"))?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(output) = attached.next().await {
            match output {
                Output::Data { stream: LogSource::Stderr, bytes, .. } => stderr.extend(bytes),
                Output::Data { bytes, .. } => stdout.extend(bytes),
                Output::Exited { status, .. } => {
                    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                    return Ok(Finished { status, stdout: text(stdout), stderr: text(stderr) });
                }
            }
        }
        Err("the stream ended before the process".to_owned())
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .map_err(|_| format!("process `{id}` did not end within a minute"))?
}

async fn read_all(mut stream: ByteStream) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes).await;
    read.map_err(|error| format!("reading an archive failed: {error}"))?;
    Ok(bytes)
}

fn input(path: &str, volume: &VolumeHandle) -> Mount {
    Mount { path: path.into(), source: MountSource::Input { volume: volume.clone(), copy: None } }
}

fn output(path: &str, volume: &VolumeHandle) -> Mount {
    Mount { path: path.into(), source: MountSource::Output(volume.clone()) }
}

fn cache(path: &str, volume: &VolumeHandle) -> Mount {
    Mount { path: path.into(), source: MountSource::Cache(volume.clone()) }
}

/// A failure that shows both sides.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, expected {expected:?}"))
}
