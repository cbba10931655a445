//! The port's own checks.

use jb_runtime::Image;
use jb_runtime::conformance::{Subject, run_all};
use jb_runtime_kubernetes::{Detect, PodSecurity, Settings};

use crate::cluster::Cluster;

async fn conforms(name: &str, adjust: impl FnOnce(&mut Settings)) {
    let Some(cluster) = Cluster::find(name) else { return };
    let runtime = cluster.runtime(adjust).await;
    let prefix = format!("{}-c", cluster.namespace);
    let subject = Subject { runtime: &runtime, image: &Image::Host, prefix: &prefix };
    let outcome = run_all(subject).await;
    cluster.clear();
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms_where_pods_are_restricted() {
    conforms("restricted", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms_at_the_baseline_with_init_containers() {
    conforms("baseline", |settings| {
        settings.pod_security = PodSecurity::Baseline;
        settings.image_volumes = Detect::Never;
        settings.user_namespaces = Detect::Never;
    })
    .await;
}
