//! What the proxy lets through. Pure.

use std::net::IpAddr;

use axum::http::StatusCode;
use ipnet::IpNet;
use jb_agent_protocol::network::ConnectionOutcome;
use jb_model::address;
use jb_model::agent::HostPattern;
use jb_model::agent::network::{NoHostName, host_name};

use super::hello::HelloError;

/// The one port that is reached.
pub(super) const PORT: u16 = 443;

/// Why a connection is not let through, or came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    PlainHttp,
    Address,
    NoHost(NoHostName),
    NoPort,
    NotListed {
        host: String,
        listed: String,
    },
    Port {
        host: String,
        port: String,
    },
    /// The name leads to an address that is nobody's on the internet.
    Inside {
        host: String,
        address: IpAddr,
    },
    /// The step is answered from a recording.
    Replayed,
    Headers,
    Busy(usize),
    Spent(u32),
    Unresolved {
        host: String,
        why: String,
    },
    Unreachable {
        host: String,
        why: String,
    },
    Hello(HelloError),
    OtherName {
        host: String,
        named: String,
    },
    Silent,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PlainHttp => f.write_str("plain HTTP is not let through: use https"),
            Self::Address => f.write_str("addresses are not let through: use the host's name"),
            Self::NoHost(what) => write!(f, "this is no host: {what}"),
            Self::NoPort => write!(f, "the port is missing; only port {PORT} is let through"),
            Self::NotListed { host, listed } => {
                write!(f, "`{host}` is not in this step's `network:` list; there are: {listed}")
            }
            Self::Port { host, port } => {
                write!(f, "port {port} of `{host}` is not let through; only port {PORT} is")
            }
            Self::Inside { host, address } => write!(
                f,
                "`{host}` leads to {address}, which is no public address: the server's operator may allow it with --agent-private-hosts"
            ),
            Self::Replayed => {
                f.write_str("this step is answered from a recording, and reaches no host meanwhile")
            }
            Self::Headers => f.write_str("the request's headers are too long"),
            Self::Busy(max) => write!(f, "{max} connections are open, and no more are let through"),
            Self::Spent(max) => {
                write!(f, "this step asked for {max} connections, and no more are let through")
            }
            Self::Unresolved { host, why } => write!(f, "`{host}` has no address: {why}"),
            Self::Unreachable { host, why } => write!(f, "`{host}` cannot be reached: {why}"),
            Self::Hello(what) => write!(f, "{what}"),
            Self::OtherName { host, named } => {
                write!(f, "the connection is for `{host}`, and its TLS names `{named}`")
            }
            Self::Silent => f.write_str("the connection did not begin with TLS in time"),
        }
    }
}

impl Refusal {
    pub(super) fn outcome(&self) -> ConnectionOutcome {
        match self {
            Self::Unresolved { .. } | Self::Unreachable { .. } | Self::Silent => {
                ConnectionOutcome::Failed
            }
            _ => ConnectionOutcome::Denied,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoHost(_) | Self::NoPort => StatusCode::BAD_REQUEST,
            Self::Headers => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Spent(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unresolved { .. } | Self::Unreachable { .. } => StatusCode::BAD_GATEWAY,
            _ => StatusCode::FORBIDDEN,
        }
    }
}

/// The host that is asked for as `host:port`, if it is one that the step lists. No name was looked up by then.
pub(super) fn target(authority: &str, hosts: &[HostPattern]) -> Result<String, Refusal> {
    let (host, port) = match authority.rsplit_once(':') {
        // What is left of an address in brackets has no port.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host = host_name(host).map_err(|what| match what {
        // An address of the later protocol without brackets, which ends in what looks like a port.
        NoHostName::Address | NoHostName::Port => Refusal::Address,
        _ if host.contains(':') => Refusal::Address,
        what => Refusal::NoHost(what),
    })?;
    if !hosts.iter().any(|pattern| pattern.matches(&host)) {
        let listed: Vec<String> = hosts.iter().map(HostPattern::to_string).collect();
        return Err(Refusal::NotListed { host, listed: listed.join(", ") });
    }
    match port {
        None | Some("") => Err(Refusal::NoPort),
        Some("443") => Ok(host),
        Some(port) => Err(Refusal::Port { host, port: port.to_owned() }),
    }
}

/// Names whose addresses may be private, and the range that these are in.
pub(super) type Private = (HostPattern, IpNet);

/// Whether the operator says where the host's private addresses are.
pub(super) fn is_private(host: &str, private: &[Private]) -> bool {
    private.iter().any(|(pattern, _)| pattern.matches(host))
}

