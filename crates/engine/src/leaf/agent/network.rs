//! What a step's programs reach, as its containers and what runs in them are told of it.

use std::net::{IpAddr, SocketAddr};

use jb_agent_protocol::network::{PrivateHost, Proxy, Reach};
use jb_model::address;
use jb_model::agent::{AgentConfig, AgentNetwork, HostPattern};

use crate::agents::AgentSettings;

/// Where programs in the agent's container find the proxy.
const LISTEN: &str = "127.0.0.1:3128";

fn names(hosts: &[HostPattern]) -> Vec<String> {
    hosts.iter().map(HostPattern::to_string).collect()
}

/// Whether the agent's container has loopback alone.
pub(super) fn is_hermetic(agent: &AgentConfig) -> bool {
    agent.network != AgentNetwork::Full
}

/// What the harness is told.
pub(super) fn reach(agent: &AgentConfig) -> Reach {
    match &agent.network {
        AgentNetwork::Gateway => Reach::Gateway,
        AgentNetwork::Hosts(hosts) => {
            Reach::Hosts { hosts: names(hosts), listen: LISTEN.to_owned() }
        }
        AgentNetwork::Full => Reach::Full,
    }
}

/// What the gateway is told. The runtime's own machinery is `off_limits`, whatever name leads there.
pub(super) fn proxy(
    agent: &AgentConfig,
    settings: &AgentSettings,
    off_limits: &[String],
) -> Option<Proxy> {
    let AgentNetwork::Hosts(hosts) = &agent.network else { return None };
    let private = settings.private_hosts.iter();
    let private = private
        .map(|(name, range)| PrivateHost { name: name.to_string(), cidr: range.to_string() });
    let denied = off_limits.iter().filter_map(|address| Some(parsed(address)?.ip()));
    Some(Proxy { hosts: names(hosts), private: private.collect(), denied: denied.collect() })
}

/// Addresses that must not answer in the agent's container. One with a network reaches what is public.
pub(super) fn forbidden(
    agent: &AgentConfig,
    settings: &AgentSettings,
    off_limits: &[String],
) -> Vec<String> {
    let public = |address: &&String| parsed(address).is_some_and(|it| address::is_public(it.ip()));
    let known = settings.forbidden.iter().filter(|it| is_hermetic(agent) || !public(it));
    known.chain(off_limits).cloned().collect()
}

fn parsed(address: &str) -> Option<SocketAddr> {
    let (host, port) = address.rsplit_once(':')?;
    let host: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn agent(network: AgentNetwork) -> AgentConfig {
        AgentConfig { network, ..AgentConfig::default() }
    }

    #[test]
    fn an_agent_with_a_network_is_still_kept_from_what_speaks_for_machines() {
        let settings = AgentSettings::default();
        let off_limits = ["34.1.1.1:443".to_owned(), "[fd00::1]:6443".to_owned()];
        let of = |network| forbidden(&agent(network), &settings, &off_limits);
        let every = [&settings.forbidden, &off_limits[..]].concat();
        assert_eq!(of(AgentNetwork::Gateway), every);
        assert_eq!(of(AgentNetwork::hosts(&["a.test".into()]).unwrap()), every);
        let expected = ["169.254.169.254:80", "34.1.1.1:443", "[fd00::1]:6443"];
        assert_eq!(of(AgentNetwork::Full), expected);
    }

    #[test]
    fn the_gateway_alone_is_told_what_is_let_through() {
        let private = (HostPattern::parse("*.corp.test").unwrap(), "10.0.0.0/8".parse().unwrap());
        let settings = AgentSettings { private_hosts: vec![private], ..AgentSettings::default() };
        let off_limits = ["34.1.1.1:443".to_owned(), "kubernetes.test:443".to_owned()];
        for network in [AgentNetwork::Gateway, AgentNetwork::Full] {
            assert_eq!(proxy(&agent(network), &settings, &off_limits), None);
        }
        let hosts = agent(AgentNetwork::hosts(&["A.test".into()]).unwrap());
        let expected = Proxy {
            hosts: vec!["a.test".into()],
            private: vec![PrivateHost { name: "*.corp.test".into(), cidr: "10.0.0.0/8".into() }],
            denied: vec!["34.1.1.1".parse().unwrap()],
        };
        assert_eq!(proxy(&hosts, &settings, &off_limits), Some(expected));
        assert!(matches!(reach(&hosts), Reach::Hosts { hosts, .. } if hosts == ["a.test"]));
    }
}
