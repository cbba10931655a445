//! Reaching the runner of a container that is there.

use std::io;
use std::time::Duration;

use jb_model::ContainerHandle;
use jb_runtime::{Error, Result, RunnerStream};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::{Inner, words};
use crate::api;
use crate::exec::{self, Failure};
use crate::failure::{Answer, Standing, answer_of, is_of_node, standing, unreachable};
use crate::forward;
use crate::pod::{self, MAIN};
use crate::waits::Waits;

/// Between attempts to reach by its port a runner that has just started. Several cost less than one executed command.
const PORT_PAUSES: [Duration; 5] = {
    let ms = Duration::from_millis;
    [ms(30), ms(60), ms(120), ms(240), ms(480)]
};
/// Between attempts to reach a runner whose API server or kubelet does not answer.
const CONNECT_PAUSE: Duration = Duration::from_millis(500);
/// How long those are waited for.
const CONNECT_PATIENCE: Duration = Duration::from_secs(120);
/// After this long, whoever watches is told. What restarts is back before.
const CONNECT_TELL: Duration = Duration::from_secs(10);

/// Since when a runner is not reached for the same reason, and whether that was told.
#[derive(Debug, Default)]
struct Unreached {
    known: Option<Reason>,
}

#[derive(Debug)]
struct Reason {
    is_node: bool,
    since: Instant,
    is_told: bool,
}

impl Unreached {
    /// Takes that the runner was not reached again, because of its node or for another reason.
    fn is_to_be_told(&mut self, is_node: bool, now: Instant) -> bool {
        let known = self.known.take().filter(|known| known.is_node == is_node);
        let mut known = known.unwrap_or(Reason { is_node, since: now, is_told: false });
        let is_due = !known.is_told && now >= known.since + CONNECT_TELL;
        known.is_told |= is_due;
        self.known = Some(known);
        is_due
    }
}

impl Inner {
    /// The stream that is there, or a new one.
    pub(super) async fn connect(
        &self,
        handle: &ContainerHandle,
        waits: &Waits,
    ) -> Result<Box<dyn RunnerStream>> {
        let spare = self.spare().remove(handle);
        if let Some((_, stream)) = spare {
            return Ok(stream);
        }
        // A pod of its own is known by its label, and most containers have one.
        if self.table.of(handle).is_none()
            && let Some(stream) = self.connect_check(handle).await?
        {
            return Ok(stream);
        }
        let reached = self.reach(handle, MAIN, waits).await;
        reached.map_err(|error| self.explained(handle, error))
    }

    /// Of a pod that the cluster took away, why it did so.
    pub(super) fn explained(&self, handle: &ContainerHandle, error: Error) -> Error {
        match (error, self.table.lost(handle)) {
            (Error::NoContainer(_), Some(why)) => {
                Error::io(format!("container `{handle}` is gone"), io::Error::other(why))
            }
            (error, _) => error,
        }
    }

    /// Tries once to reach the runner in one of a pod's containers: by its port, or else by a command executed in it,
    /// which waits for the runner to listen.
    pub(super) async fn attempt(
        &self,
        pod: &Pod,
        container: &str,
    ) -> Result<Box<dyn RunnerStream>, Failure> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let failure = match self.by_port(pod, name, container).await {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(Failure::Api(error))) if is_of_connection(&error) => {
                return Err(Failure::Api(error));
            }
            Some(Err(failure)) => Some(failure),
            None => None,
        };
        let silence_max = self.settings.stream_silence;
        let stream =
            exec::connect(&self.pods, name, container, pod::connect(), silence_max).await?;
        if let Some(failure) = failure {
            tracing::debug!(pod = name, container, %failure, "a runner was not reached by its port");
            self.ports.did_without(&failure);
        }
        Ok(Box::new(stream))
    }

    /// A runner that has just started may not listen yet. `None` where there is no port.
    async fn by_port(
        &self,
        pod: &Pod,
        name: &str,
        container: &str,
    ) -> Option<Result<Box<dyn RunnerStream>, Failure>> {
        let (port, key) = self.ports.to(pod, container)?;
        let silence_max = self.settings.stream_silence;
        let mut pauses = PORT_PAUSES.into_iter();
        loop {
            match forward::connect(&self.pods, name, port, &key, silence_max).await {
                Ok(stream) => {
                    self.ports.came_through();
                    return Some(Ok(Box::new(stream)));
                }
                Err(failure @ Failure::NotRun(_))
                    if self.starts.of(pod, container) == Some(true) =>
                {
                    match pauses.next() {
                        Some(pause) => tokio::time::sleep(pause).await,
                        None => return Some(Err(failure)),
                    }
                }
                Err(failure) => return Some(Err(failure)),
            }
        }
    }

    /// Reaches the runner in one of a pod's containers. What may pass is waited for.
    pub(super) async fn reach(
        &self,
        handle: &ContainerHandle,
        container: &str,
        waits: &Waits,
    ) -> Result<Box<dyn RunnerStream>> {
        let context = || format!("cannot connect to the runner of container `{handle}`");
        let begun = Instant::now();
        let mut unreached = Unreached::default();
        loop {
            let pod = self.pod_of(handle).await?;
            if let Standing::Over(problem) = standing(&pod) {
                return Err(Error::io(context(), io::Error::other(words(problem))));
            }
            let failure = match self.attempt(&pod, container).await {
                Ok(stream) => return Ok(stream),
                Err(failure) => failure,
            };
            let (kind, text) = match failure {
                Failure::Api(error) => match answer_of(&error) {
                    // The next look finds out whether the pod is gone.
                    Answer::Missing | Answer::Busy | Answer::Full | Answer::Exists => {
                        (io::ErrorKind::ConnectionRefused, api::text_of(&error))
                    }
                    Answer::Forbidden | Answer::Ending | Answer::Refused => {
                        return Err(api::failed(context(), error));
                    }
                },
                other => (io::ErrorKind::ConnectionReset, other.to_string()),
            };
            tracing::debug!(%handle, container, failure = text, "a runner cannot be reached");
            if unreached.is_to_be_told(is_of_node(&text), Instant::now()) {
                waits.tell(&unreachable(&pod, &text));
            }
            if begun.elapsed() > CONNECT_PATIENCE {
                return Err(Error::Transient {
                    context: context(),
                    source: io::Error::new(kind, text),
                });
            }
            // A pod that went meanwhile is only known to be gone once the watch says so.
            let (mut changes, mut starts) = (self.table.changes(), self.starts.changes());
            tokio::select! {
                _ = changes.changed() => {}
                _ = starts.changed() => {}
                () = tokio::time::sleep(CONNECT_PAUSE) => {}
            }
        }
    }
}

/// Whether the API server itself is not there to be asked.
fn is_of_connection(error: &kube::Error) -> bool {
    matches!(error, kube::Error::HyperError(_) | kube::Error::Service(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_that_stays_is_told_once() {
        let begin = Instant::now();
        let mut unreached = Unreached::default();
        let mut told = |is_node, seconds| {
            unreached.is_to_be_told(is_node, begin + Duration::from_secs(seconds))
        };
        assert_eq!(
            [0, 9, 10, 11, 100].map(|at| told(true, at)),
            [false, false, true, false, false]
        );
        // The node is back, and soon the runner answers, too.
        assert_eq!([101, 105].map(|at| told(false, at)), [false, false]);
        assert_eq!([106, 115, 116].map(|at| told(true, at)), [false, false, true]);
    }
}
