//! NetworkPolicies, one per kind of step. They are there before the first pod is.

pub(crate) mod kept;
pub(crate) mod link;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jb_model::address::METADATA;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use crate::names;
use crate::settings::{ArtifactStore, Settings};

/// What pods reach.
#[derive(Clone, Copy)]
enum Reach {
    /// All that is not denied.
    World,
    /// That, and servers beside it.
    WorldAndServers,
    Gateways,
    /// Gateways, and all that is not denied but the API server.
    WorldAndGateways,
    Nothing,
}

/// The values of [`names::NETWORK`].
const KINDS: [(&str, Reach); 7] = [
    ("check", Reach::World),
    ("step", Reach::World),
    ("hermetic", Reach::Nothing),
    (link::GATEWAY, Reach::WorldAndServers),
    (link::SERVER, Reach::World),
    (link::AGENT, Reach::Gateways),
    (link::OPEN_AGENT, Reach::WorldAndGateways),
];

/// Whether pods of a kind reach more than single pods.
pub(crate) fn reaches_world(kind: &str) -> bool {
    KINDS.iter().any(|(name, reach)| *name == kind && reach.is_world())
}

impl Reach {
    const fn is_world(self) -> bool {
        matches!(self, Self::World | Self::WorldAndServers | Self::WorldAndGateways)
    }
}

/// Every address, of both families.
const EVERYWHERE: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
];

/// Where resolvers listen; OpenShift's do at the second. Many are at link-local addresses.
const NAMES: [i32; 2] = [53, 5353];

/// Nobody reaches a step's pod. It reaches nothing when it is hermetic, else everything but what is denied. Whether
/// policies are enforced is the cluster's own affair. The API server is at the addresses `api`, as `host:port`.
pub(crate) fn policies(settings: &Settings, api: &[String]) -> Vec<NetworkPolicy> {
    KINDS.into_iter().map(|(kind, reach)| policy(settings, api, kind, reach)).collect()
}

fn policy(settings: &Settings, api: &[String], kind: &str, reach: Reach) -> NetworkPolicy {
    let world = |further: &[IpNet]| {
        egress(&settings.deny_egress, further).into_iter().chain(to_store(settings))
    };
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(of_kind(settings, kind))),
        policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        // No rules rather than none that are named: whoever adds some has changed what is ours.
        ingress: Some(Vec::new()),
        egress: Some(match reach {
            Reach::World => world(&[]).collect(),
            Reach::WorldAndServers => {
                world(&[]).chain([link::to_kind(settings, link::SERVER)]).collect()
            }
            Reach::Gateways => vec![link::to_kind(settings, link::GATEWAY)],
            Reach::WorldAndGateways => {
                let api = api.iter().filter_map(|address| address.parse::<SocketAddr>().ok());
                let api: Vec<IpNet> = api.map(|address| address.ip().into()).collect();
                world(&api).chain([link::to_kind(settings, link::GATEWAY)]).collect()
            }
            Reach::Nothing => Vec::new(),
        }),
    };
    let name = names::of_worker(&settings.worker_name, kind);
    NetworkPolicy { metadata: metadata(settings, name), spec: Some(spec) }
}

fn metadata(settings: &Settings, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(settings.namespace.clone()),
        labels: Some(names::ours(&settings.worker_name)),
        ..ObjectMeta::default()
    }
}

/// The labels of all pods of a kind.
fn of_kind(settings: &Settings, kind: &str) -> BTreeMap<String, String> {
    let mut labels = names::ours(&settings.worker_name);
    labels.insert(names::NETWORK.to_owned(), kind.to_owned());
    labels
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

/// Rules add up: what one of them allows, no other denies. `further` are single machines that are denied, too.
fn egress(denied: &[IpNet], further: &[IpNet]) -> Vec<NetworkPolicyEgressRule> {
    let all = [denied, further].concat();
    let mut peers: Vec<_> = EVERYWHERE.iter().filter_map(|family| without(*family, &all)).collect();
    if denied.is_empty() {
        // Some clusters do not count pods among addresses. Where addresses are denied, pods' may be among them.
        peers.push(NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        });
    }
    // A rule without peers would allow everything.
    let addresses =
        (!peers.is_empty()).then_some(NetworkPolicyEgressRule { to: Some(peers), ports: None });
    let names = NAMES.into_iter().flat_map(|port| {
        ["UDP", "TCP"].map(|protocol| NetworkPolicyPort {
            protocol: Some(protocol.to_owned()),
            port: Some(IntOrString::Int(port)),
            end_port: None,
        })
    });
    let names = NetworkPolicyEgressRule { to: None, ports: Some(names.collect()) };
    addresses.into_iter().chain([names]).collect()
}

