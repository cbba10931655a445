//! Several namespaces, one for everybody, one for a team, one for a tag.

use std::path::PathBuf;

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

/// A kubeconfig with two clusters, of which the other has this context.
fn joined(cluster: &Cluster, other: &Cluster, context: &str, dir: &tempfile::TempDir) -> PathBuf {
    let (mut all, mut others) = (cluster.access(), other.access());
    for list in ["clusters", "users", "contexts"] {
        let added = &mut others[list][0];
        added["name"] = context.into();
        all[list].as_array_mut().unwrap().push(added.take());
    }
    let added = &mut all["contexts"][1]["context"];
    (added["cluster"], added["user"]) = (context.into(), context.into());
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, all.to_string()).unwrap();
    path
}

/// The containers that were started in a namespace, by their pods.
fn started(cluster: &Cluster) -> Vec<String> {
    let events = [
        "get",
        "events",
        "--field-selector=reason=Started",
        "--output=jsonpath={.items[*].involvedObject.name}",
    ];
    cluster.kubectl(&events).split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_cluster_made_is_used_on_another() {
    let Some(far) = Cluster::second("restricted") else { return };
    let Some(near) = Cluster::find("restricted") else { return };
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = joined(&near, &far, "far", &dir);
    let of_tag = format!("namespace={} context=far tag=far", far.namespace);
    let options = ["--kubernetes-place", of_tag.as_str()];
    let place = Place::of(near, &kubeconfig, "restricted", &options, &[]).await;
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let log = api.succeeded(api.trigger("p", "all").await).await;
    assert_eq!(log.matches("from source").count(), 2, "{log}");
    let tasks = |cluster| -> Vec<String> {
        let pods = started(cluster).into_iter();
        pods.filter(|pod| pod.contains("-task-")).collect()
    };
    assert!(!tasks(&far).is_empty() && !tasks(&place.cluster).is_empty());
    assert!(tasks(&far).iter().all(|pod| !tasks(&place.cluster).contains(pod)));
    drop(place);
    far.clear();
}

/// A kubeconfig with one more context, which leads to the same cluster by another name.
fn with_context(cluster: &Cluster, name: &str, dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("kubeconfig");
    std::fs::copy(&cluster.kubeconfig, &path).unwrap();
    let current = |what: &str| {
        let output = format!("--output=jsonpath={{.contexts[0].context.{what}}}");
        cluster.kubectl(&["config", "view", "--minify", &output])
    };
    let (to, user) = (current("cluster"), current("user"));
    let file = format!("--kubeconfig={}", path.display());
    let (to, user) = (format!("--cluster={to}"), format!("--user={user}"));
    cluster.kubectl(&[&file, "config", "set-context", name, &to, &user]);
    path
}

const TEAMS: &str = r#"
jobs:
- name: own
  plan:
  - task: made
    config: {platform: linux, outputs: [{name: out}], run: {path: sh, args: [-ec, 'echo kept > out/a']}}
  - task: read
    config: {platform: linux, inputs: [{name: out}], run: {path: cat, args: [out/a]}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_team_with_a_place_in_another_cluster_uses_no_other() {
    let Some(theirs) = Cluster::find("baseline") else { return };
    let Some(cluster) = Cluster::find("restricted") else { return };
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = with_context(&cluster, "west", &dir);
    let of_team = format!("namespace={} context=west team=main", theirs.namespace);
    let options = ["--kubernetes-place", of_team.as_str()];
    let place = Place::of(cluster, &kubeconfig, "restricted", &options, &[]).await;
    let api = place.login().await;
    api.set_pipeline("p", TEAMS).await;
    let build = api.trigger("p", "own").await;
    let events = api.stream(build).await;
    assert!(events.contains("kept"), "{events}");
    let worker = format!("k8s-west-{}", theirs.namespace);
    assert_eq!(events.matches(&format!(r#""selected_worker":"{worker}""#)).count(), 2, "{events}");
    let workers = api.get("/workers").await;
    let own = workers.as_array().unwrap().iter().find(|known| known["name"] == *worker).unwrap();
    assert_eq!((own["team"].as_str(), own["state"].as_str()), (Some("main"), Some("running")));
    drop(place);
    theirs.clear();
}
