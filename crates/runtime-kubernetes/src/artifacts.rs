//! Volumes from the server's side: through a pod that has the claim and nothing else, or in an object store, with such a
//! pod for what has to be unpacked.

mod objects;
mod pump;
mod succession;

pub(crate) use objects::failed;

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jb_artifacts::command::{Command, NO_VOLUME};
use jb_artifacts::{Kind, alive};
use jb_model::VolumeHandle;
use jb_object_store::ObjectStore;
use jb_runtime::{ByteStream, Error, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::api;
use crate::exec::{Exec, Failure};
use crate::failure::{Answer, Problem, Standing, answer_of, obstacle, standing, waiting_for};
use crate::pod::{self, ARTIFACT_GROUP, MAIN};
use crate::probe::Features;
use crate::settings::Settings;
use pump::{Talk, talk};

/// Commands in the pod at the same time.
const PARALLEL: usize = 16;
/// Volumes remembered; when there are more, all are looked up anew.
const REMEMBERED_MAX: usize = 20_000;
/// The most that is read of an answer that is kept in memory, files that are read whole included.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Between looks at a pod that is starting.
const START_PAUSE: Duration = Duration::from_millis(150);
/// How often a command is begun again when its connection breaks.
const ATTEMPTS: u32 = 5;
/// How often a command says that it is alive within the time that it may be silent.
const ALIVE_PARTS: u32 = 3;

/// What is known of a volume.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    Archive,
    /// As [`Artifacts::put_image`] was told.
    Image(Arc<Vec<u8>>),
}

pub(crate) struct Artifacts {
    pods: Api<Pod>,
    settings: Arc<Settings>,
    features: Features,
    /// Where volumes are, if not in the claim.
    store: Option<Arc<ObjectStore>>,
    name: String,
    turns: Semaphore,
    /// Held while the pod is made.
    making: tokio::sync::Mutex<bool>,
    /// Whether pods of earlier versions were looked for.
    succeeded: AtomicBool,
    /// What the pod waits for; empty when it is nothing that is known.
    obstacle: watch::Sender<String>,
    known: Mutex<HashMap<String, Known>>,
    caches: Mutex<HashMap<String, ()>>,
}

impl Artifacts {
    pub(crate) fn new(
        pods: Api<Pod>,
        settings: Arc<Settings>,
        features: Features,
        store: Option<Arc<ObjectStore>>,
    ) -> Self {
        Self {
            store,
            name: pod::artifacts_name(&settings, features),
            pods,
            settings,
            features,
            turns: Semaphore::new(PARALLEL),
            making: tokio::sync::Mutex::new(false),
            succeeded: AtomicBool::new(false),
            obstacle: watch::Sender::new(String::new()),
            known: Mutex::default(),
            caches: Mutex::default(),
        }
    }

    /// Tells what the pod that holds the volumes waits for, and nobody gets volumes without.
    pub(crate) fn obstacle(&self) -> watch::Receiver<String> {
        self.obstacle.subscribe()
    }

