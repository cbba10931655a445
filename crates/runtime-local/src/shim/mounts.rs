//! Volumes: opened while the host's paths are still there, attached once the container's are.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use super::rootfs::Overlay;
use super::users::{self, Ids};
use crate::launch::{Attempt, Failure, Launch, Ownership, VolumeSource};
use jb_archive::merged::MergedDir;

/// Keeps what is mounted here from appearing outside.
pub(super) fn make_private() -> Result<(), Failure> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).attempt(|| "cannot isolate the mounts")
}

/// A copy of the mount at a path, attached nowhere.
pub(super) fn detached(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags)
        .attempt(|| format!("cannot open `{}` for mounting", path.display()))
}

/// Attaches a detached mount. Links in `target` lead nowhere but into the container's own root.
pub(super) fn attach(mount: &OwnedFd, target: &Path) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    rustix::mount::move_mount(mount, "", CWD, target, flags)
        .attempt(|| format!("cannot mount at `{}`", target.display()))
}

/// Adds restrictions to one mount. Those it has must be repeated, as a user namespace may not
/// lift them.
pub(super) fn restrict(target: &Path, flags: MountFlags) -> Result<(), Failure> {
    use rustix::fs::StatVfsMountFlags as Has;
    let has = rustix::fs::statvfs(target)
        .attempt(|| format!("cannot inspect `{}`", target.display()))?
        .f_flag;
    let mut flags = flags | MountFlags::BIND;
    for (has_flag, flag) in [
        (Has::NOSUID, MountFlags::NOSUID),
        (Has::NODEV, MountFlags::NODEV),
        (Has::NOEXEC, MountFlags::NOEXEC),
        (Has::RDONLY, MountFlags::RDONLY),
        (Has::NOATIME, MountFlags::NOATIME),
        (Has::NODIRATIME, MountFlags::NODIRATIME),
        (Has::RELATIME, MountFlags::RELATIME),
    ] {
        if has.contains(has_flag) {
            flags |= flag;
        }
    }
    rustix::mount::mount_remount(target, flags, "")
        .attempt(|| format!("cannot restrict the mount at `{}`", target.display()))
}

/// Opens every volume as a detached mount, in the order of the launch.
pub(super) fn open_volumes(launch: &Launch) -> Result<Vec<OwnedFd>, Failure> {
    let scratch = launch.dir.join("scratch");
    let nodev = if launch.privileged { MountFlags::empty() } else { MountFlags::NODEV };
    let mut opened = Vec::with_capacity(launch.mounts.len());
    for mount in &launch.mounts {
        match &mount.source {
            VolumeSource::Bind(path) => {
                rustix::mount::mount_bind(path, &scratch)
                    .attempt(|| format!("cannot mount the volume for `{}`", mount.target))?;
                restrict(&scratch, nodev)?;
            }
            VolumeSource::Overlay { lowers, upper, work, disposable } => {
                let lowers = lowers
                    .iter()
                    .map(|path| MergedDir::open(&[path]))
                    .collect::<Result<Vec<_>, _>>()
                    .attempt(|| format!("cannot open the volume for `{}`", mount.target))?;
                let overlay = Overlay {
                    lowers: lowers.iter().flat_map(MergedDir::layers).collect(),
                    upper,
                    work,
                    attributes_only: *disposable && !launch.user.is_empty(),
                    flags: nodev,
                };
                overlay.mount(&scratch, launch.ids.is_some())?;
            }
        }
        // What stays mounted here goes with the host's root: every unmounting of its own would
        // wait for the kernel's readers.
        opened.push(detached(&scratch)?);
    }
    Ok(opened)
}

/// Attaches the volumes, those that lie in others after them, and hands them to the user. Of what another user wrote,
/// root is given the directory only: it can write the rest anyway, and sees whose it is.
pub(super) fn attach_volumes(
    launch: &Launch,
    volumes: Vec<OwnedFd>,
    user: Ids,
) -> Result<(), Failure> {
    for (mount, volume) in launch.mounts.iter().zip(volumes) {
        let target = Path::new(&mount.target);
        std::fs::create_dir_all(target)
            .attempt(|| format!("cannot make the mount point `{}`", mount.target))?;
        attach(&volume, target)?;
        match mount.ownership {
            Ownership::All if user.is_root() => users::give_top(target, user)?,
            Ownership::All => users::give_tree(target, user)?,
            Ownership::Unless if user.is_root() => {}
            Ownership::Unless => users::give_tree_once(target, user)?,
        }
    }
    Ok(())
}

/// The runner, its journal, and a built-in resource type.
pub(super) struct Extra {
    runner: OwnedFd,
    journal: OwnedFd,
    resource: Option<OwnedFd>,
}

pub(super) fn open_extra(launch: &Launch) -> Result<Extra, Failure> {
    Ok(Extra {
        runner: detached(&launch.runner)?,
        journal: detached(&launch.dir.join("journal"))?,
        resource: launch.root.resource.as_deref().map(detached).transpose()?,
    })
}

impl Extra {
    /// The runner's directory is a file system of its own that only root can enter. The journal
    /// is bound as a mount of its own, so that no path leads from it to what lies beside it.
    pub(super) fn attach(self, home: &str) -> Result<(), Failure> {
        let home = Path::new(home);
        std::fs::create_dir_all(home).attempt(|| "cannot make the runner's directory")?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID;
        rustix::mount::mount("tmpfs", home, "tmpfs", flags, Some(c"mode=700,size=64k"))
            .attempt(|| "cannot mount the runner's directory")?;
        let (runner, journal) = (home.join("runner"), home.join("journal"));
        std::fs::File::create(&runner).attempt(|| "cannot make the runner's mount point")?;
        std::fs::create_dir(&journal).attempt(|| "cannot make the journal's mount point")?;
        attach(&self.runner, &runner)?;
        restrict(&runner, MountFlags::RDONLY | MountFlags::NODEV)?;
        attach(&self.journal, &journal)?;
        restrict(&journal, MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC)?;
        if let Some(resource) = &self.resource {
            let target = Path::new("/opt/resource");
            std::fs::create_dir_all(target).attempt(|| "cannot make /opt/resource")?;
            attach(resource, target)?;
            restrict(target, MountFlags::RDONLY | MountFlags::NODEV)?;
        }
        Ok(())
    }
}