/// Refuses a host of which any address is nobody's on the internet, or is denied. A private one may be where the operator says.
pub(super) fn admissible(
    host: &str,
    addresses: &[IpAddr],
    private: &[Private],
    denied: &[IpAddr],
) -> Result<(), Refusal> {
    let may = |address: IpAddr| {
        let meant = address::meant(address);
        let ranges = private.iter().filter(|(pattern, _)| pattern.matches(host));
        let within = || ranges.map(|(_, range)| range).any(|range| range.contains(&meant));
        let is_denied = denied.iter().any(|denied| address::meant(*denied) == meant);
        !is_denied && !address::is_own(address) && (address::is_public(address) || within())
    };
    match addresses.iter().find(|address| !may(**address)) {
        None => Ok(()),
        Some(&address) => Err(Refusal::Inside { host: host.to_owned(), address }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn patterns(names: &[&str]) -> Vec<HostPattern> {
        names.iter().map(|name| HostPattern::parse(name).unwrap()).collect()
    }

    #[test]
    fn only_listed_names_at_one_port_are_let_through() {
        let hosts = patterns(&["crates.io", "*.example.com"]);
        let ask = |authority: &str| target(authority, &hosts);
        for (authority, host) in [
            ("crates.io:443", "crates.io"),
            ("CRATES.io.:443", "crates.io"),
            ("a.example.com:443", "a.example.com"),
            ("a.b.example.com:443", "a.b.example.com"),
        ] {
            assert_eq!(ask(authority).as_deref(), Ok(host), "{authority}");
        }
        for authority in [
            "evil.test:443",
            "static.crates.io:443",
            "crates.io.evil.test:443",
            "example.com:443",
            "evil.test:80",
            "crates.io..:443",
        ] {
            let refusal = ask(authority).unwrap_err();
            let is_name = matches!(refusal, Refusal::NotListed { .. } | Refusal::NoHost(_));
            assert!(is_name, "{authority}: {refusal}");
        }
        for authority in ["crates.io:80", "crates.io:0443", "crates.io:+443", "crates.io:4430"] {
            assert!(matches!(ask(authority), Err(Refusal::Port { .. })), "{authority}");
        }
        for authority in ["crates.io", "crates.io:"] {
            assert_eq!(ask(authority), Err(Refusal::NoPort), "{authority}");
        }
        for authority in ["", ":443", "user@crates.io:443", "user:pw@crates.io:443", "a b.io:443"] {
            assert!(ask(authority).is_err(), "{authority}");
        }
        let said = ask("evil.test:443").unwrap_err();
        assert_eq!(
            said.to_string(),
            "`evil.test` is not in this step's `network:` list; there are: crates.io, *.example.com"
        );
        assert_eq!((said.status().as_u16(), said.outcome()), (403, ConnectionOutcome::Denied));
    }

    #[test]
    fn addresses_are_refused_in_every_spelling() {
        let hosts = patterns(&["crates.io"]);
        for authority in [
            "1.1.1.1:443",
            "1.1.1.1.:443",
            "1.1.1.1",
            "1.1:443",
            "0x1010101:443",
            "0x01.0x01.0x01.0x01:443",
            "01.01.01.01:443",
            "16843009:443",
            "crates.io.1:443",
            "[2606:4700::1111]:443",
            "[2606:4700::1111]",
            "2606:4700::1111:443",
            "[fe80::1%25eth0]:443",
            "[::ffff:1.1.1.1]:443",
            "[::ffff:101:101]:443",
        ] {
            assert_eq!(target(authority, &hosts), Err(Refusal::Address), "{authority}");
        }
    }

    #[test]
    fn one_address_that_is_not_public_is_one_too_many() {
        let private: Vec<Private> = [("*.corp.test", "10.1.0.0/16"), ("lo.test", "127.0.0.0/8")]
            .map(|(name, range)| (HostPattern::parse(name).unwrap(), range.parse().unwrap()))
            .into();
        let denied = ["34.1.1.1".parse().unwrap(), "10.1.9.9".parse().unwrap()];
        for (host, addresses, may) in [
            ("a.test", &["1.1.1.1", "2606:4700::1111"][..], true),
            ("a.test", &["1.1.1.1", "10.0.0.1"], false),
            ("a.test", &["127.0.0.1"], false),
            ("a.test", &["169.254.169.254"], false),
            ("a.test", &["::ffff:10.0.0.1"], false),
            ("a.test", &["64:ff9b::a00:1"], false),
            ("a.test", &["64:ff9b::1.1.1.1"], true),
            ("a.test", &["fd00::1"], false),
            ("a.test", &["34.1.1.1"], false),
            ("a.test", &["::ffff:34.1.1.1"], false),
            ("a.test", &["10.1.2.3"], false),
            // What the operator says of a name holds for it alone, and its range alone.
            ("npm.corp.test", &["10.1.2.3"], true),
            ("npm.corp.test", &["10.2.2.3"], false),
            ("npm.corp.test", &["10.1.9.9"], false),
            ("corp.test", &["10.1.2.3"], false),
            // No name leads to the gateway itself.
            ("lo.test", &["127.0.0.1"], false),
        ] {
            let addresses: Vec<IpAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
            let found = admissible(host, &addresses, &private, &denied);
            assert_eq!(found.is_ok(), may, "{host} {addresses:?} {found:?}");
        }
    }
}
