//! The network of containers: a bridge with address translation where it can be had, else the
//! host's own.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::launch::BridgePort;
use crate::netlink::{Netlink, interface_index};

/// Prefix length of the subnet a server takes from the pool: 1022 addresses.
const SUBNET_PREFIX: u8 = 22;
/// The name under which containers find the machine they run on.
pub(crate) const HOST_NAME: &str = "host.jetbridge.internal";

/// A range of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub address: Ipv4Addr,
    /// Number of leading bits that all its addresses share.
    pub prefix: u8,
}

impl Subnet {
    /// Parses `10.80.0.0/16`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 30)?;
        let address: Ipv4Addr = address.parse().ok()?;
        Some(Self { address: Ipv4Addr::from(u32::from(address) & mask(prefix)), prefix })
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        u32::from(self.address) & mask == u32::from(other.address) & mask
    }

    fn nth(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) + n)
    }

    fn size(self) -> u32 {
        1 << (32 - u32::from(self.prefix))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// A bridge that containers are plugged into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bridge {
    pub(crate) name: String,
    pub(crate) subnet: Subnet,
    /// Largest packet of the way out, so that nothing has to be fragmented.
    pub(crate) mtu: u32,
}

/// Where containers that may reach the network get it from.
#[derive(Clone, Debug)]
pub(crate) enum Uplink {
    Bridge(Bridge),
    /// The host's own network; the reason is for the log.
    Shared(String),
}

/// The part of the pool for a state directory: by its digest, the next one when that is in use.
pub(crate) fn choose_subnet(pool: Subnet, seed: u32, used: &[Subnet]) -> Option<Subnet> {
    let prefix = SUBNET_PREFIX.max(pool.prefix);
    let count = 1u32 << (prefix - pool.prefix);
    (0..count)
        .map(|n| {
            let index = (seed % count + n) % count;
            Subnet { address: pool.nth(index << (32 - u32::from(prefix))), prefix }
        })
        .find(|subnet| !used.iter().any(|other| subnet.overlaps(*other)))
}

/// The first free address after the last one given, so that addresses are not reused at once.
pub(crate) fn choose_address(
    subnet: Subnet,
    taken: &BTreeSet<Ipv4Addr>,
    last: u32,
) -> Option<Ipv4Addr> {
    // Left out: the network's own address, the gateway, and the broadcast address.
    let usable = subnet.size().checked_sub(3)?;
    (1..=usable).map(|n| subnet.nth(2 + (last + n) % usable)).find(|a| !taken.contains(a))
}

/// The subnets this machine has routes to, from `/proc/net/route`, except those by `ours`.
pub(crate) fn routes(table: &str, ours: &str) -> Vec<Subnet> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |n: usize| u32::from_str_radix(fields.get(n)?, 16).ok().map(u32::from_be);
            let (address, mask) = (number(1)?, number(7)?);
            let prefix = u8::try_from(mask.count_ones()).ok()?;
            (prefix > 0 && fields.first() != Some(&ours))
                .then_some(Subnet { address: Ipv4Addr::from(address), prefix })
        })
        .collect()
}

/// The interface of the default route.
fn default_interface(table: &str) -> Option<&str> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        (fields.next()? == "00000000").then_some(name)
    })
}

/// Sets up the bridge for a state directory, or finds it again; falls back to the host's network.
pub(crate) fn set_up(state_dir: &Path, pool: Subnet) -> Uplink {
    if !crate::privilege::is_root() {
        return Uplink::Shared("making a bridge needs root".into());
    }
    match set_up_bridge(state_dir, pool) {
        Ok(bridge) => Uplink::Bridge(bridge),
        Err(error) => Uplink::Shared(error.to_string()),
    }
}

fn digest(state_dir: &Path) -> [u8; 32] {
    use std::os::unix::ffi::OsStrExt;
    Sha256::digest(state_dir.as_os_str().as_bytes()).into()
}

