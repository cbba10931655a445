//! What each component is told: its configuration file and its flags.

use std::path::PathBuf;

use serde_json::json;

use crate::cluster::NetworkPolicy;
use crate::cluster::certificates::{ADMIN, KUBELET};
use crate::cluster::place::{self, Place};
use crate::cluster::programs::Programs;

/// The image of pods' first processes.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:1";

/// The log of writes begins anew when it is this large.
const AUDIT_LOG_MIB: u32 = 100;

/// A node that says nothing for this long is not ready. Tests wait for that; a busy machine must not come near it.
const NODE_SILENCE_SECONDS: u32 = 20;
/// A quarter passes between two words of a node.
const NODE_LEASE_SECONDS: u32 = 8;

/// A program to run and its flags.
pub(crate) struct Component {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// The part of the cluster that runs before there is an API to speak to.
pub(crate) fn foundation(place: &Place, programs: &Programs) -> Vec<Component> {
    let etcd = "http://127.0.0.1:2379";
    vec![
        Component {
            name: "containerd",
            program: programs.containerd.join("containerd"),
            arguments: flags(&[("config", path(place, "containerd.toml"))]),
        },
        Component {
            name: "etcd",
            program: programs.etcd.clone(),
            arguments: flags(&[
                ("data-dir", path(place, "etcd")),
                ("listen-client-urls", etcd.to_owned()),
                ("advertise-client-urls", etcd.to_owned()),
                ("listen-peer-urls", "http://127.0.0.1:2380".to_owned()),
                // Nothing in a cluster for tests must survive the machine.
                ("unsafe-no-fsync", "true".to_owned()),
            ]),
        },
        component(programs, "apiserver", api_server(place, etcd)),
    ]
}

fn api_server(place: &Place, etcd: &str) -> Vec<String> {
    flags(&[
        ("etcd-servers", etcd.to_owned()),
        ("bind-address", "0.0.0.0".to_owned()),
        ("advertise-address", place.node_address().to_string()),
        ("service-cluster-ip-range", place::SERVICES.to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("allow-privileged", "true".to_owned()),
        ("client-ca-file", place.pki("ca.crt")),
        ("tls-cert-file", place.pki("apiserver.crt")),
        ("tls-private-key-file", place.pki("apiserver.key")),
        ("kubelet-client-certificate", place.pki("apiserver-kubelet.crt")),
        ("kubelet-client-key", place.pki("apiserver-kubelet.key")),
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".to_owned()),
        ("service-account-key-file", place.pki("service-accounts.pub")),
        ("service-account-signing-key-file", place.pki("service-accounts.key")),
        ("audit-policy-file", path(place, "audit.json")),
        ("audit-log-path", place.audit_log().display().to_string()),
        ("audit-log-maxsize", AUDIT_LOG_MIB.to_string()),
        ("audit-log-maxbackup", "1".to_owned()),
    ])
}

/// What runs once the API answers; the kubelet comes last, when all that serves its pods is there.
pub(crate) fn controllers(
    place: &Place,
    programs: &Programs,
    network_policy: NetworkPolicy,
) -> Vec<Component> {
    let admin = ("kubeconfig", place.kubeconfig().display().to_string());
    let alone = ("leader-elect", "false".to_owned());
    let mut all = vec![
        component(
            programs,
            "controller-manager",
            flags(&[
                admin.clone(),
                alone.clone(),
                ("use-service-account-credentials", "true".to_owned()),
                ("service-account-private-key-file", place.pki("service-accounts.key")),
                ("root-ca-file", place.pki("ca.crt")),
                ("cluster-signing-cert-file", place.pki("ca.crt")),
                ("cluster-signing-key-file", place.pki("ca.key")),
                ("node-monitor-grace-period", format!("{NODE_SILENCE_SECONDS}s")),
                ("node-monitor-period", "1s".to_owned()),
            ]),
        ),
        component(programs, "scheduler", flags(&[admin.clone(), alone])),
        component(
            programs,
            "proxy",
            flags(&[
                admin.clone(),
                ("hostname-override", place::NODE.to_owned()),
                ("proxy-mode", "iptables".to_owned()),
                ("cluster-cidr", place::PODS.to_owned()),
                // These settings belong to the whole machine.
                ("conntrack-max-per-core", "0".to_owned()),
                ("conntrack-tcp-timeout-established", "0".to_owned()),
                ("conntrack-tcp-timeout-close-wait", "0".to_owned()),
            ]),
        ),
    ];
    all.push(Component {
        name: "dns",
        program: programs.dns.clone(),
        arguments: vec!["-conf".to_owned(), path(place, "Corefile")],
    });
    if network_policy == NetworkPolicy::Enforced {
        let socket = place.policy_socket().display().to_string();
        all.push(component(programs, "network-policy", flags(&[admin, ("socket", socket)])));
    }
    all.push(component(
        programs,
        "kubelet",
        flags(&[
            ("config", path(place, "kubelet.json")),
            ("kubeconfig", path(place, "kubelet.conf")),
            ("root-dir", path(place, "kubelet")),
            ("hostname-override", place::NODE.to_owned()),
            ("node-ip", place.node_address().to_string()),
        ]),
    ));
    all
}

fn component(programs: &Programs, name: &'static str, flags: Vec<String>) -> Component {
    let arguments = std::iter::once(name.to_owned()).chain(flags).collect();
    Component { name, program: programs.kubernetes.clone(), arguments }
}

fn flags(pairs: &[(&str, String)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn path(place: &Place, name: &str) -> String {
    place.dir.join(name).display().to_string()
}

/// All configuration files by name.
pub(crate) fn files(
    place: &Place,
    programs: &Programs,
    network_policy: NetworkPolicy,
) -> Vec<(&'static str, String)> {
    vec![
        (place::KUBECONFIG, kubeconfig(place, ADMIN)),
        ("audit.json", audit()),
        ("kubelet.conf", kubeconfig(place, KUBELET)),
        ("kubelet.json", kubelet(place)),
        ("containerd.toml", containerd(place, programs)),
        ("cni/pods.conflist", pod_network(place, network_policy)),
        ("Corefile", names(place)),
    ]
}

/// Who wrote what and when, but for what nodes tell of their pods and themselves.
fn audit() -> String {
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": ["system:nodes"]},
            {"level": "None", "resources": [
                {"group": "", "resources": ["events"]},
                {"group": "events.k8s.io"},
                {"group": "coordination.k8s.io"},
            ]},
            {"level": "Metadata", "verbs": writes},
        ],
    })
    .to_string()
}

fn kubeconfig(place: &Place, user: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{
            "name": "test",
            "cluster": {"server": place.server(), "certificate-authority": place.pki("ca.crt")},
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate": place.pki(&format!("{user}.crt")),
                "client-key": place.pki(&format!("{user}.key")),
            },
        }],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
    })
    .to_string()
}

