//! The container's root: an overlay, entered by exchanging it for the host's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::launch::{Attempt, Failure, Launch};
use jb_archive::merged::{MergedDir, Node};

/// An overlay to mount.
pub(super) struct Overlay<'a> {
    pub(super) lowers: Vec<BorrowedFd<'a>>,
    pub(super) upper: &'a Path,
    pub(super) work: &'a Path,
    /// Copies only attributes up when only they change; the upper directory then means nothing
    /// without the lower ones.
    pub(super) attributes_only: bool,
    pub(super) flags: MountFlags,
}

impl Overlay<'_> {
    /// Layers are named through `/proc/self/fd`: short enough for the one page that mount options
    /// may fill, and without a second look-up of paths that containers could have changed.
    pub(super) fn mount(&self, target: &Path, unprivileged: bool) -> Result<(), Failure> {
        let upper = super::open_path(self.upper)
            .attempt(|| format!("cannot open `{}`", self.upper.display()))?;
        let work = super::open_path(self.work)
            .attempt(|| format!("cannot open `{}`", self.work.display()))?;
        let lowers: Vec<String> =
            self.lowers.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
        let base = format!(
            "lowerdir={},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{}",
            lowers.join(":"),
            upper.as_raw_fd(),
            work.as_raw_fd()
        );
        let mode = match (unprivileged, self.attributes_only) {
            (true, _) => "userxattr",
            (false, true) => "index=off,redirect_dir=on,metacopy=on",
            (false, false) => "index=off,redirect_dir=off,metacopy=off",
        };
        // Without flushing at the end: that would write out the whole file system.
        let mut result = Ok(());
        for options in [format!("{base},{mode},volatile"), format!("{base},{mode}")] {
            let options = std::ffi::CString::new(options)
                .map_err(|error| Failure::io("overlay options", &error.into()))?;
            result =
                rustix::mount::mount("overlay", target, "overlay", self.flags, Some(&*options));
            // Older kernels do not know every option.
            if result != Err(rustix::io::Errno::INVAL) {
                break;
            }
        }
        result.attempt(|| {
            format!(
                "cannot mount an overlay over {} layers; is the state directory on a file system \
                 that can hold overlays (not itself an overlay, NFS or FUSE)?",
                lowers.len()
            )
        })
    }
}

/// Shows the host's directories one by one, as `crate::host_image::apply_in_parts` prepared them.
fn mount_parts(launch: &Launch) -> Result<(), Failure> {
    let root = launch.dir.join("root");
    rustix::mount::mount_bind(launch.dir.join("upper"), &root)
        .attempt(|| "cannot bind the root")?;
    super::mounts::restrict(&root, MountFlags::NODEV)?;
    for (name, upper, work) in crate::host_image::parts(&launch.dir) {
        let source = Path::new("/").join(name);
        let target = root.join(name);
        let Ok(lower) = MergedDir::open(&[&source]) else { continue };
        let overlay = Overlay {
            lowers: lower.layers().collect(),
            upper: &upper,
            work: &work,
            attributes_only: false,
            flags: MountFlags::NODEV,
        };
        if overlay.mount(&target, true).is_err() {
            // It has mounts below it that must not be uncovered: shown with them, read-only. The
            // kernel still keeps from this user what it may not read.
            rustix::mount::mount_bind_recursive(&source, &target)
                .attempt(|| format!("cannot show `{}`", source.display()))?;
            super::mounts::restrict(&target, MountFlags::RDONLY | MountFlags::NODEV)?;
        }
    }
    Ok(())
}

/// Mounts the root at `root` in the container's directory.
pub(super) fn mount(launch: &Launch) -> Result<(), Failure> {
    if launch.root.host && launch.ids.is_some() {
        return mount_parts(launch);
    }
    let top = MergedDir::open(&launch.root.layers)
        .map_err(|error| Failure::image(format!("cannot open the image's layers: {error}")))?;
    let top = match &launch.root.subdirectory {
        None => top,
        Some(name) => match top.child(name.as_ref()).attempt(|| "cannot read the image")? {
            Some(Node::Directory(directory)) => directory,
            _ => {
                return Err(Failure::image(format!(
                    "the image has no directory `{name}`; it must be made by a resource type that \
                     fetches images with `rootfs/` and `metadata.json`"
                )));
            }
        },
    };
    let target = launch.dir.join("root");
    let nodev = if launch.privileged { MountFlags::empty() } else { MountFlags::NODEV };
    let overlay = Overlay {
        lowers: top.layers().collect(),
        upper: &launch.dir.join("upper"),
        work: &launch.dir.join("work"),
        attributes_only: false,
        flags: nodev,
    };
    overlay.mount(&target, launch.ids.is_some())?;
    if launch.root.host {
        mount_host_parts(launch, &target, nodev)?;
    }
    Ok(())
}

/// File systems that are not programs or configuration, and those that are made anew.
const OWN_KINDS: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// Shows what the host has mounted below its root, such as a `/usr` or `/nix` of its own: each
/// with an overlay, or read-only where its file system cannot be below one.
fn mount_host_parts(launch: &Launch, root: &Path, nodev: MountFlags) -> Result<(), Failure> {
    let mounts = crate::mountinfo::read().attempt(|| "cannot read the host's mounts")?;
    for (n, mount) in mounts.iter().enumerate() {
        if OWN_KINDS.contains(&mount.kind.as_str()) || !crate::host_image::is_shown(&mount.target) {
            continue;
        }
        let Ok(relative) = mount.target.strip_prefix("/") else { continue };
        let target = root.join(relative);
        let Ok(kind) = std::fs::symlink_metadata(&target) else { continue };
        // What nobody but root can enter is not shown either.
        let Ok(source) = MergedDir::open(&[&mount.target]) else {
            if kind.is_file() {
                bind_read_only(&mount.target, &target, nodev)?;
            }
            continue;
        };
        if !kind.is_dir() {
            continue;
        }
        let upper = launch.dir.join(format!("part-{n}"));
        let work = launch.dir.join(format!("part-{n}-work"));
        for path in [&upper, &work] {
            std::fs::create_dir_all(path)
                .attempt(|| format!("cannot make `{}`", path.display()))?;
        }
        let overlay = Overlay {
            lowers: source.layers().collect(),
            upper: &upper,
            work: &work,
            attributes_only: false,
            flags: nodev,
        };
        if overlay.mount(&target, launch.ids.is_some()).is_err() {
            bind_read_only(&mount.target, &target, nodev)?;
        }
    }
    Ok(())
}

fn bind_read_only(source: &Path, target: &Path, flags: MountFlags) -> Result<(), Failure> {
    rustix::mount::mount_bind(source, target)
        .attempt(|| format!("cannot show `{}`", source.display()))?;
    super::mounts::restrict(target, flags | MountFlags::RDONLY)
}

/// Exchanges the root and lets go of the host's. This must come before anything is done by paths
/// of the image: while the old root lies over the new one, `/..` leads into it.
pub(super) fn pivot(launch: &Launch) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).attempt(|| "cannot open the root")?;
    std::env::set_current_dir(launch.dir.join("root")).attempt(|| "cannot enter the root")?;
    rustix::process::pivot_root(".", ".").attempt(|| "cannot exchange the root")?;
    rustix::process::fchdir(old.as_fd()).attempt(|| "cannot return to the old root")?;
    rustix::mount::mount_change(
        ".",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .attempt(|| "cannot isolate the old root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).attempt(|| "cannot leave the old root")?;
    std::env::set_current_dir("/").attempt(|| "cannot enter the new root")
}
