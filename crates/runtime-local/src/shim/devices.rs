//! `/proc`, `/dev`, `/sys` and the control groups as a container sees them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags};

use super::mounts::{attach, restrict};
use crate::launch::{Attempt, CgroupPlan, Failure, Launch, NetworkPlan};

/// Devices that every container has.
const STANDARD: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Kernel interfaces that leak about the host or change it.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
/// The same for the older calls.
const PLAIN_MOUNT: MountFlags =
    MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

fn make_mount_point(target: &str) -> Result<(), Failure> {
    // An image may have a link there, which would have something else covered.
    if std::fs::symlink_metadata(target).is_ok_and(|found| found.is_symlink()) {
        std::fs::remove_file(target).attempt(|| format!("cannot replace the link {target}"))?;
    }
    std::fs::create_dir_all(target).attempt(|| format!("cannot make {target}"))
}

fn mount(kind: &str, target: &str, flags: MountFlags, options: &str) -> Result<(), Failure> {
    make_mount_point(target)?;
    let options = std::ffi::CString::new(options)
        .map_err(|error| Failure::io("mount options", &error.into()))?;
    rustix::mount::mount(kind, target, kind, flags, Some(&*options))
        .attempt(|| format!("cannot mount {kind} at {target}"))
}

/// The kernel's file systems and devices, mounted nowhere yet. They are opened while the host's
/// root is in place: without privilege, new ones are allowed only where old ones are visible.
pub(super) struct System {
    /// In the order in which they are attached.
    mounts: Vec<(&'static str, OwnedFd)>,
    devices: Vec<(&'static str, OwnedFd)>,
    host_devices: Option<OwnedFd>,
}

pub(super) fn open_system(launch: &Launch) -> Result<System, Failure> {
    // No device can be opened from this file system itself, else a container could make one for
    // the host's disk: each device is a mount of its own.
    let hidden =
        if launch.privileged { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_NODEV };
    let nosuid = MountAttrFlags::MOUNT_ATTR_NOSUID;
    let dev = open_kind("tmpfs", nosuid | hidden, &[("mode", "755"), ("size", "1m")])?;
    let mut terminals = vec![("ptmxmode", "0666"), ("mode", "0620")];
    // The terminals' group exists only where all groups are mapped.
    if launch.ids.as_ref().is_none_or(|ids| ids.helpers) {
        terminals.push(("gid", "5"));
    }
    let pts = open_kind("devpts", nosuid | MountAttrFlags::MOUNT_ATTR_NOEXEC, &terminals)?;
    let mounts = vec![
        ("/proc", open_kind("proc", PLAIN, &[])?),
        ("/dev", dev),
        ("/dev/pts", pts),
        ("/dev/shm", open_kind("tmpfs", PLAIN, &[("mode", "1777")])?),
        ("/dev/mqueue", open_kind("mqueue", PLAIN, &[])?),
        ("/sys", open_sys(launch)?),
    ];
    let mut devices = Vec::new();
    for name in STANDARD {
        devices.push((*name, super::mounts::detached(&Path::new("/dev").join(name))?));
    }
    if launch.privileged && launch.ids.is_some() && Path::new("/dev/fuse").exists() {
        devices.push(("fuse", super::mounts::detached(Path::new("/dev/fuse"))?));
    }
    let host_devices = (launch.privileged && launch.ids.is_none())
        .then(|| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open("/dev", flags, Mode::empty())
        })
        .transpose()
        .attempt(|| "cannot open the host's /dev")?;
    Ok(System { mounts, devices, host_devices })
}

/// A new file system that is not mounted anywhere.
fn open_kind(
    kind: &str,
    attributes: MountAttrFlags,
    options: &[(&str, &str)],
) -> Result<OwnedFd, Failure> {
    let open = || -> rustix::io::Result<OwnedFd> {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
        rustix::mount::fsconfig_create(context.as_fd())?;
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    open().attempt(|| format!("cannot make a {kind} file system"))
}

fn open_sys(launch: &Launch) -> Result<OwnedFd, Failure> {
    if launch.network == NetworkPlan::Host && launch.ids.is_some() {
        // Only who owns the network namespace may mount a new one.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        return rustix::mount::open_tree(CWD, "/sys", flags)
            .attempt(|| "cannot open the host's /sys");
    }
    let read_only =
        if launch.privileged { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_RDONLY };
    open_kind("sysfs", PLAIN | read_only, &[])
}

impl System {
    /// Attaches everything in the container's root.
    pub(super) fn attach(self, launch: &Launch) -> Result<(), Failure> {
        for (target, mount) in &self.mounts {
            make_mount_point(target)?;
            attach(mount, Path::new(target))?;
        }
        for (name, device) in &self.devices {
            let target = Path::new("/dev").join(name);
            std::fs::File::create(&target).attempt(|| format!("cannot make /dev/{name}"))?;
            attach(device, &target)?;
        }
        if let Some(host) = &self.host_devices {
            copy_devices(host)?;
        }
        for (name, target) in LINKS {
            symlink(target, Path::new("/dev").join(name))
                .attempt(|| format!("cannot make /dev/{name}"))?;
        }
        if launch.network == NetworkPlan::Host {
            if launch.ids.is_some() && !launch.privileged {
                restrict(Path::new("/sys"), MountFlags::RDONLY)?;
            }
        } else {
            // A network of its own has no ports or pings to protect from its users. Absent on
            // some kernels, and of use to few.
            std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").ok();
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").ok();
        }
        Ok(())
    }
}

/// Gives a privileged container every device of the host, and `/dev/fuse` in any case.
fn copy_devices(host: &OwnedFd) -> Result<(), Failure> {
    // Reached through the descriptor, as the container's own /dev is mounted by now.
    let host = format!("/proc/self/fd/{}", host.as_raw_fd());
    copy_device_directory(Path::new(&host), Path::new("/dev"), 0)
        .attempt(|| "cannot copy the devices")?;
    let fuse = Path::new("/dev/fuse");
    if !fuse.exists() {
        make_device(fuse, FileType::CharacterDevice, 0o666, rustix::fs::makedev(10, 229))
            .attempt(|| "cannot make /dev/fuse")?;
    }
    Ok(())
}

fn copy_device_directory(from: &Path, to: &Path, depth: usize) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let metadata = entry.metadata()?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            let own = ["pts", "shm", "mqueue", "hugepages"];
            if depth < 3 && !own.iter().any(|name| *name == entry.file_name()) {
                std::fs::create_dir_all(&target)?;
                copy_device_directory(&entry.path(), &target, depth + 1)?;
            }
        } else if (kind.is_char_device() || kind.is_block_device()) && !target.exists() {
            let kind = if kind.is_block_device() {
                FileType::BlockDevice
            } else {
                FileType::CharacterDevice
            };
            if entry.file_name() != "ptmx" {
                make_device(&target, kind, metadata.mode(), metadata.rdev())?;
                std::os::unix::fs::chown(&target, Some(metadata.uid()), Some(metadata.gid()))?;
            }
        }
    }
    Ok(())
}