fn kubelet(place: &Place) -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": place.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": place.pki("kubelet.crt"),
        "tlsPrivateKeyFile": place.pki("kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", place.containerd_socket().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", place.cgroup()),
        // Machines with both versions of control groups count as ones with the first.
        "failCgroupV1": false,
        "failSwapOn": false,
        "podLogsDir": path(place, "pod-logs"),
        "clusterDNS": [place::DNS_SERVICE.to_string()],
        "clusterDomain": place::DOMAIN,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        // Images come from `load` and could not be pulled again.
        "imageGCHighThresholdPercent": 100,
        "maxPods": 250,
        "nodeLeaseDurationSeconds": NODE_LEASE_SECONDS,
    })
    .to_string()
}

fn containerd(place: &Place, programs: &Programs) -> String {
    format!(
        r#"version = 3
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{registries}"
[plugins."io.containerd.cri.v1.runtime"]
  # So that pods start where CAP_SYS_RESOURCE is missing, too.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{plugins}"]
  conf_dir = "{networks}"
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
"#,
        root = path(place, "containerd/root"),
        state = path(place, "containerd/state"),
        opt = path(place, "containerd/opt"),
        socket = place.containerd_socket().display(),
        registries = place.registries().display(),
        plugins = programs.plugins.display(),
        networks = path(place, "cni"),
        runc = programs.runc.display(),
    )
}

fn pod_network(place: &Place, network_policy: NetworkPolicy) -> String {
    let addresses = json!({
        "type": "host-local",
        "dataDir": path(place, "addresses"),
        "ranges": [[{"subnet": place::PODS_OF_NODE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    let mut plugins = vec![
        json!({"type": "ptp", "ipMasq": true, "ipam": addresses}),
        json!({"type": "portmap", "capabilities": {"portMappings": true}}),
    ];
    if network_policy == NetworkPolicy::Enforced {
        let socket = place.policy_socket().display().to_string();
        plugins.push(json!({"type": "network-policy-attach", "socket": socket}));
    }
    json!({"cniVersion": "1.0.0", "name": place.pod_network(), "plugins": plugins}).to_string()
}

/// Names of services and pods come from the API, all others from where this machine asks.
fn names(place: &Place) -> String {
    let (address, domain) = (place.node_address(), place::DOMAIN);
    let kubeconfig = place.kubeconfig();
    format!(
        ".:53 {{
    bind {address}
    errors
    ready 127.0.0.1:8181
    kubernetes {domain} in-addr.arpa {{
        kubeconfig {}
        pods insecure
        fallthrough in-addr.arpa
        ttl 5
    }}
    forward . /etc/resolv.conf
    cache 5
}}
",
        kubeconfig.display()
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn place() -> Place {
        Place::new(Path::new("/var/tmp/cluster")).unwrap()
    }

    #[test]
    fn without_enforcement_nothing_holds_pods_back() {
        let enforced = pod_network(&place(), NetworkPolicy::Enforced);
        assert!(enforced.contains("network-policy-attach"), "{enforced}");
        let stored = pod_network(&place(), NetworkPolicy::Stored);
        assert!(!stored.contains("network-policy-attach"), "{stored}");
    }

    #[test]
    fn everything_the_kubelet_keeps_lies_in_the_clusters_directory() {
        let kubelet = kubelet(&place());
        assert!(kubelet.contains(r#""podLogsDir":"/var/tmp/cluster/pod-logs""#), "{kubelet}");
        assert!(kubelet.contains(r#""cgroupRoot":"/jetbridge-"#), "{kubelet}");
    }
}
