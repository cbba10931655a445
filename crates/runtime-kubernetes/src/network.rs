//! NetworkPolicies, one per kind of step. They are there before the first pod is.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};

use crate::settings::Settings;
use crate::{api, names};

/// The kind of an agent's pod, which reaches gateways.
pub(crate) const AGENT: &str = "agent";
/// The kind of a gateway's pod, which reaches models; only the agent of its own step gets to it.
pub(crate) const GATEWAY: &str = "gateway";
/// Where the pod that serves a link listens.
pub(crate) const LINK_PORT: u16 = 4180;

/// What pods reach.
#[derive(Clone, Copy)]
enum Reach {
    Everything,
    Gateways,
    Nothing,
}

/// The values of [`names::NETWORK`].
const KINDS: [(&str, Reach); 5] = [
    ("check", Reach::Everything),
    ("step", Reach::Everything),
    ("hermetic", Reach::Nothing),
    (GATEWAY, Reach::Everything),
    (AGENT, Reach::Gateways),
];

/// Nobody reaches a step's pod; it reaches everything, or nothing when it is hermetic. Whether policies are enforced is
/// the cluster's own affair.
pub(crate) fn policies(settings: &Settings) -> Vec<NetworkPolicy> {
    KINDS.into_iter().map(|(kind, reach)| policy(settings, kind, reach)).collect()
}

fn policy(settings: &Settings, kind: &str, reach: Reach) -> NetworkPolicy {
    let egress = match reach {
        Reach::Everything => Some(vec![NetworkPolicyEgressRule::default()]),
        Reach::Gateways => {
            let peer = pods(of_kind(settings, GATEWAY));
            Some(vec![NetworkPolicyEgressRule { ports: Some(vec![port()]), to: Some(vec![peer]) }])
        }
        Reach::Nothing => None,
    };
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(of_kind(settings, kind))),
        policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        ingress: None,
        egress,
    };
    let name = names::of_worker(&settings.worker_name, kind);
    NetworkPolicy { metadata: metadata(settings, name), spec: Some(spec) }
}

/// Lets the one end of a link reach the other, `serving`, with which the policy goes.
pub(crate) fn link(settings: &Settings, hash: &str, serving: &Pod) -> NetworkPolicy {
    let end = |kind: &str| {
        let mut labels = of_kind(settings, kind);
        labels.insert(names::LINK.to_owned(), hash.to_owned());
        labels
    };
    let ingress =
        NetworkPolicyIngressRule { from: Some(vec![pods(end(AGENT))]), ports: Some(vec![port()]) };
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(end(GATEWAY))),
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

/// Makes a policy what it shall be, whatever it was.
pub(crate) async fn apply(
    policies: &Api<NetworkPolicy>,
    policy: &NetworkPolicy,
) -> kube::Result<()> {
    let name = policy.metadata.name.clone().unwrap_or_default();
    let (params, patch) = (PatchParams::apply("jetbridge").force(), Patch::Apply(policy));
    api::call("apply a network policy", || policies.patch(&name, &params, &patch)).await.map(drop)
}

fn metadata(settings: &Settings, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(settings.namespace.clone()),
        labels: Some(names::ours(&settings.worker_name)),
        ..ObjectMeta::default()
    }
}

fn of_kind(settings: &Settings, kind: &str) -> BTreeMap<String, String> {
    let mut labels = names::ours(&settings.worker_name);
    labels.insert(names::NETWORK.to_owned(), kind.to_owned());
    labels
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn pods(labels: BTreeMap<String, String>) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(selector(labels)), ..NetworkPolicyPeer::default() }
}

fn port() -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(LINK_PORT.into())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}
