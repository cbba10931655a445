//! A check among others in one pod: who it is there, and what its processes may be. Pure.

use jb_model::ContainerHandle;
use jb_runner_protocol::ProcessSpec;
use jb_runtime::{ContainerKind, ContainerSpec, Image};
use sha2::{Digest as _, Sha256};

use crate::settings::PodSecurity;

/// The user of the first source in a pod; the images of built-in types have names for as many as a pod takes.
const FIRST_USER: u32 = 20_000;
/// The longest handle that leaves room for names of processes.
const HANDLE_BYTES_MAX: usize = 120;

/// What keeps the checks of different sources apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// A pod for each source. Scripts that are not ours may rely on being root, on a home directory that
    /// `/etc/passwd` names too, and on finding below `/tmp` what they left there.
    Pod,
    /// A user and a directory for each source.
    User,
    /// A directory for each source; their processes could reach one another's, being of one user.
    Directory,
}

/// Decided by whose scripts they are and by what pods may do: becoming another user takes a capability.
pub(crate) fn isolation(image: &Image, security: PodSecurity) -> Isolation {
    match image {
        Image::BaseType(_) if security > PodSecurity::Restricted => Isolation::User,
        Image::BaseType(_) => Isolation::Directory,
        Image::Host | Image::Volume(_) => Isolation::Pod,
    }
}

/// Whether a container can be a process in a pod of its like. One that asks for anything of its own cannot.
pub(crate) fn is_shared(spec: &ContainerSpec) -> bool {
    spec.kind == ContainerKind::Check
        && spec.source.is_some()
        && spec.mounts.is_empty()
        && !spec.privileged
        && spec.limits == Default::default()
        && spec.handle.as_str().len() <= HANDLE_BYTES_MAX
}

/// What the checks of one pod have in common, as a digest.
pub(crate) fn pod_key(spec: &ContainerSpec, isolation: Isolation) -> String {
    let image = match &spec.image {
        Image::Host => "host".to_owned(),
        Image::BaseType(name) => format!("type {name}"),
        Image::Volume(volume) => format!("volume {volume}"),
    };
    let source = spec.source.as_deref().filter(|_| isolation == Isolation::Pod);
    let parts = [
        spec.coordinates.team.as_str(),
        &image,
        source.unwrap_or_default(),
        &spec.working_dir,
        &format!("{:?} {:?}", spec.user, spec.network),
    ];
    // Lengths keep the parts apart.
    let text: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// One check's place in its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// Before the names of its processes.
    pub(crate) prefix: String,
    pub(crate) user: Option<u32>,
    /// The spec's working directory, and the one that takes its place.
    pub(crate) directory: Option<(String, String)>,
}

impl Member {
    /// The place of a check whose source has the number `place` in its pod.
    pub(crate) fn new(spec: &ContainerSpec, isolation: Isolation, place: u32) -> Self {
        let user = (isolation == Isolation::User).then_some(FIRST_USER + place);
        let directory = (isolation != Isolation::Pod).then(|| {
            let own = format!("{}/{place}", spec.working_dir.trim_end_matches('/'));
            (spec.working_dir.clone(), own)
        });
        Self { prefix: prefix(&spec.handle, user), user, directory }
    }

    /// The check a process belongs to, found by its name.
    pub(crate) fn of_process(id: &str) -> Option<(ContainerHandle, Self)> {
        let mut parts = id.splitn(3, '/');
        let (user, handle) = (parts.next()?, parts.next()?);
        parts.next()?;
        let user = match user {
            "-" => None,
            number => Some(number.parse().ok()?),
        };
        let handle = ContainerHandle::new(handle);
        let prefix = prefix(&handle, user);
        Some((handle, Self { prefix, user, directory: None }))
    }

    pub(crate) fn user_name(&self) -> Option<String> {
        self.user.map(|user| format!("{user}:{user}"))
    }

    /// Makes a process this check's. Whoever looks into its container gets no more than it has.
    pub(crate) fn adapt(&self, spec: &mut ProcessSpec) {
        spec.privileged = false;
        if let Some(user) = self.user_name() {
            spec.user = Some(user);
        }
        let Some((common, own)) = &self.directory else { return };
        if spec.dir == *common {
            spec.dir.clone_from(own);
        }
        for name in ["HOME", "TMPDIR"] {
            if !spec.env.iter().any(|(given, _)| given == name) {
                spec.env.push((name.to_owned(), own.clone()));
            }
        }
    }
}

fn prefix(handle: &ContainerHandle, user: Option<u32>) -> String {
    let user = user.map_or_else(|| "-".to_owned(), |user| user.to_string());
    format!("{user}/{handle}/")
}

#[cfg(test)]
mod tests;
