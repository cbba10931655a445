//! The container's first process, from its birth in new namespaces to becoming the runner.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use ipnet::IpNet;
use jb_model::address::METADATA;

use super::{GO, MAPPED, devices, mounts, rootfs, security, users};
use crate::launch::{Attempt, Failure, Launch, NetworkPlan};
use crate::netlink::{Netlink, interface_index};

/// Where the runner and its journal are. Only root can enter.
const HOME: &str = "/.jetbridge";

/// What the child says when its parent could not do its part and has the better reason.
pub(super) const ABANDONED: &str = "the shim gave up";

/// Returns only to say why the runner could not be started.
pub(super) fn run(launch: &Launch, socket: &OwnedFd, mut go: std::fs::File) -> Failure {
    match prepare(launch, &mut go) {
        Ok(()) => execute(launch, socket),
        Err(failure) => failure,
    }
}

fn prepare(launch: &Launch, go: &mut std::fs::File) -> Result<(), Failure> {
    if launch.ids.is_some() {
        wait_for(go, MAPPED)?;
        become_root().attempt(|| "cannot become root in the container's user namespace")?;
    }
    mounts::make_private()?;
    let volumes = mounts::open_volumes(launch)?;
    let extra = mounts::open_extra(launch)?;
    let system = devices::open_system(launch)?;
    rootfs::mount(launch)?;
    // From here on no path, whatever links the image has, leads to the host.
    rootfs::pivot(launch)?;

    system.attach(launch)?;
    write_etc(launch)?;
    let user = users::resolve(&launch.user)?;
    // Before, so that it is not made as a part of a mount point's path, and after, in case a
    // volume covers it.
    users::make_working_dir(&launch.working_dir, user)?;
    mounts::attach_volumes(launch, volumes, user)?;
    users::make_working_dir(&launch.working_dir, user)?;
    extra.attach(HOME)?;
    if !launch.privileged {
        devices::mask()?;
    }

    wait_for(go, GO)?;
    configure_network(launch).attempt(|| "cannot configure the container's network")?;
    if let Some(plan) = &launch.cgroup {
        super::unshare_cgroups().attempt(|| "cannot make a control group namespace")?;
        devices::mount_cgroups(plan, launch.privileged)?;
    }
    rustix::system::sethostname(launch.hostname.as_bytes())
        .attempt(|| format!("cannot set the host name `{}`", launch.hostname))
}

fn execute(launch: &Launch, socket: &OwnedFd) -> Failure {
    let restricted = || -> Result<(), Failure> {
        super::silence_stdout().attempt(|| "cannot redirect standard output")?;
        super::pass_on(socket, 3).attempt(|| "cannot pass the socket on")?;
        super::close_above_on_exec(3);
        security::limit_resources();
        if !launch.privileged {
            security::restrict()?;
        }
        Ok(())
    };
    if let Err(failure) = restricted() {
        return failure;
    }
    let runner = format!("{HOME}/runner");
    let error = Command::new(&runner)
        .args(["serve", "--journal", &format!("{HOME}/journal"), "--socket-fd", "3"])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .exec();
    Failure::io(
        format!("cannot execute the runner `{}` in the container", launch.runner.display()),
        &error,
    )
}

/// Waits for a word of the parent; an error when it died or gave up.
fn wait_for(go: &mut std::fs::File, word: u8) -> Result<(), Failure> {
    let mut byte = [0];
    go.read_exact(&mut byte).attempt(|| ABANDONED)?;
    if byte[0] != word {
        return Err(Failure::unsupported("the shim sent an unexpected word"));
    }
    Ok(())
}

/// Takes on the ids that are root inside the user namespace.
pub(super) fn become_root() -> rustix::io::Result<()> {
    use rustix::fs::{Gid, Uid};
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    // Forbidden with a single mapped id, where there are no other groups to keep.
    rustix::thread::set_thread_groups(&[]).ok();
    Ok(())
}

fn configure_network(launch: &Launch) -> std::io::Result<()> {
    if launch.network == NetworkPlan::Host {
        return Ok(());
    }
    let netlink = Netlink::open()?;
    netlink.up("lo")?;
    if let NetworkPlan::Bridge(port) = &launch.network {
        netlink.add_address(interface_index("eth0")?, port.address, port.prefix)?;
        netlink.up("eth0")?;
        netlink.default_route(port.gateway)?;
        if launch.without_metadata {
            // Containers have IPv4 only.
            for net in METADATA.iter().filter_map(|net| match net {
                IpNet::V4(net) => Some(net),
                IpNet::V6(_) => None,
            }) {
                netlink.no_route(net.addr(), net.prefix_len())?;
            }
        }
    }
    Ok(())
}

/// Writes the files of `/etc` that belong to the container rather than to its image.
fn write_etc(launch: &Launch) -> Result<(), Failure> {
    std::fs::create_dir_all("/etc").attempt(|| "cannot make /etc")?;
    let files = [
        ("/etc/hostname", Some(format!("{}\n", launch.hostname))),
        ("/etc/hosts", Some(launch.files.hosts.clone())),
        ("/etc/resolv.conf", launch.files.resolv_conf.clone()),
    ];
    for (path, content) in files {
        let Some(content) = content else { continue };
        // The image's may be a link to a directory that is not there, or belong to an id that
        // this user namespace does not have.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::io(format!("cannot replace {path}"), &error));
            }
            _ => {}
        }
        std::fs::write(path, content).attempt(|| format!("cannot write {path}"))?;
    }
    Ok(())
}
