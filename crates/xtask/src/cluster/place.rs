//! Where a cluster lies on this machine: its directory, and names and addresses that follow from it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

/// The administrator's access, in the cluster's directory.
pub(crate) const KUBECONFIG: &str = "admin.conf";
pub(crate) const NODE: &str = "node";
pub(crate) const DOMAIN: &str = "cluster.local";
/// Addresses of pods and services. They are seen inside the cluster's network namespace only.
pub(crate) const PODS: &str = "10.244.0.0/16";
pub(crate) const PODS_OF_NODE: &str = "10.244.0.0/22";
pub(crate) const SERVICES: &str = "10.96.0.0/16";
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
pub(crate) const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    /// Eight hexadecimal digits that follow from the directory.
    id: String,
    /// Sets this cluster's addresses apart from those of others on this machine; less than 2¹⁵.
    number: u32,
}

impl Place {
    pub(crate) fn new(dir: &Path) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir).with_context(|| format!("find {}", dir.display()))?;
        let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
        let id = crate::images::hex(&digest[..4]);
        let number = u32::from(u16::from_be_bytes([digest[4], digest[5]])) >> 1;
        Ok(Self { dir, id, number })
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join(KUBECONFIG)
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.dir.join("run/containerd.sock")
    }

    pub(crate) fn policy_socket(&self) -> PathBuf {
        self.dir.join("run/network-policy.sock")
    }

    pub(crate) fn pki(&self, file: &str) -> String {
        self.dir.join("pki").join(file).display().to_string()
    }

    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.dir.join("log").join(format!("{component}.log"))
    }

    /// Who wrote what to the API server and when: one JSON object a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.dir.join("log/audit.json")
    }

    pub(crate) fn pid_file(&self, component: &str) -> PathBuf {
        self.dir.join("run").join(format!("{component}.pid"))
    }

    /// The network namespace in which all components run.
    pub(crate) fn namespace(&self) -> String {
        format!("jetbridge-{}", self.id)
    }

    pub(crate) fn namespace_file(&self) -> PathBuf {
        Path::new("/run/netns").join(self.namespace())
    }

    /// The ends of the link: the machine's and the node's.
    pub(crate) fn interfaces(&self) -> (String, String) {
        (format!("jb{}", self.id), format!("jn{}", self.id))
    }

    /// The first of the four addresses of the link between machine and node. 198.18.0.0/15 is set aside for tests of
    /// networks: nothing else uses it.
    fn link(&self) -> u32 {
        u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 4 * self.number
    }

    /// This machine as pods and components see it.
    pub(crate) fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.link() + 1)
    }

    /// The node as this machine sees it.
    pub(crate) fn node_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.link() + 2)
    }

    /// This machine once more, at an address like those of clouds' metadata. None of theirs: they are in the upper half.
    pub(crate) fn link_local_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(169, 254, 0, 0)) + self.number)
    }

    /// Registries that nodes speak to in other ways than usual, as containerd reads them: HOST:PORT/hosts.toml.
    pub(crate) fn registries(&self) -> PathBuf {
        self.dir.join("registries")
    }

    /// What programs that use the cluster are told of it.
    pub(crate) fn variables(&self) -> [(&'static str, String); 5] {
        let (host, link_local) = (self.host_address(), self.link_local_address());
        [
            ("KUBECONFIG", self.kubeconfig().display().to_string()),
            ("JETBRIDGE_CLUSTER_DIR", self.dir.display().to_string()),
            ("JETBRIDGE_CLUSTER_HOST", host.to_string()),
            ("JETBRIDGE_CLUSTER_LINK_LOCAL", link_local.to_string()),
            ("JETBRIDGE_CLUSTER_REGISTRIES", self.registries().display().to_string()),
        ]
    }

    /// The table of rules on the machine's side.
    pub(crate) fn nft_table(&self) -> String {
        format!("jetbridge_{}", self.id)
    }

    /// The control group above those of all pods, without a leading slash.
    pub(crate) fn cgroup(&self) -> String {
        format!("jetbridge-{}", self.id)
    }

    /// The name of the pods' network; what plugins keep on this machine is named after it.
    pub(crate) fn pod_network(&self) -> String {
        format!("jetbridge-{}", self.id)
    }

    pub(crate) fn server(&self) -> String {
        format!("https://{}:6443", self.node_address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_has_names_and_addresses_of_its_own() {
        let one = Place::new(Path::new("/var/tmp/one")).unwrap();
        let other = Place::new(Path::new("/var/tmp/other")).unwrap();
        assert_ne!(one.namespace(), other.namespace());
        assert_ne!(one.node_address(), other.node_address());
        assert_eq!(
            one.node_address(),
            Place::new(Path::new("/var/tmp/one")).unwrap().node_address()
        );
    }

    #[test]
    fn names_of_interfaces_are_short_enough_for_the_kernel() {
        let (machine, node) = Place::new(Path::new("/var/tmp/one")).unwrap().interfaces();
        assert!(machine.len() < 16 && node.len() < 16);
    }

    #[test]
    fn addresses_lie_in_the_network_for_tests() {
        for name in ["/a", "/b", "/c", "/d"] {
            let octets = Place::new(Path::new(name)).unwrap().host_address().octets();
            assert!(octets[0] == 198 && (18..20).contains(&octets[1]), "{octets:?}");
            let octets = Place::new(Path::new(name)).unwrap().link_local_address().octets();
            assert!(octets[..2] == [169, 254] && octets[2] < 128, "{octets:?}");
        }
    }
}
