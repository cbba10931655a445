//! Whether runners are reached by their ports. Where that is forbidden, or does not work, commands are executed instead.

use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;

use crate::exec::Failure;
use crate::failure::{Answer, answer_of};
use crate::keys::{Key, Keys, lock};
use crate::pod::port;

/// After so many runners that were reached by a command and not by their port, ports are left alone, if none ever
/// worked.
const IN_VAIN_MAX: u32 = 5;

pub(super) struct Ports {
    keys: Keys,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    worked: bool,
    in_vain: u32,
    given_up: bool,
}

impl Ports {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the runners of a pod that is about to be made listen.
    pub(super) fn open(&self, pod: &mut Pod) {
        if !self.lock().given_up {
            let key = self.key(pod);
            port::open(pod, &lock(&key));
        }
    }

    /// The port of a container's runner, and the key that it wants.
    pub(super) fn to(&self, pod: &Pod, container: &str) -> Option<(u16, Key)> {
        if self.lock().given_up {
            return None;
        }
        let key = self.key(pod);
        Some((port::to(pod, container, &lock(&key))?, key))
    }

    fn key(&self, pod: &Pod) -> Key {
        self.keys.of(pod.metadata.name.as_deref().unwrap_or_default())
    }

    pub(super) fn came_through(&self) {
        self.lock().worked = true;
    }

    /// Takes that a runner was not reached by its port, although it listened on its socket.
    pub(super) fn did_without(&self, failure: &Failure) {
        let mut known = self.lock();
        known.in_vain += 1;
        let forbidden =
            matches!(failure, Failure::Api(error) if answer_of(error) == Answer::Forbidden);
        if known.given_up || !forbidden && (known.worked || known.in_vain < IN_VAIN_MAX) {
            return;
        }
        known.given_up = true;
        tracing::info!(
            %failure,
            "runners are reached by executed commands, which costs nodes more than ports (the right `pods/portforward`)"
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use kube::core::Status;

    use super::*;
    use crate::pod::tests::{ALL, image, settings, task};
    use crate::pod::{Found, MAIN, step};

    /// A pod of this server's, and of another.
    fn pods(ports: &Ports) -> [Pod; 2] {
        let other = Ports::new(Keys::new([2; 64]));
        [ports, &other].map(|ports| {
            let mut pod = step(&task(), &image(), &Found::default(), &settings(), ALL).unwrap();
            ports.open(&mut pod);
            pod
        })
    }

    fn refused() -> Failure {
        Failure::NotRun("connection refused".into())
    }

    #[test]
    fn only_who_made_a_pod_has_its_key() {
        let ports = Ports::new(Keys::new([1; 64]));
        let [own, other] = pods(&ports);
        assert!(ports.to(&own, MAIN).is_some());
        assert_eq!(ports.to(&other, MAIN), None);
    }

    #[test]
    fn what_never_works_is_left_alone() {
        let ports = Ports::new(Keys::new([1; 64]));
        let [own, _] = pods(&ports);
        (1..IN_VAIN_MAX).for_each(|_| ports.did_without(&refused()));
        assert!(ports.to(&own, MAIN).is_some());
        ports.did_without(&refused());
        assert_eq!(ports.to(&own, MAIN), None);
    }

    #[test]
    fn what_works_is_tried_again() {
        let ports = Ports::new(Keys::new([1; 64]));
        let [own, _] = pods(&ports);
        ports.came_through();
        (0..100).for_each(|_| ports.did_without(&refused()));
        assert!(ports.to(&own, MAIN).is_some());
    }

    #[test]
    fn what_is_forbidden_is_not_asked_for_again() {
        let ports = Ports::new(Keys::new([1; 64]));
        let [own, _] = pods(&ports);
        ports.came_through();
        let status = Status { code: 403, ..Status::failure("no", "Forbidden") };
        ports.did_without(&Failure::Api(kube::Error::Api(Box::new(status))));
        assert_eq!(ports.to(&own, MAIN), None);
    }
}
