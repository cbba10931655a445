//! What lets an agent's pod reach its gateway's, and no other.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use super::{metadata, of_kind, selector};
use crate::names;
use crate::settings::Settings;

/// The kind of an agent's pod, which reaches gateways.
pub(crate) const AGENT: &str = "agent";
/// The kind of the pod of an agent that has the network of tasks, too.
pub(crate) const OPEN_AGENT: &str = "agent-full";
/// The kind of a gateway's pod, which reaches models; only the agent of its own step gets to it.
pub(crate) const GATEWAY: &str = "gateway";
/// Where the pod that serves a link listens.
pub(crate) const PORT: u16 = 4180;

/// The way out of agents' pods. Which of the gateways it leads to is said by [`admission`].
pub(super) fn to_gateways(settings: &Settings) -> NetworkPolicyEgressRule {
    let gateways = pods(selector(of_kind(settings, GATEWAY)));
    NetworkPolicyEgressRule { ports: Some(vec![port()]), to: Some(vec![gateways]) }
}

/// Lets the one end of a link reach the other, `serving`, with which the policy goes.
pub(crate) fn admission(settings: &Settings, hash: &str, serving: &Pod) -> NetworkPolicy {
    let end = |kind: &str| {
        let mut labels = of_kind(settings, kind);
        labels.insert(names::LINK.to_owned(), hash.to_owned());
        selector(labels)
    };
    let agents = [AGENT, OPEN_AGENT].map(|kind| pods(end(kind)));
    let ingress = NetworkPolicyIngressRule { from: Some(agents.into()), ports: Some(vec![port()]) };
    let spec = NetworkPolicySpec {
        pod_selector: Some(end(GATEWAY)),
        policy_types: Some(vec!["Ingress".to_owned()]),
        ingress: Some(vec![ingress]),
        egress: None,
    };
    let of = &serving.metadata;
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: of.name.clone().unwrap_or_default(),
        uid: of.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    };
    let metadata = ObjectMeta {
        owner_references: Some(vec![owner]),
        ..metadata(settings, of.name.clone().unwrap_or_default())
    };
    NetworkPolicy { metadata, spec: Some(spec) }
}

fn pods(labels: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(labels), ..NetworkPolicyPeer::default() }
}

fn port() -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(PORT.into())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}
