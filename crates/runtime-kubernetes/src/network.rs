//! NetworkPolicies, one per kind of step. They are there before the first pod is.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;

use crate::names;
use crate::settings::Settings;

/// The values of [`names::NETWORK`], and whether pods with it have a way out.
const KINDS: [(&str, bool); 3] = [("check", true), ("step", true), ("hermetic", false)];

/// Nobody reaches a step's pod; it reaches everything, or nothing when it is hermetic. Whether policies are enforced is
/// the cluster's own affair.
pub(crate) fn policies(settings: &Settings) -> Vec<NetworkPolicy> {
    KINDS.into_iter().map(|(kind, out)| policy(settings, kind, out)).collect()
}

fn policy(settings: &Settings, kind: &str, out: bool) -> NetworkPolicy {
    let mut labels: BTreeMap<String, String> = names::ours(&settings.worker_name);
    let metadata = ObjectMeta {
        name: Some(names::of_worker(&settings.worker_name, kind)),
        namespace: Some(settings.namespace.clone()),
        labels: Some(labels.clone()),
        ..ObjectMeta::default()
    };
    labels.insert(names::NETWORK.to_owned(), kind.to_owned());
    let spec = NetworkPolicySpec {
        pod_selector: Some(LabelSelector { match_labels: Some(labels), match_expressions: None }),
        policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        ingress: None,
        egress: out.then(|| vec![NetworkPolicyEgressRule::default()]),
    };
    NetworkPolicy { metadata, spec: Some(spec) }
}
