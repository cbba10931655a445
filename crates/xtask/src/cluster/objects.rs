//! What is in the cluster from the start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cluster::kubectl_ok;
use crate::cluster::place::{self, Place};
use crate::cluster::programs::Programs;

/// How many claims can be made in the cluster's life.
const VOLUMES: usize = 64;
const STORAGE_CLASS: &str = "node";
const NAME_SERVICE: &str = "kube-dns";

/// Volumes for claims: directories of this machine that any user may write to.
pub(crate) fn create(place: &Place, programs: &Programs) -> anyhow::Result<()> {
    let mut items = vec![storage_class(), name_service(), name_server(place)];
    for number in 0..VOLUMES {
        let path = place.dir.join(format!("volumes/{number:02}"));
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o1777))?;
        items.push(volume(number, &path.display().to_string()));
    }
    let file = place.dir.join("objects.json");
    fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
        .with_context(|| format!("write {}", file.display()))?;
    kubectl_ok(place, programs, &["apply", "-f", &file.display().to_string()])
}

/// The service of names under the name that clusters give it.
fn name_service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME_SERVICE,
            "namespace": "kube-system",
            "labels": {"k8s-app": NAME_SERVICE},
        },
        "spec": {
            "clusterIP": place::DNS_SERVICE.to_string(),
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    })
}

/// What is behind it: a process of the node, not a pod.
fn name_server(place: &Place) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": NAME_SERVICE,
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": NAME_SERVICE},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [place.node_address().to_string()]}],
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ],
    })
}

fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    })
}

fn volume(number: usize, path: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": format!("node-{number:02}")},
        "spec": {
            "storageClassName": STORAGE_CLASS,
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": path, "type": "Directory"},
        },
    })
}
