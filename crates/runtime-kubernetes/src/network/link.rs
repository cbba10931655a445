//! What lets an agent's pod reach its gateway's, and that the pods of its MCP servers; and no others.

use jb_runtime::Link;
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
/// The kind of the pod of an MCP server that is a program; only the gateway of its own step gets to it.
pub(crate) const SERVER: &str = "mcp";
/// Where the pod that serves a link listens.
pub(crate) const PORT: u16 = 4180;

/// What the label of a link says of a pod.
pub(crate) const fn end(link: &Link) -> &'static str {
    if link.serves { SERVES } else { CONNECTS }
}

const SERVES: &str = "serves";
const CONNECTS: &str = "connects";

/// The way to the pods of a kind that serve links: out of agents' pods to gateways, out of gateways' to servers. Which of
/// them it leads to is said by [`admission`].
pub(super) fn to_kind(settings: &Settings, kind: &str) -> NetworkPolicyEgressRule {
    let serving = pods(selector(of_kind(settings, kind)));
    NetworkPolicyEgressRule { ports: Some(vec![port()]), to: Some(vec![serving]) }
}

/// Whether a pod serves the link.
pub(crate) fn serves(pod: &Pod, link: &Link) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let end = labels.and_then(|labels| labels.get(&names::link_label(&link.volume)));
    end.is_some_and(|end| end == SERVES)
}

/// Lets the one end of a link reach the other, `serving`, with which the policy goes.
pub(crate) fn admission(settings: &Settings, link: &Link, serving: &Pod) -> NetworkPolicy {
    let end = |end: &str| {
        let mut labels = names::ours(&settings.worker_name);
        labels.insert(names::link_label(&link.volume), end.to_owned());
        selector(labels)
    };
    let from = vec![pods(end(CONNECTS))];
    let ingress = NetworkPolicyIngressRule { from: Some(from), ports: Some(vec![port()]) };
    let spec = NetworkPolicySpec {
        pod_selector: Some(end(SERVES)),
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