fn set_up_bridge(state_dir: &Path, pool: Subnet) -> io::Result<Bridge> {
    let record = state_dir.join("network.json");
    let table = fs::read_to_string("/proc/net/route")?;
    let digest = digest(state_dir);
    let name = format!("jb{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
    let used = routes(&table, &name);
    let known = crate::store::read_json::<Bridge>(&record)
        .ok()
        .filter(|bridge| bridge.name == name && bridge.subnet.overlaps(pool))
        .filter(|bridge| !used.iter().any(|other| bridge.subnet.overlaps(*other)));
    let seed = u32::from_le_bytes([digest[4], digest[5], digest[6], digest[7]]);
    let subnet = match &known {
        Some(bridge) => bridge.subnet,
        None => choose_subnet(pool, seed, &used).ok_or_else(|| {
            io::Error::other(format!("every part of the network pool {pool} is in use"))
        })?,
    };
    let mtu = default_interface(&table)
        .and_then(|name| fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1500);
    let bridge = Bridge { name, subnet, mtu };
    // A disk that is full since the last start is no reason to do without a network.
    if known.as_ref() != Some(&bridge) {
        crate::store::write_json(&record, &bridge)?;
    }

    let explain = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot make the bridge `{}`: {error}", bridge.name))
    };
    let netlink = Netlink::open().map_err(explain)?;
    let mac = [0x02, 0x4a, digest[0], digest[1], digest[2], digest[3]];
    netlink.bridge(&bridge.name, mac).map_err(explain)?;
    let index = interface_index(&bridge.name).map_err(explain)?;
    netlink.add_address(index, bridge.gateway(), subnet.prefix).map_err(explain)?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(|error| {
        io::Error::new(error.kind(), format!("cannot switch on net.ipv4.ip_forward: {error}"))
    })?;
    if let Err(error) = translate(&bridge) {
        netlink.delete(&bridge.name)?;
        return Err(error);
    }
    Ok(bridge)
}

impl Bridge {
    /// The address under which containers reach this machine.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.subnet.nth(1)
    }

    /// What a container needs to be plugged in. The interface is named by the address too, so that
    /// one to be removed is never taken for that of a later container with the same handle.
    pub(crate) fn port(&self, handle: &str, address: Ipv4Addr) -> BridgePort {
        let digest = Sha256::digest(format!("{}/{handle}/{address}", self.name));
        let suffix: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        BridgePort {
            bridge: self.name.clone(),
            veth: format!("jv{suffix}"),
            address,
            prefix: self.subnet.prefix,
            gateway: self.gateway(),
            mtu: self.mtu,
        }
    }

    /// Removes the bridge and its rules.
    pub(crate) fn tear_down(&self) -> io::Result<()> {
        if tool("iptables").is_some() {
            for rule in self.rules() {
                // A rule that is not there needs no removal.
                run("iptables", &rule.arguments("-D")).ok();
            }
        }
        if tool("nft").is_some() {
            run("nft", &["delete", "table", "ip", &self.name]).ok();
        }
        Netlink::open()?.delete(&self.name)
    }

    fn rules(&self) -> [Rule; 3] {
        let subnet = self.subnet.to_string();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let name = &self.name;
        [
            Rule {
                table: "nat",
                chain: "POSTROUTING",
                matching: words(&format!("-s {subnet} ! -o {name} -j MASQUERADE")),
            },
            // Needed where something else, such as Docker, forwards nothing by default.
            Rule {
                table: "filter",
                chain: "FORWARD",
                matching: words(&format!("-i {name} -j ACCEPT")),
            },
            Rule {
                table: "filter",
                chain: "FORWARD",
                matching: words(&format!(
                    "-o {name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
                )),
            },
        ]
    }
}

struct Rule {
    table: &'static str,
    chain: &'static str,
    matching: Vec<String>,
}

