//! Images behind a login: what nodes are given to pull them with, and for how long.

use jb_model::VolumeHandle;
use jb_oci::{Credentials, Options};
use jb_runtime::{ImageFetch, Runtime};
use jb_runtime_kubernetes::KubernetesRuntime;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::cluster::Cluster;
use crate::docker_registry::Registry;
use crate::image::{Contents, Layer, request};

/// Fetches an image; how it ended, and what was said.
async fn fetch(
    runtime: &KubernetesRuntime,
    volume: &VolumeHandle,
    (repository, digest): (&str, &str),
    password: &str,
) -> (ImageFetch, String) {
    let source = json!({"username": "someone", "password": password});
    let (sender, mut lines) = mpsc::channel(100);
    let request = request(repository, digest, source);
    let outcome = runtime.fetch_image(volume, request, sender).await.unwrap();
    let mut log = String::new();
    while let Ok(line) = lines.try_recv() {
        log.push_str(&line);
    }
    (outcome, log)
}

/// The logins that nodes have.
fn logins(cluster: &Cluster) -> Vec<Value> {
    let list = cluster.kubectl(&["get", "secrets", "--output=json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let secrets = list["items"].as_array().unwrap().iter();
    secrets.filter(|secret| secret["type"] == "kubernetes.io/dockerconfigjson").cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_lasts_as_long_as_its_image() {
    let Some(registry) = Registry::start_with_login() else { return };
    let Some(cluster) = Cluster::find("restricted") else { return };
    let layer = Layer::new().file("hello", "world").done();
    let contents = Contents::default();
    let damaged = contents.image_that_says("{\"config\": {\"User\": 5}}", &[&layer]);
    let digest = contents.image(&[&layer]);
    let login = Credentials { username: "someone".into(), password: "s3cret".into() };
    let options = Options { credentials: Some(login), ..Options::default() };
    let client = jb_oci::Registry::connect(&registry.host(), options).await.unwrap();
    contents.push(&client, "app", "x").await;

    let runtime = cluster.runtime(|_| {}).await;
    let volume = VolumeHandle::new("b1-get-1-v");
    let repository = registry.name("app");
    // Fetched again, as after a restart, it is kept once.
    for _ in 0..2 {
        let (outcome, log) = fetch(&runtime, &volume, (&repository, &digest), "s3cret").await;
        assert!(matches!(outcome, ImageFetch::Fetched(_)), "{log}");
        assert!(!log.contains("s3cret"), "{log}");
        assert_eq!(logins(&cluster).len(), 1);
    }
    let annotations = &logins(&cluster)[0]["metadata"]["annotations"];
    assert_eq!(annotations["jetbridge.dev/volume"], "b1-get-1-v", "{annotations}");
    // What cannot be had leaves none.
    let other = VolumeHandle::new("b1-get-2-v");
    for (digest, password, why) in
        [(&digest, "wr0ng", "denied access"), (&damaged, "s3cret", "invalid type: integer `5`")]
    {
        let (outcome, log) = fetch(&runtime, &other, (&repository, digest), password).await;
        assert_eq!(outcome, ImageFetch::Failed);
        assert!(log.contains(why), "{log}");
    }
    assert_eq!(logins(&cluster).len(), 1);
    // Another server removes it with its volume.
    let runtime = cluster.runtime(|_| {}).await;
    runtime.destroy_volume(&volume).await.unwrap();
    assert_eq!(logins(&cluster).len(), 0);
    runtime.destroy_volume(&volume).await.unwrap();
    cluster.clear();
}
