//! Components as processes of this machine, in the cluster's network namespace.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::configuration::Component;
use crate::cluster::place::Place;
use crate::cluster::programs::Programs;

/// Starts a component; it outlives this process.
pub(crate) fn start(
    place: &Place,
    programs: &Programs,
    component: &Component,
) -> anyhow::Result<()> {
    let log = place.log(component.name);
    // One that is started again goes on with its log.
    let output = File::options().create(true).append(true).open(&log);
    let output = output.with_context(|| format!("write {}", log.display()))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    // containerd looks its shim up; plugins and proxies, iptables and nft.
    let mut paths = vec![programs.containerd.clone()];
    paths.extend(std::env::split_paths(&path));
    paths.extend(["/usr/sbin", "/sbin"].map(Into::into));
    let mut child = Command::new("nsenter")
        .arg(format!("--net={}", place.namespace_file().display()))
        .arg("--")
        .arg(&component.program)
        .args(&component.arguments)
        .env("PATH", std::env::join_paths(paths)?)
        .current_dir(&place.dir)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        // Ctrl-C at this terminal is not meant for the cluster.
        .process_group(0)
        .spawn()
        .context("start nsenter")?;
    let pid_file = place.pid_file(component.name);
    fs::write(&pid_file, child.id().to_string())
        .with_context(|| format!("write {}", pid_file.display()))?;
    // Until nsenter has entered the namespace, nothing tells the component from a stranger that
    // got its number; whoever asked for it in between would take it for ended.
    let entered = until(Duration::from_secs(20), || {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(Err(status));
        }
        alive(place, component.name).then_some(Ok(()))
    });
    match entered {
        Some(Ok(())) => Ok(()),
        Some(Err(status)) => bail!(
            "{} has ended with {status}; it said:\n{}",
            component.name,
            fs::read_to_string(&log).unwrap_or_default()
        ),
        None => bail!("{} has not entered the cluster's network after 20 s", component.name),
    }
}

/// Kills a component; returns once it is gone.
pub(crate) fn stop(place: &Place, component: &str) -> anyhow::Result<()> {
    kill_all(component, || pid(place, component).into_iter().collect())
}

/// Whether a component runs.
pub(crate) fn alive(place: &Place, component: &str) -> bool {
    pid(place, component).is_some()
}

/// A component's process; a number that has gone to another process since does not count.
fn pid(place: &Place, component: &str) -> Option<Pid> {
    let text = fs::read_to_string(place.pid_file(component)).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?)?;
    in_namespace(place).contains(&pid).then_some(pid)
}

/// All processes in the cluster's network namespace: components and the keepers of containers.
pub(crate) fn in_namespace(place: &Place) -> Vec<Pid> {
    let Ok(own) = fs::metadata(place.namespace_file()) else { return Vec::new() };
    processes(|proc| {
        fs::metadata(proc.join("ns/net"))
            .is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()))
    })
}

/// All processes of the cluster's containers.
pub(crate) fn in_containers(place: &Place) -> Vec<Pid> {
    let cgroup = format!(":/{}/", place.cgroup());
    processes(|proc| {
        fs::read_to_string(proc.join("cgroup")).is_ok_and(|groups| groups.contains(&cgroup))
    })
}

fn processes(is_wanted: impl Fn(&Path) -> bool) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            // What has ended and is only not waited for holds nothing any more.
            let ended = fs::read_to_string(entry.path().join("stat"))
                .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, s)| s.starts_with('Z')));
            (!ended && is_wanted(&entry.path())).then_some(pid)
        })
        .collect()
}

/// Kills whatever `find` gives until it gives nothing.
pub(crate) fn kill_all(what: &str, find: impl Fn() -> Vec<Pid>) -> anyhow::Result<()> {
    let gone = until(Duration::from_secs(20), || {
        let found = find();
        for pid in &found {
            let _ = kill_process(*pid, Signal::KILL);
        }
        found.is_empty().then_some(())
    });
    if gone.is_none() {
        bail!("{what} do not end: {:?}", find());
    }
    Ok(())
}

/// Asks again and again until there is an answer; None when there is none in time.
pub(crate) fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}