/// The way to volumes, which pods fetch and store themselves: open whatever is denied. Rules cannot have names, so a store
/// with a name must not be in a range that is denied.
fn to_store(settings: &Settings) -> Option<NetworkPolicyEgressRule> {
    let ArtifactStore::Objects(store) = &settings.artifacts else { return None };
    let address = store.endpoint_address()?;
    let cidr = IpNet::from(address.ip()).to_string();
    let peer = NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr, except: None }),
        ..NetworkPolicyPeer::default()
    };
    let port = NetworkPolicyPort {
        protocol: Some("TCP".to_owned()),
        port: Some(IntOrString::Int(address.port().into())),
        end_port: None,
    };
    Some(NetworkPolicyEgressRule { to: Some(vec![peer]), ports: Some(vec![port]) })
}

/// All addresses of a family but [`METADATA`] and the `denied`; `None` where these are all.
fn without(all: IpNet, denied: &[IpNet]) -> Option<NetworkPolicyPeer> {
    let denied = METADATA.iter().chain(denied).copied().filter(|net| all.contains(net));
    // Ranges that overlap are more than some enforcers understand.
    let except = IpNet::aggregate(&denied.collect());
    if except.contains(&all) {
        return None;
    }
    let except = except.iter().map(IpNet::to_string).collect();
    let block = IPBlock { cidr: all.to_string(), except: Some(except) };
    Some(NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::IpAddr;

    use super::*;

    /// Whether the rules let a packet to an address outside of the cluster, and to a pod.
    fn lets(denied: &[&str], port: i32, address: &str) -> bool {
        let denied: Vec<IpNet> = denied.iter().map(|cidr| cidr.parse().unwrap()).collect();
        let address: IpAddr = address.parse().unwrap();
        let within = |cidr: &String| cidr.parse::<IpNet>().unwrap().contains(&address);
        egress(&denied, &[]).iter().any(|rule| {
            let ports = rule.ports.iter().flatten();
            let mut ports = ports.map(|allowed| allowed.port.clone().unwrap());
            let any = rule.ports.is_none();
            let reached = rule.to.as_ref().is_none_or(|peers| {
                peers
                    .iter()
                    .filter_map(|peer| peer.ip_block.as_ref())
                    .any(|block| within(&block.cidr) && !block.except.iter().flatten().any(within))
            });
            reached && (any || ports.any(|allowed| allowed == IntOrString::Int(port)))
        })
    }

    #[test]
    fn steps_reach_everything_but_what_speaks_for_their_node() {
        for address in ["192.0.2.1", "10.244.0.7", "2001:db8::1", "fd00::7"] {
            assert!(lets(&[], 443, address), "{address}");
        }
        for address in [
            "169.254.169.254",
            "169.254.170.23",
            "fd00:ec2::254",
            "fe80::a9fe:a9fe",
            "168.63.129.16",
        ] {
            assert!(!lets(&[], 80, address), "{address}");
        }
    }

    #[test]
    fn names_are_resolved_wherever_the_resolver_is() {
        for address in ["169.254.20.10", "169.254.169.254", "10.96.0.10", "fd00::10"] {
            assert!(lets(&["10.0.0.0/8", "fd00::/8"], 53, address), "{address}");
        }
    }

    #[test]
    fn what_is_denied_besides_is_not_reached() {
        let denied = ["10.0.0.0/8", "2001:db8::/32"];
        for (address, is_let) in [
            ("10.1.2.3", false),
            ("2001:db8::1", false),
            ("192.0.2.1", true),
            ("2001:db9::1", true),
        ] {
            assert_eq!(lets(&denied, 443, address), is_let, "{address}");
        }
        // Pods are not let through by another rule.
        let rules = egress(&["10.0.0.0/8".parse().unwrap()], &[]);
        let peers = rules.iter().flat_map(|rule| rule.to.iter().flatten());
        assert!(peers.into_iter().all(|peer| peer.namespace_selector.is_none()));
        assert!(
            !lets(&["0.0.0.0/0"], 443, "192.0.2.1") && lets(&["0.0.0.0/0"], 443, "2001:db8::1")
        );
        assert!(!lets(&["0.0.0.0/0", "::/0"], 443, "2001:db8::1"));
    }

    #[test]
    fn a_store_is_reached_whatever_is_denied() {
        let mut settings = crate::pod::tests::with_objects();
        settings.deny_egress = vec!["10.0.0.0/8".parse().unwrap()];
        let with = |endpoint: Option<&str>| {
            let mut settings = settings.clone();
            if let ArtifactStore::Objects(store) = &mut settings.artifacts {
                store.endpoint = endpoint.map(str::to_owned);
            }
            let rules = |policy: NetworkPolicy| policy.spec.unwrap().egress.unwrap_or_default();
            policies(&settings, &[]).into_iter().map(rules).collect::<Vec<_>>()
        };
        let (named, addressed) =
            (with(Some("http://s3.test:9000")), with(Some("http://10.1.2.3:9000")));
        assert_eq!(named, with(None));
        for ((kind, reach), (before, after)) in KINDS.iter().zip(named.iter().zip(&addressed)) {
            let added: Vec<_> = after.iter().filter(|rule| !before.contains(rule)).collect();
            if !reach.is_world() {
                assert!(added.is_empty() && !reaches_world(kind), "{kind}");
                continue;
            }
            let [rule] = added.as_slice() else { panic!("{kind}: {added:?}") };
            let (to, ports) = (rule.to.as_ref().unwrap(), rule.ports.as_ref().unwrap());
            assert_eq!(to[0].ip_block.as_ref().unwrap().cidr, "10.1.2.3/32");
            assert_eq!(ports[0].port, Some(IntOrString::Int(9000)));
            assert!(reaches_world(kind) && to.len() == 1 && ports.len() == 1, "{kind}");
        }
    }

    #[test]
    fn an_agent_with_a_network_reaches_its_gateway_and_no_api_server() {
        let settings = crate::pod::tests::with_objects();
        let api = ["10.1.2.3:6443", "[fd00::1]:443", "kubernetes.test:443"].map(str::to_owned);
        let of = |wanted: &str| {
            let policies = policies(&settings, &api).into_iter();
            let mut found = policies.zip(KINDS).filter(|(_, (kind, _))| *kind == wanted);
            found.next().unwrap().0.spec.unwrap().egress.unwrap()
        };
        let (step, agent) = (of("step"), of(link::OPEN_AGENT));
        let excepts = |rules: &[NetworkPolicyEgressRule]| {
            let peers = rules.iter().flat_map(|rule| rule.to.iter().flatten());
            let blocks = peers.filter_map(|peer| peer.ip_block.clone());
            blocks.flat_map(|block| block.except.unwrap_or_default()).collect::<Vec<_>>()
        };
        let mut more = excepts(&agent);
        more.retain(|range| !excepts(&step).contains(range));
        assert_eq!(more, ["10.1.2.3/32", "fd00::1/128"]);
        assert_eq!(agent.last(), Some(&link::to_kind(&settings, link::GATEWAY)));
        assert_eq!(agent.len(), step.len() + 1);
    }

    #[test]
    fn no_range_is_named_that_another_has() {
        let denied = ["169.254.169.254/32", "10.0.0.0/9", "10.128.0.0/9"];
        let denied: Vec<IpNet> = denied.iter().map(|cidr| cidr.parse().unwrap()).collect();
        let block = without(EVERYWHERE[0], &denied).unwrap().ip_block.unwrap();
        let expected = ["10.0.0.0/8", "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16"];
        assert_eq!(block.except.unwrap(), expected);
    }
}
