//! Which addresses are somebody's on the internet, and which are a machine's own, a network's or nobody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Where clouds tell a machine, and anything on it that asks, who it is and with which credentials it acts.
pub const METADATA: [IpNet; 6] = [
    // All that is link-local: the metadata of most clouds, and agents that hand out credentials.
    v4([169, 254, 0, 0], 16),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    // The same of single clouds, at addresses that look like anybody's.
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
    v4([100, 100, 100, 200], 32),
    v4([168, 63, 129, 16], 32),
];

/// A machine itself, everybody near it, and nobody.
const OWN: [IpNet; 8] = [
    v4([0, 0, 0, 0], 8),
    v4([127, 0, 0, 0], 8),
    v4([224, 0, 0, 0], 4),
    // With the broadcast address.
    v4([240, 0, 0, 0], 4),
    // Unspecified, loopback, and IPv4 addresses in a form that was given up.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
    // Whose IPv4 address is inside leads wherever a relay says: 6to4 and Teredo.
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),
];

/// Networks that are private, shared by a provider's customers, or set aside.
const INSIDE: [IpNet; 16] = [
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    // Of the later protocol only what is handed out at all is public.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// Translators reach IPv4 addresses under these.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length))
}

/// Whether an address may be anybody's on the internet. What leads to an IPv4 address is judged by that.
pub fn is_public(address: IpAddr) -> bool {
    let address = meant(address);
    let is_in = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
    !(is_in(&METADATA) || is_in(&OWN) || is_in(&INSIDE))
}

/// Whether an address is a machine's own, everybody's near it or nobody's, or speaks for a machine: no name of a host leads
/// there in good faith, in whatever network.
pub fn is_own(address: IpAddr) -> bool {
    let address = meant(address);
    METADATA.iter().chain(&OWN).any(|net| net.contains(&address))
}

/// The address that a packet arrives at: the IPv4 address in those that only carry one.
pub fn meant(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_on_the_internet_is_public() {
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.169.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(is_public(address) && !is_own(address), "{address}");
        }
    }

    #[test]
    fn what_is_private_or_set_aside_is_not() {
        for address in [
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "100::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            "64:ff9b:1::1",
            "::ffff:10.0.0.1",
            "64:ff9b::192.168.0.1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(!is_public(address) && !is_own(address), "{address}");
        }
    }

    #[test]
    fn what_is_a_machines_own_leads_nowhere_else() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "ff02::1",
            "2002:7f00:1::",
            "2001:0:4136:e378::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(is_own(address) && !is_public(address), "{address}");
        }
    }
}
