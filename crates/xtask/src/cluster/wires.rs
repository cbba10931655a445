//! The network between this machine and the node: a network namespace, a link into it, and a way out.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::cluster::place::Place;

pub(crate) fn lay(place: &Place) -> anyhow::Result<()> {
    let namespace = place.namespace();
    let (machine, node) = place.interfaces();
    let host = place.host_address();
    ip(&["netns", "add", &namespace])?;
    ip(&["link", "add", &machine, "type", "veth", "peer", "name", &node, "netns", &namespace])?;
    ip(&["address", "add", &format!("{host}/30"), "dev", &machine])?;
    let link_local = format!("{}/32", place.link_local_address());
    ip(&["address", "add", &link_local, "dev", &machine, "scope", "link"])?;
    ip(&["link", "set", &machine, "up"])?;
    let inside = |arguments: &[&str]| ip(&[&["-netns", &namespace], arguments].concat());
    inside(&["link", "set", "lo", "up"])?;
    inside(&["address", "add", &format!("{}/30", place.node_address()), "dev", &node])?;
    inside(&["link", "set", &node, "up"])?;
    inside(&["route", "add", "default", "via", &host.to_string()])?;
    forward(place)?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("let this machine forward packets")
}

/// Lets the node forward packets of its pods, and this machine those of the node.
fn forward(place: &Place) -> anyhow::Result<()> {
    let status = Command::new("nsenter")
        .arg(format!("--net={}", place.namespace_file().display()))
        .args(["--", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
        .status()
        .context("start nsenter")?;
    if !status.success() {
        bail!("the node's network namespace does not let its pods' packets through");
    }
    let table = place.nft_table();
    let node = place.node_address();
    nft(&format!(
        "table ip {table} {{
            chain out {{
                type nat hook postrouting priority 100;
                ip saddr {node} ip daddr != {host} masquerade
            }}
        }}",
        host = place.host_address()
    ))
}

/// Removes it all; what is not there is none the worse.
pub(crate) fn remove(place: &Place) {
    let table = place.nft_table();
    let _ = nft(&format!("table ip {table} {{}}\ndelete table ip {table}"));
    let _ = ip(&["link", "delete", &place.interfaces().0]);
    let _ = ip(&["netns", "delete", &place.namespace()]);
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output().context("start ip")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

fn nft(rules: &str) -> anyhow::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start nft")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).context("tell nft its rules")?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
