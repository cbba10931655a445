//! Volumes from the server's side: through a pod that has the claim and nothing else.

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jb_artifacts::command::{Command, NO_VOLUME};
use jb_artifacts::frames::{self, PIECE_BYTES_MAX};
use jb_model::VolumeHandle;
use jb_runtime::{ByteStream, Error, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::exec::{Exec, Failure};
use crate::failure::{Answer, Problem, Standing, answer_of, obstacle, standing, waiting_for};
use crate::pod::{self, ARTIFACT_GROUP, MAIN};
use crate::probe::Features;
use crate::settings::Settings;
use crate::{api, names};

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
    name: String,
    turns: Semaphore,
    /// Held while the pod is made.
    making: tokio::sync::Mutex<bool>,
    /// What the pod waits for; empty when it is nothing that is known.
    obstacle: watch::Sender<String>,
    known: Mutex<HashMap<String, Known>>,
    caches: Mutex<HashMap<String, ()>>,
}

impl Artifacts {
    pub(crate) fn new(pods: Api<Pod>, settings: Arc<Settings>, features: Features) -> Self {
        Self {
            name: names::of_worker(&settings.worker_name, "artifacts"),
            pods,
            settings,
            features,
            turns: Semaphore::new(PARALLEL),
            making: tokio::sync::Mutex::new(false),
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
        let list = self.ask(&Command::List).await?;
        Ok(String::from_utf8_lossy(&list).lines().map(str::to_owned).collect())
    }

    pub(crate) async fn create(&self, volume: &VolumeHandle) -> Result<()> {
        self.tell(&Command::Create { volume: volume.to_string() }, None).await?;
        Ok(())
    }

    pub(crate) async fn put_image(&self, volume: &VolumeHandle, json: Vec<u8>) -> Result<()> {
        let command = Command::PutImage { volume: volume.to_string() };
        self.tell(&command, Some(Box::new(Cursor::new(json.clone())))).await?;
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
        let mut answer = self.ask(&command).await?;
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
        let mut exec = self.start(&command).await?;
        // The first piece tells whether there is such a directory.
        let first = match next_piece(&mut exec).await {
            Ok(first) => first,
            Err(_) => return Err(self.explain(&command, exec.end().await.err())),
        };
        let state = (Some(exec), first);
        let pieces = futures_util::stream::unfold(state, async |(exec, next)| {
            let mut exec = exec?;
            let Some(piece) = next else {
                let ended = exec.end().await.map_err(|error| io::Error::other(error.to_string()));
                return ended.err().map(|error| (Err(error), (None, None)));
            };
            let piece = Cursor::new(piece);
            match next_piece(&mut exec).await {
                Ok(next) => Some((Ok(piece), (Some(exec), next))),
                Err(error) => Some((Err(error), (None, None))),
            }
        });
        Ok(Box::new(tokio_util::io::StreamReader::new(Box::pin(pieces))))
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
        }
    }

    async fn start(&self, command: &Command) -> Result<Exec> {
        let _turn = self.turns.acquire().await;
        let args: Vec<String> =
            std::iter::once("/jb-artifacts".to_owned()).chain(command.to_args()).collect();
        let deadline = Instant::now() + self.settings.start_timeout;
        loop {
            self.make().await?;
            match Exec::start(&self.pods, &self.name, MAIN, args.clone()).await {
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

    /// Finds or makes the pod and waits until it has made its directories, without which nobody writes volumes.
    pub(crate) async fn make(&self) -> Result<()> {
        let mut made = self.making.lock().await;
        if *made {
            return Ok(());
        }
        let context = || format!("cannot start pod `{}`, which holds the volumes", self.name);
        let wanted = pod::artifacts(&self.name, &self.settings, self.features);
        let deadline = Instant::now() + self.settings.start_timeout;
        let prepare = Command::Prepare { group: ARTIFACT_GROUP };
        let args: Vec<String> =
            std::iter::once("/jb-artifacts".to_owned()).chain(prepare.to_args()).collect();
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
                    Standing::Placed => {
                        let exec = Exec::start(&self.pods, &self.name, MAIN, args.clone()).await;
                        let prepared = match exec {
                            Ok(mut exec) => {
                                let drained = talk(&mut exec, None, &mut Vec::new()).await;
                                let ended = exec.end().await;
                                ended.map_err(|failure| (drained.is_ok(), failure))
                            }
                            Err(failure) => Err((true, failure)),
                        };
                        match prepared {
                            Ok(()) => {
                                self.set_obstacle(None);
                                *made = true;
                                return Ok(());
                            }
                            Err((_, Failure::Status(_, said))) => {
                                let error = io::Error::other(format!(
                                    "claim `{}` cannot be used: {}",
                                    self.settings.artifact_claim,
                                    said.trim()
                                ));
                                return Err(Error::io(context(), error));
                            }
                            Err(_) => {}
                        }
                    }
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
                let params =
                    DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
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
        Command::Install { .. }
        | Command::Prepare { .. }
        | Command::Extract { .. }
        | Command::Boot { .. }
        | Command::Publish { .. } => "use the volumes".to_owned(),
    }
}

enum Talk {
    Input(io::Error),
    Output(io::Error),
}

/// Sends the input and takes in the answer, at the same time.
async fn talk(
    exec: &mut Exec,
    input: Option<ByteStream>,
    answer: &mut Vec<u8>,
) -> Result<(), Talk> {
    let Exec { stdin, stdout, .. } = exec;
    let mut sending = std::pin::pin!(async {
        let Some(mut input) = input else { return Ok(()) };
        let mut piece = vec![0; PIECE_BYTES_MAX];
        loop {
            match input.read(&mut piece).await.map_err(Talk::Input)? {
                0 => break,
                n => {
                    let sent = async {
                        stdin.write_all(&frames::length(&piece[..n])).await?;
                        stdin.write_all(&piece[..n]).await
                    };
                    sent.await.map_err(Talk::Output)?;
                }
            }
        }
        stdin.write_all(&frames::END).await.map_err(Talk::Output)
    });
    let mut sent = false;
    let mut receiving = std::pin::pin!(async {
        let mut all = Vec::new();
        // One that never answers is cut off here, too.
        stdout.take(ANSWER_BYTES_MAX as u64 * 2).read_to_end(&mut all).await.map(|_| all)
    });
    let all = loop {
        tokio::select! {
            result = &mut sending, if !sent => {
                result?;
                sent = true;
            }
            // A command may end before it has read everything, and says why.
            all = &mut receiving => break all.map_err(Talk::Output)?,
        }
    };
    if all.is_empty() {
        return Ok(());
    }
    let mut reader = frames::FrameReader::new(all.as_slice());
    io::Read::read_to_end(&mut reader, answer).map(drop).map_err(Talk::Output)
}

/// The next piece of an answer; `None` at its end.
async fn next_piece(exec: &mut Exec) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    exec.stdout.read_exact(&mut length).await?;
    let length = frames::check_length(length)?;
    if length == 0 {
        return Ok(None);
    }
    let mut piece = vec![0; length];
    exec.stdout.read_exact(&mut piece).await?;
    Ok(Some(piece))
}