fn make_device(path: &Path, kind: FileType, mode: u32, device: u64) -> std::io::Result<()> {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(mode & 0o777), device)?;
    crate::store::set_mode(path, mode & 0o777)
}

/// Hides or protects the kernel's sensitive files.
pub(super) fn mask() -> Result<(), Failure> {
    for path in MASKED {
        let Ok(metadata) = std::fs::symlink_metadata(path) else { continue };
        if metadata.is_dir() {
            mount("tmpfs", path, PLAIN_MOUNT | MountFlags::RDONLY, "size=0")?;
        } else {
            rustix::mount::mount_bind("/dev/null", *path)
                .attempt(|| format!("cannot hide {path}"))?;
        }
    }
    for path in READ_ONLY {
        if std::fs::symlink_metadata(path).is_err() {
            continue;
        }
        rustix::mount::mount_bind(*path, *path).attempt(|| format!("cannot protect {path}"))?;
        restrict(Path::new(path), PLAIN_MOUNT | MountFlags::RDONLY)?;
    }
    Ok(())
}

/// Shows the container its own control groups at `/sys/fs/cgroup`, read-only unless privileged.
pub(super) fn mount_cgroups(plan: &CgroupPlan, privileged: bool) -> Result<(), Failure> {
    const TOP: &str = "/sys/fs/cgroup";
    let flags = if privileged { PLAIN_MOUNT } else { PLAIN_MOUNT | MountFlags::RDONLY };
    if plan.groups.iter().all(|group| group.controllers.is_empty()) {
        return mount("cgroup2", TOP, flags, "");
    }
    mount("tmpfs", TOP, PLAIN_MOUNT, "mode=755,size=64k")?;
    for group in plan.groups.iter().filter(|group| !group.controllers.is_empty()) {
        let directory = group.controllers.trim_start_matches("name=");
        let options = if group.controllers.starts_with("name=") {
            format!("none,{}", group.controllers)
        } else {
            group.controllers.clone()
        };
        mount("cgroup", &format!("{TOP}/{directory}"), flags, &options)?;
        for name in directory.split(',').filter(|name| *name != directory) {
            symlink(directory, Path::new(TOP).join(name))
                .attempt(|| format!("cannot make {TOP}/{name}"))?;
        }
    }
    restrict(Path::new(TOP), flags)
}
