//! The port's own checks, with volumes in a claim and in an object store, where pods may do least and where clusters
//! offer least.

use jb_runtime::Image;
use jb_runtime::conformance::{Subject, run_all};
use jb_runtime_kubernetes::{Detect, PodSecurity, Settings};
use jb_test_object_store::TestStore;

use crate::cluster::Cluster;
use crate::objects::keep_in;

fn restricted(_: &mut Settings) {}

fn init_containers(settings: &mut Settings) {
    settings.pod_security = PodSecurity::Baseline;
    settings.image_volumes = Detect::Never;
    settings.user_namespaces = Detect::Never;
}

async fn conforms(level: &str, adjust: fn(&mut Settings), store: Option<TestStore>) {
    let Some(cluster) = Cluster::find(level) else { return };
    let runtime = cluster
        .runtime(|settings| {
            adjust(settings);
            if let Some(store) = &store {
                keep_in(store, settings);
            }
        })
        .await;
    let prefix = format!("{}-c", cluster.namespace);
    let subject = Subject { runtime: &runtime, image: &Image::Host, prefix: &prefix };
    let outcome = run_all(subject).await;
    cluster.clear();
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    if let Some(store) = store {
        assert_eq!(store.files(), [""; 0], "objects of volumes that were destroyed stay");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms_where_pods_are_restricted() {
    conforms("restricted", restricted, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms_at_the_baseline_with_init_containers() {
    conforms("baseline", init_containers, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms_with_objects_where_pods_are_restricted() {
    let Some(store) = TestStore::reached_by_pods() else { return };
    conforms("restricted", restricted, Some(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms_with_objects_at_the_baseline_with_init_containers() {
    let Some(store) = TestStore::reached_by_pods() else { return };
    conforms("baseline", init_containers, Some(store)).await;
}
