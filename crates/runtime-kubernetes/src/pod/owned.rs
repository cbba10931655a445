//! Whose the directories of a pod are.
//!
//! The cluster makes them root's, for everybody to write in. That is not enough for programs that look whose a directory
//! is, as git does. So where a step's container does not run as root, `prepare`, which runs as the same user, makes a
//! directory in each, and the step's containers see only that. Where it runs as root and only the step's process is
//! somebody else, the runner gives them to that user.

use jb_model::VolumeHandle;
use jb_runtime::MountSource;
use jb_runtime::placement::Placed;
use k8s_openapi::api::core::v1::VolumeMount;

use super::{Layout, PodImage, RunAs, empty_dir, mount};

/// What `prepare` makes in a volume.
const OWN: &str = "own";

/// Whether directories shall be the step's user's. A pod with neither inputs nor outputs is not worth the second that
/// `prepare` takes: what its step makes is its own anyway. The scripts of the built-in types do not look either.
pub(super) fn is_wanted(placed: &[Placed], image: &PodImage, run_as: RunAs) -> bool {
    let (maybe_other, surely_other) = match run_as {
        RunAs::User { uid, .. } => (uid != 0, uid != 0),
        RunAs::Image => (true, image.user.as_ref().is_some_and(|user| !user.is_empty())),
    };
    let any = |wanted: fn(&MountSource) -> bool| placed.iter().any(|mount| wanted(&mount.source));
    let inputs = any(|source| matches!(source, MountSource::Input { .. }));
    let outputs = any(|source| matches!(source, MountSource::Output(_)));
    // With inputs there is a `prepare` in any case.
    (maybe_other && inputs) || (surely_other && outputs && image.resource.is_none())
}

impl Layout<'_> {
    /// An empty directory of the step's container, which `prepare` has at `path`.
    pub(super) fn empty(&mut self, name: &str, target: &str, path: &str) {
        self.step(name, target);
        if self.owned {
            self.prepared.push(mount(name, path));
            self.made.push(self.inside(path));
        }
    }

    /// One with the content of a volume.
    pub(super) fn filled(&mut self, name: &str, target: &str, path: &str, volume: &VolumeHandle) {
        self.step(name, target);
        self.prepared.push(mount(name, path));
        self.extracted.push((volume.to_string(), self.inside(path)));
    }

    /// What the step's container has.
    fn step(&mut self, name: &str, target: &str) {
        self.volumes.push(empty_dir(name));
        self.main.push(self.own(mount(name, target)));
        self.writable.push(target.to_owned());
    }

    /// The runner's arguments, by which it gives a user what its process may write to.
    pub(super) fn handed_over(&self, user: Option<&str>) -> Vec<String> {
        let Some(user) = user else { return Vec::new() };
        let own = self.writable.iter().flat_map(|target| ["--own", target]);
        ["--user", user].into_iter().chain(own).map(str::to_owned).collect()
    }

    /// Shows only what belongs to the step's user.
    pub(super) fn own(&self, mount: VolumeMount) -> VolumeMount {
        VolumeMount { sub_path: self.owned.then(|| OWN.to_owned()), ..mount }
    }

    fn inside(&self, path: &str) -> String {
        if self.owned { format!("{path}/{OWN}") } else { path.to_owned() }
    }
}