    fn set_obstacle(&self, why: Option<String>) {
        let why = why.map(|why| format!("pod `{}`, which holds the volumes: {why}", self.name));
        let why = why.unwrap_or_default();
        self.obstacle.send_if_modified(|known| {
            let is_new = *known != why;
            *known = why;
            is_new
        });
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remember(&self, volume: &str, what: Known) {
        let mut known = self.known();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(volume.to_owned(), what);
    }

    /// What a volume is, if it is there. Volumes that others destroyed meanwhile may still be known.
    pub(crate) async fn find(&self, volume: &VolumeHandle) -> Result<Option<Known>> {
        if let Some(known) = self.known().get(volume.as_str()) {
            return Ok(Some(known.clone()));
        }
        if let Some(store) = &self.store {
            return self.find_object(store, volume).await;
        }
        self.find_file(volume).await
    }

    async fn find_file(&self, volume: &VolumeHandle) -> Result<Option<Known>> {
        let kind = self.ask(&Command::Kind { volume: volume.to_string() }).await?;
        let found = match kind.as_slice() {
            b"archive" => Known::Archive,
            b"image" => {
                let image = self.ask(&Command::Image { volume: volume.to_string() }).await?;
                Known::Image(Arc::new(image))
            }
            _ => return Ok(None),
        };
        self.remember(volume.as_str(), found.clone());
        Ok(Some(found))
    }

    pub(crate) async fn list(&self) -> Result<Vec<String>> {
        let objects = match &self.store {
            Some(store) => self.list_objects(store).await?,
            None => Vec::new(),
        };
        if !self.has_files() {
            return Ok(objects);
        }
        let list = self.ask(&Command::List).await?;
        let files = String::from_utf8_lossy(&list).lines().map(str::to_owned).collect::<Vec<_>>();
        Ok(files.into_iter().chain(objects).collect())
    }

    /// Whether there is a claim: caches have one also where volumes are objects.
    fn has_files(&self) -> bool {
        self.store.is_none() || self.settings.cache_claim.is_some()
    }

    pub(crate) async fn create(&self, volume: &VolumeHandle) -> Result<()> {
        if let Some(store) = &self.store {
            return self.create_object(store, volume).await;
        }
        self.tell(&Command::Create { volume: volume.to_string() }, None).await?;
        Ok(())
    }

    pub(crate) async fn put_image(&self, volume: &VolumeHandle, json: Vec<u8>) -> Result<()> {
        if let Some(store) = &self.store {
            let name = self.object(volume.as_str(), Kind::Image)?;
            store.write(&name, json.clone()).await.map_err(objects::failed)?;
        } else {
            let command = Command::PutImage { volume: volume.to_string() };
            self.tell(&command, Some(Box::new(Cursor::new(json.clone())))).await?;
        }
        self.remember(volume.as_str(), Known::Image(Arc::new(json)));
        Ok(())
    }

    pub(crate) async fn add(
        &self,
        volume: &VolumeHandle,
        path: &str,
        tar: ByteStream,
    ) -> Result<()> {
        let command = Command::Add {
            volume: volume.to_string(),
            path: path.to_owned(),
            limit: self.settings.max_archive_bytes,
        };
        if let Some(store) = &self.store {
            return self.add_to_object(store, volume, command, tar).await;
        }
        self.tell(&command, Some(tar)).await.map(drop)
    }

    pub(crate) async fn read(
        &self,
        volume: &VolumeHandle,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>> {
        let command = Command::Read {
            volume: volume.to_string(),
            path: path.to_owned(),
            limit: limit.min(ANSWER_BYTES_MAX - 1) as u64,
        };
        let mut answer = match &self.store {
            Some(store) => self.ask_of_object(store, volume, command).await?,
            None => self.ask(&command).await?,
        };
        Ok(match answer.first() {
            Some(1) => {
                answer.remove(0);
                Some(answer)
            }
            _ => None,
        })
    }

    pub(crate) async fn remove(&self, volume: &VolumeHandle) -> Result<()> {
        self.known().remove(volume.as_str());
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).remove(volume.as_str());
        if let Some(store) = &self.store
            && (self.remove_object(store, volume).await? || !self.has_files())
        {
            return Ok(());
        }
        self.tell(&Command::Remove { volume: volume.to_string() }, None).await.map(drop)
    }

    /// Makes sure that caches are there for steps to mount.
    pub(crate) async fn make_caches(&self, volumes: Vec<String>) -> Result<()> {
        let missing: Vec<String> = {
            let caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
            volumes.into_iter().filter(|volume| !caches.contains_key(volume)).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        self.tell(&Command::MakeCaches { volumes: missing.clone() }, None).await?;
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.extend(missing.into_iter().map(|volume| (volume, ())));
        Ok(())
    }

    /// A tar archive of a directory of a volume, which ends with an error rather than too early.
    pub(crate) async fn archive(&self, volume: &VolumeHandle, path: &str) -> Result<ByteStream> {
        let command = Command::Archive { volume: volume.to_string(), path: path.to_owned() };
        match &self.store {
            Some(store) => self.archive_object(store, volume, command).await,
            None => self.stream(&command, Vec::new()).await,
        }
    }

    /// Runs a command with inputs, one after the other, and returns what it answers as it comes.
    async fn stream(&self, command: &Command, inputs: Vec<ByteStream>) -> Result<ByteStream> {
        let exec = self.start(command).await?;
        self.answer_of(exec, command, inputs).await
    }

    /// The first piece tells whether there is such a volume.
    async fn answer_of(
        &self,
        exec: Exec,
        command: &Command,
        inputs: Vec<ByteStream>,
    ) -> Result<ByteStream> {
        match pump::begin(exec, inputs).await {
            Ok(stream) => Ok(stream),
            Err(Talk::Input(error)) => {
                Err(Error::io(format!("cannot {}", describe(command)), error))
            }
            Err(Talk::Output(error)) => Err(self.explain(command, Some(Failure::Lost(error)))),
            Err(Talk::Ended(failure)) => Err(self.explain(command, Some(failure))),
        }
    }

    /// Runs a command that changes nothing, and answers; again when its connection breaks.
    async fn ask(&self, command: &Command) -> Result<Vec<u8>> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.tell(command, None).await {
                Err(Error::Transient { .. }) if attempt < ATTEMPTS => {}
                result => return result,
            }
        }
    }

