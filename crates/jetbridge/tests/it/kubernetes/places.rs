//! Several namespaces, one for everybody, one for a team, one for a tag.

use super::Place;
use crate::cluster::Cluster;

const PIPELINE: &str = r#"
resources:
- {name: source, type: mock, source: {initial_version: "1", create_files: {a: "from source"}}}
jobs:
- name: all
  plan:
  - get: source
  - task: far
    tags: [far]
    config:
      platform: linux
      inputs: [{name: source}]
      outputs: [{name: out}]
      run: {path: sh, args: [-ec, 'cat source/a; cp source/a out/b']}
  - task: near
    config: {platform: linux, inputs: [{name: out}], run: {path: cat, args: [out/b]}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_in_the_namespace_of_their_tag() {
    let Some(far) = Cluster::find("baseline") else { return };
    let of_tag = format!("namespace={},tag=far,name=far", far.namespace);
    let options = ["--kubernetes-place", of_tag.as_str()];
    let Some(place) = Place::with("restricted", &options).await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "all").await;
    let log = api.succeeded(build).await;
    assert_eq!(log.matches("from source").count(), 2, "{log}");

    let workers = api.get("/workers").await;
    let workers: Vec<_> = workers.as_array().unwrap().iter().collect();
    assert_eq!(workers.len(), 2);
    let first = format!("k8s-{}", place.cluster.namespace);
    let named = |name: &str| workers.iter().find(|worker| worker["name"] == name).unwrap();
    assert_eq!(named("far")["tags"], serde_json::json!(["far"]));
    assert_eq!(named("far")["state"], "running");
    assert_eq!(named(&first)["tags"], serde_json::Value::Null);
    far.clear();
}
