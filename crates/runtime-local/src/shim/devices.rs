//! `/proc`, `/dev`, `/sys` and the control groups as a container sees them.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};
use rustix::mount::{MountFlags, OpenTreeFlags};

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

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

fn mount(kind: &str, target: &str, flags: MountFlags, options: &str) -> Result<(), Failure> {
    std::fs::create_dir_all(target).attempt(|| format!("cannot make {target}"))?;
    let options = std::ffi::CString::new(options)
        .map_err(|error| Failure::io("mount options", &error.into()))?;
    rustix::mount::mount(kind, target, kind, flags, Some(&*options))
        .attempt(|| format!("cannot mount {kind} at {target}"))
}

/// Mounts the kernel's file systems. `old` is the host's root.
pub(super) fn mount_system(launch: &Launch, old: &OwnedFd) -> Result<(), Failure> {
    mount("proc", "/proc", PLAIN, "")?;
    // No device can be opened from this file system itself, else a container could make one for
    // the host's disk: each device is a mount of its own.
    let hidden = if launch.privileged { MountFlags::empty() } else { MountFlags::NODEV };
    mount("tmpfs", "/dev", MountFlags::NOSUID | hidden, "mode=755,size=1m")?;
    for name in STANDARD {
        bind_device(old, name)?;
    }
    if launch.privileged {
        if launch.ids.is_none() {
            copy_devices(old)?;
        } else if rustix::fs::accessat(
            old,
            "dev/fuse",
            rustix::fs::Access::EXISTS,
            rustix::fs::AtFlags::empty(),
        )
        .is_ok()
        {
            bind_device(old, "fuse")?;
        }
    }
    for (name, target) in LINKS {
        symlink(target, Path::new("/dev").join(name))
            .attempt(|| format!("cannot make /dev/{name}"))?;
    }
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    // The terminals' group exists only where all groups are mapped.
    let group = if launch.ids.as_ref().is_none_or(|ids| ids.helpers) { ",gid=5" } else { "" };
    let options = format!("newinstance,ptmxmode=0666,mode=0620{group}");
    mount("devpts", "/dev/pts", terminals, &options)?;
    mount("tmpfs", "/dev/shm", PLAIN, "mode=1777")?;
    mount("mqueue", "/dev/mqueue", PLAIN, "")?;
    mount_sys(launch, old)?;
    if launch.network != NetworkPlan::Host {
        // A network of its own has no ports or pings to protect from its users. Absent on some
        // kernels, and of use to few.
        std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").ok();
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").ok();
    }
    Ok(())
}

fn mount_sys(launch: &Launch, old: &OwnedFd) -> Result<(), Failure> {
    let read_only = if launch.privileged { MountFlags::empty() } else { MountFlags::RDONLY };
    if launch.network == NetworkPlan::Host && launch.ids.is_some() {
        // Only who owns the network namespace may mount a new one.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = rustix::mount::open_tree(old.as_fd(), "sys", flags)
            .attempt(|| "cannot open the host's /sys")?;
        std::fs::create_dir_all("/sys").attempt(|| "cannot make /sys")?;
        attach(&tree, Path::new("/sys"))?;
        return restrict(Path::new("/sys"), PLAIN | read_only);
    }
    mount("sysfs", "/sys", PLAIN | read_only, "")
}

/// Shows one of the host's devices.
fn bind_device(old: &OwnedFd, name: &str) -> Result<(), Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let device = rustix::mount::open_tree(old.as_fd(), format!("dev/{name}"), flags)
        .attempt(|| format!("cannot open the host's /dev/{name}"))?;
    let target = Path::new("/dev").join(name);
    std::fs::File::create(&target).attempt(|| format!("cannot make /dev/{name}"))?;
    attach(&device, &target)
}

/// Gives a privileged container every device of the host, and `/dev/fuse` in any case.
fn copy_devices(old: &OwnedFd) -> Result<(), Failure> {
    // Reached through the descriptor, as the container's own /dev is mounted by now.
    let host = super::open_dev(old).attempt(|| "cannot open the host's /dev")?;
    copy_device_directory(&host, Path::new("/dev"), 0).attempt(|| "cannot copy the devices")?;
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
            mount("tmpfs", path, PLAIN | MountFlags::RDONLY, "size=0")?;
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
        restrict(Path::new(path), PLAIN | MountFlags::RDONLY)?;
    }
    Ok(())
}

/// Shows the container its own control groups at `/sys/fs/cgroup`, read-only unless privileged.
pub(super) fn mount_cgroups(plan: &CgroupPlan, privileged: bool) -> Result<(), Failure> {
    const TOP: &str = "/sys/fs/cgroup";
    let flags = if privileged { PLAIN } else { PLAIN | MountFlags::RDONLY };
    if plan.groups.iter().all(|group| group.controllers.is_empty()) {
        return mount("cgroup2", TOP, flags, "");
    }
    mount("tmpfs", TOP, PLAIN, "mode=755,size=64k")?;
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