impl Rule {
    fn arguments(&self, operation: &str) -> Vec<String> {
        ["-w", "-t", self.table, operation, self.chain]
            .into_iter()
            .map(str::to_owned)
            .chain(self.matching.iter().cloned())
            .collect()
    }
}

/// Lets containers out under the host's address. `iptables` is tried first: rules of others that
/// drop forwarded packets are mostly made by it, and only its own can make an exception.
fn translate(bridge: &Bridge) -> io::Result<()> {
    let mut failures = Vec::new();
    if tool("iptables").is_some() {
        let made = bridge.rules().iter().try_for_each(|rule| {
            if run("iptables", &rule.arguments("-C")).is_ok() {
                return Ok(());
            }
            run("iptables", &rule.arguments("-I"))
        });
        match made {
            Ok(()) => return Ok(()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    if tool("nft").is_some() {
        let table = &bridge.name;
        run("nft", &["delete", "table", "ip", table]).ok();
        let script = format!(
            "table ip {table} {{ chain post {{ type nat hook postrouting priority 100; \
             ip saddr {} oifname != \"{table}\" masquerade; }} }}",
            bridge.subnet
        );
        match run("nft", &[script]) {
            Ok(()) => return Ok(()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    if failures.is_empty() {
        failures.push("neither `iptables` nor `nft` is installed".into());
    }
    Err(io::Error::other(failures.join("; ")))
}

/// Where a tool is: services often run without the `sbin` directories in their path.
pub(crate) fn tool(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

fn run<S: AsRef<std::ffi::OsStr>>(name: &str, arguments: &[S]) -> io::Result<()> {
    let path = tool(name).ok_or_else(|| io::Error::other(format!("`{name}` is not installed")))?;
    let output = Command::new(path).args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("`{name}` failed: {}", message.trim())))
}

/// The content of `resolv.conf` for containers with a network of their own: a resolver at a
/// loopback address of the host cannot be reached from there.
pub(crate) fn resolv_conf(host: &str, upstream: Option<&str>, configured: &[IpAddr]) -> String {
    if !configured.is_empty() {
        return configured.iter().map(|server| format!("nameserver {server}\n")).collect();
    }
    [Some(host), upstream]
        .into_iter()
        .flatten()
        .map(without_loopback)
        .find(|text| !nameservers(text).is_empty())
        .unwrap_or_else(|| without_loopback(host) + "nameserver 1.1.1.1\nnameserver 8.8.8.8\n")
}

fn nameservers(text: &str) -> Vec<&str> {
    text.lines().filter_map(nameserver).collect()
}

fn nameserver(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next()? == "nameserver").then(|| words.next()).flatten()
}

fn without_loopback(text: &str) -> String {
    let reachable = |line: &&str| match nameserver(line) {
        // Containers have IPv4 only.
        Some(server) => server.parse::<Ipv4Addr>().is_ok_and(|address| !address.is_loopback()),
        None => true,
    };
    text.lines().filter(reachable).map(|line| format!("{line}\n")).collect()
}

/// `resolv.conf` as containers on the bridge should see it.
pub(crate) fn read_resolv_conf(configured: &[IpAddr]) -> String {
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let upstream = fs::read_to_string("/run/systemd/resolve/resolv.conf").ok();
    resolv_conf(&host, upstream.as_deref(), configured)
}

/// The container's `/etc/hosts`.
pub(crate) fn hosts(hostname: &str, own: Option<Ipv4Addr>, host: Option<IpAddr>) -> String {
    let mut text =
        String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if !hostname.is_empty() {
        let address = own.unwrap_or(Ipv4Addr::new(127, 0, 1, 1));
        text.push_str(&format!("{address}\t{hostname}\n"));
    }
    if let Some(host) = host {
        text.push_str(&format!("{host}\t{HOST_NAME}\n"));
    }
    text
}

/// The name of a state directory's parent control group.
pub(crate) fn group_name(state_dir: &Path) -> String {
    let digest = digest(state_dir);
    format!("jetbridge-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

#[cfg(test)]
mod tests;