    /// Runs a command to its end and returns what it answers, if anything.
    async fn tell(&self, command: &Command, input: Option<ByteStream>) -> Result<Vec<u8>> {
        let mut exec = self.start(command).await?;
        let mut answer = Vec::new();
        let talked = talk(&mut exec, input, &mut answer).await;
        let ended = exec.end().await;
        match (talked, ended) {
            (Ok(()), Ok(())) => Ok(answer),
            (Err(Talk::Input(error)), _) => {
                Err(Error::io(format!("cannot {}", describe(command)), error))
            }
            (_, Err(failure)) => Err(self.explain(command, Some(failure))),
            (Err(Talk::Output(error)), Ok(())) => {
                Err(Error::io(format!("cannot {}", describe(command)), error))
            }
            (Err(Talk::Ended(failure)), Ok(())) => Err(self.explain(command, Some(failure))),
        }
    }

    async fn start(&self, command: &Command) -> Result<Exec> {
        let _turn = self.turns.acquire().await;
        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            self.make().await?;
            match self.exec(&self.name, MAIN, "/jb-artifacts", command).await {
                Ok(exec) => return Ok(exec),
                Err(failure) if Instant::now() < deadline && is_passing(&failure) => {
                    tracing::debug!(%failure, "the pod for artifacts cannot be used yet");
                    *self.making.lock().await = false;
                    tokio::time::sleep(START_PAUSE).await;
                }
                Err(failure) => return Err(self.explain(command, Some(failure))),
            }
        }
    }

    /// Runs a command in a container. A stream that breaks without a word is noticed, however long the command takes.
    async fn exec(
        &self,
        pod: &str,
        container: &str,
        program: &str,
        command: &Command,
    ) -> Result<Exec, Failure> {
        let silence_max = self.settings.stream_silence;
        let mut args = vec![program.to_owned()];
        args.extend(alive::args(silence_max / ALIVE_PARTS));
        args.extend(command.to_args());
        Exec::start(&self.pods, pod, container, args, Some(silence_max)).await
    }

    /// Finds or makes the pod and waits until it has made its directories, without which nobody writes volumes.
    pub(crate) async fn make(&self) -> Result<()> {
        let mut made = self.making.lock().await;
        if *made {
            return Ok(());
        }
        let context = || format!("cannot start pod `{}`, which holds the volumes", self.name);
        let wanted = pod::artifacts(&self.name, &self.settings, self.features);
        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            let found =
                api::call("look for the pod for artifacts", || self.pods.get_opt(&self.name));
            let found = found.await.map_err(|error| api::failed(context(), error))?;
            let Some(found) = found else {
                let params = PostParams::default();
                let created = api::call_until_room(
                    "create the pod for artifacts",
                    self.settings.start_timeout,
                    || self.pods.create(&params, &wanted),
                    |why| self.set_obstacle(Some(why.to_owned())),
                );
                match created.await {
                    Ok(_) => continue,
                    Err(error) if answer_of(&error) == Answer::Exists => continue,
                    Err(error) => return Err(api::failed(context(), error)),
                }
            };
            if found.metadata.deletion_timestamp.is_none() {
                match standing(&found) {
                    Standing::Over(problem) => self.give_up(problem).await?,
                    Standing::Placed => match self.prepare().await {
                        Ok(()) => {
                            self.set_obstacle(None);
                            *made = true;
                            return Ok(());
                        }
                        Err(Failure::Status(_, said)) => {
                            let claim = self.settings.artifact_claim().unwrap_or_default();
                            let error = io::Error::other(format!(
                                "claim `{claim}` cannot be used: {}",
                                said.trim()
                            ));
                            return Err(Error::io(context(), error));
                        }
                        Err(_) => {}
                    },
                    Standing::Waiting(_) => {}
                }
            }
            self.set_obstacle(obstacle(&found));
            if Instant::now() > deadline {
                let source = io::Error::other(waiting_for(&found));
                return Err(Error::Transient { context: context(), source });
            }
            tokio::time::sleep(START_PAUSE).await;
        }
    }

    /// Has the pod make its directories. Without a claim there are none, and this only tells that there is a pod.
    async fn prepare(&self) -> Result<(), Failure> {
        let prepare = match self.store {
            None => Command::Prepare { group: ARTIFACT_GROUP },
            Some(_) => Command::MakeCaches { volumes: Vec::new() },
        };
        let mut exec = self.exec(&self.name, MAIN, "/jb-artifacts", &prepare).await?;
        // What it says is in the failure; how it ended tells whether the stream was whole.
        let _ = talk(&mut exec, None, &mut Vec::new()).await;
        exec.end().await
    }

    /// Deletes a pod that ended, so that the next look makes another; what cannot get better is an error.
    async fn give_up(&self, problem: Problem) -> Result<()> {
        let context = format!("cannot start pod `{}`, which holds the volumes", self.name);
        match problem {
            Problem::Image(text) => Err(Error::Image(format!("{context}: {text}"))),
            Problem::NoVolume(text) | Problem::Other(text) => {
                tracing::warn!(
                    pod = self.name,
                    problem = text,
                    "the pod for artifacts ended; making another"
                );
                let params = DeleteParams::default().grace_period(0);
                let deleted =
                    api::call("delete a pod", || self.pods.delete(&self.name, &params)).await;
                match deleted {
                    Err(error) if answer_of(&error) != Answer::Missing => {
                        Err(api::failed(context, error))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn explain(&self, command: &Command, failure: Option<Failure>) -> Error {
        let context = format!("cannot {}", describe(command));
        match failure {
            Some(Failure::Api(error)) => api::failed(context, error),
            Some(Failure::Status(status, said)) if status == i32::from(NO_VOLUME) => {
                let volume = said.split('`').nth(1).unwrap_or_default();
                self.known().remove(volume);
                Error::NoVolume(VolumeHandle::new(volume))
            }
            Some(Failure::Status(_, said)) => {
                Error::Io { context, source: io::Error::other(said.trim().to_owned()) }
            }
            Some(Failure::NotRun(why)) => {
                Error::Transient { context, source: io::Error::other(why) }
            }
            Some(Failure::Lost(source)) => Error::Transient { context, source },
            None => Error::Transient { context, source: io::ErrorKind::UnexpectedEof.into() },
        }
    }
}

/// Whether the pod may only have to be made anew, or to come up.
fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::NotRun(_) | Failure::Lost(_) => true,
        Failure::Api(error) => matches!(answer_of(error), Answer::Missing | Answer::Busy),
        Failure::Status(..) => false,
    }
}

/// The command for a message, after `cannot`.
fn describe(command: &Command) -> String {
    match command {
        Command::Create { volume } => format!("create volume `{volume}`"),
        Command::Kind { volume } | Command::Image { volume } => {
            format!("look for volume `{volume}`")
        }
        Command::Add { volume, path, .. } => {
            format!("extract an archive into `{path}` of volume `{volume}`")
        }
        Command::Archive { volume, path } => format!("read `{path}` of volume `{volume}`"),
        Command::Read { volume, path, .. } => format!("read file `{path}` of volume `{volume}`"),
        Command::PutImage { volume } => format!("keep the image `{volume}`"),
        Command::Remove { volume } => format!("remove volume `{volume}`"),
        Command::MakeCaches { .. } => "make caches".to_owned(),
        Command::List => "list the volumes".to_owned(),
        Command::Piped(command) => describe(command),
        Command::Receive { volume, .. } => format!("fetch volume `{volume}`"),
        Command::Rest { .. }
        | Command::Install { .. }
        | Command::Fetch
        | Command::Store
        | Command::Send { .. }
        | Command::Prepare { .. }
        | Command::Extract { .. }
        | Command::Boot { .. }
        | Command::Publish { .. } => "use the volumes".to_owned(),
    }
}
