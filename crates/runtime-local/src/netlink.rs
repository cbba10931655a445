//! The few rtnetlink requests that containers need, spoken directly so that no tool is spawned.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_GATEWAY: u16 = 5;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const NESTED: u16 = 0x8000;

/// A request under construction: header first, its length filled in when sent.
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        bytes[8..12].copy_from_slice(&1u32.to_ne_bytes());
        Self(bytes)
    }

    /// `struct ifinfomsg`: a link by index (0 when it is named by attribute or new).
    fn link(mut self, index: u32, up: bool) -> Self {
        let flags = if up { IFF_UP } else { 0 };
        self.0.extend_from_slice(&[0, 0, 0, 0]);
        self.0.extend_from_slice(&index.to_ne_bytes());
        self.0.extend_from_slice(&flags.to_ne_bytes());
        self.0.extend_from_slice(&flags.to_ne_bytes());
        self
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        push_attribute(&mut self.0, kind, value);
        self
    }

    fn nested(mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        nest(&mut self.0, kind, fill);
        self
    }
}

fn push_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn nest(bytes: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    push_attribute(bytes, kind | NESTED, &[]);
    fill(bytes);
    let length = u16::try_from(bytes.len() - start).unwrap_or(u16::MAX);
    bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

fn name_bytes(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// An rtnetlink socket; it keeps speaking to the network namespace it was opened in.
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0, which is what `None` asks for.
        let socket =
            net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    fn send(&self, request: Request) -> io::Result<()> {
        let mut bytes = request.0;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        net::sendto(&self.0, &bytes, SendFlags::empty(), &kernel)?;
        let mut reply = [0u8; 4096];
        let (n, _) = net::recv(&self.0, &mut reply[..], RecvFlags::empty())?;
        acknowledged(&reply[..n])
    }

    /// Makes a bridge with a fixed hardware address, or leaves the one there is.
    pub(crate) fn bridge(&self, name: &str, mac: [u8; 6]) -> io::Result<()> {
        let request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
            .link(0, true)
            .attribute(IFLA_IFNAME, &name_bytes(name))
            .attribute(IFLA_ADDRESS, &mac)
            .nested(IFLA_LINKINFO, |b| push_attribute(b, IFLA_INFO_KIND, b"bridge"));
        exists_is_fine(self.send(request))
    }

    /// Makes a pair of connected interfaces: `host` here as a port of `bridge`, `peer` in the
    /// network namespace of process `pid`.
    pub(crate) fn veth(&self, spec: &Veth<'_>) -> io::Result<()> {
        let request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
            .link(0, true)
            .attribute(IFLA_IFNAME, &name_bytes(spec.host))
            .attribute(IFLA_MTU, &spec.mtu.to_ne_bytes())
            .attribute(IFLA_MASTER, &spec.bridge.to_ne_bytes())
            .nested(IFLA_LINKINFO, |b| {
                push_attribute(b, IFLA_INFO_KIND, b"veth");
                nest(b, IFLA_INFO_DATA, |b| {
                    nest(b, VETH_INFO_PEER, |b| {
                        b.extend_from_slice(&[0; 16]);
                        push_attribute(b, IFLA_IFNAME, &name_bytes(spec.peer));
                        push_attribute(b, IFLA_MTU, &spec.mtu.to_ne_bytes());
                        push_attribute(b, IFLA_NET_NS_PID, &spec.pid.to_ne_bytes());
                    });
                });
            });
        self.send(request)
    }

    pub(crate) fn up(&self, name: &str) -> io::Result<()> {
        self.send(
            Request::new(RTM_NEWLINK, 0).link(0, true).attribute(IFLA_IFNAME, &name_bytes(name)),
        )
    }

    pub(crate) fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut request = Request::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
        request.0.extend_from_slice(&[AF_INET, prefix, 0, 0]);
        request.0.extend_from_slice(&index.to_ne_bytes());
        let request = request
            .attribute(IFA_LOCAL, &address.octets())
            .attribute(IFA_ADDRESS, &address.octets());
        exists_is_fine(self.send(request))
    }

    pub(crate) fn default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        let mut request = Request::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
        // struct rtmsg: family, no prefixes, no tos, main table, proto boot, universe, unicast.
        request.0.extend_from_slice(&[AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
        self.send(request.attribute(RTA_GATEWAY, &gateway.octets()))
    }

    /// Has nothing lead to a range of addresses.
    pub(crate) fn no_route(&self, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut request = Request::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
        // As above, with a prefix, and unreachable.
        request.0.extend_from_slice(&[AF_INET, prefix, 0, 0, 254, 3, 0, 7, 0, 0, 0, 0]);
        self.send(request.attribute(RTA_DST, &address.octets()))
    }

    /// Removes a link; fine when it is gone.
    pub(crate) fn delete(&self, name: &str) -> io::Result<()> {
        let request =
            Request::new(RTM_DELLINK, 0).link(0, false).attribute(IFLA_IFNAME, &name_bytes(name));
        match self.send(request) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }
}

/// A pair of interfaces to make.
pub(crate) struct Veth<'a> {
    pub(crate) host: &'a str,
    pub(crate) peer: &'a str,
    /// Interface index of the bridge.
    pub(crate) bridge: u32,
    pub(crate) pid: u32,
    pub(crate) mtu: u32,
}

fn exists_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn acknowledged(reply: &[u8]) -> io::Result<()> {
    let (Some(kind), Some(code)) = (reply.get(4..6), reply.get(16..20)) else {
        return Err(io::Error::other("netlink answered with a truncated message"));
    };
    let kind = u16::from_ne_bytes([kind[0], kind[1]]);
    let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
    match (kind, code) {
        (NLMSG_ERROR, 0) => Ok(()),
        (NLMSG_ERROR, code) => Err(io::Error::from_raw_os_error(-code)),
        (kind, _) => Err(io::Error::other(format!("netlink answered with message type {kind}"))),
    }
}

/// The index of an interface of this network namespace.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let socket =
        net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(net::netdevice::name_to_index(&socket, name)?)
}
