//! A server that loses its rights, or its namespace, says so in one line and goes on with what it can.

use super::Place;
use crate::api::Api;
use crate::cluster::Cluster;
use crate::proxy::Proxy;
use crate::server::Server;

const ACCOUNT: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: server}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: server}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, list, watch, create, delete]}
- {apiGroups: [""], resources: [pods/exec], verbs: [get, create]}
- {apiGroups: [""], resources: [persistentvolumeclaims], verbs: [get]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [list, watch, create, patch]}
"#;

const PIPELINE: &str = "
jobs:
- name: waits
  plan: [{task: t, config: {platform: linux, run: {path: sh, args: [-c, 'echo begun; sleep 1000']}}}]
- name: says
  plan: [{task: t, config: {platform: linux, run: {path: echo, args: [said]}}}]
";

fn grant(cluster: &Cluster) {
    let account = format!("--serviceaccount={}:server", cluster.namespace);
    cluster.kubectl(&["create", "rolebinding", "server", "--role=server", &account]);
}

/// The one line that an errored build says besides its step's output.
async fn error(api: &Api, build: i64) -> String {
    let (status, log) = api.ended(build).await;
    assert_eq!(status, "errored", "{log}");
    log.trim_start_matches("begun\r\n").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_revoked_are_named() {
    let Some(cluster) = Cluster::find("restricted") else { return };
    cluster.apply(
        &ACCOUNT.replace("metadata: {", &format!("metadata: {{namespace: {}, ", cluster.namespace)),
    );
    grant(&cluster);
    let token = cluster.kubectl(&["create", "token", "server"]);
    let proxy = Proxy::start_as(&cluster, Some(token.trim())).await;
    let more = ["--gc-failed-grace-period", "1s"];
    let place = Place::of(cluster, proxy.kubeconfig(), "restricted", &more, &[]).await;
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "waits").await;
    api.events_until(build, None, |said| said.contains("begun")).await;
    place.cluster.kubectl(&["delete", "rolebinding", "server"]);
    proxy.cut();
    let said = error(&api, build).await;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("is forbidden") && said.contains("namespace's Role"), "{said}");
    let refused = error(&api, api.trigger("p", "says").await).await;
    assert!(refused.contains("is forbidden") && refused.contains("namespace's Role"), "{refused}");
    // Once they are back, so is everything, and what was left behind goes.
    grant(&place.cluster);
    assert_eq!(api.succeeded(api.trigger("p", "says").await).await, "said\r\n");
    place.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_is_named() {
    let Some(place) = Place::start("restricted").await else { return };
    let api = place.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let build = api.trigger("p", "waits").await;
    api.events_until(build, None, |said| said.contains("begun")).await;
    let namespace = place.cluster.namespace.as_str();
    place.cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
    let (status, log) = api.ended(build).await;
    assert!(["failed", "errored"].contains(&status.as_str()), "{status}: {log}");
    let going = error(&api, api.trigger("p", "says").await).await;
    assert!(going.contains(namespace) && !going.contains("Role"), "{going}");
    place.cluster.kubectl(&[
        "wait",
        "--for=delete",
        &format!("namespace/{namespace}"),
        "--timeout=60s",
    ]);
    let gone = error(&api, api.trigger("p", "says").await).await;
    assert!(gone.contains(namespace) && gone.contains("--kubernetes-namespace"), "{gone}");
    assert_eq!(gone.lines().count(), 1, "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_start_in_a_namespace_that_is_not_there() {
    let Some(cluster) = Cluster::find("restricted") else { return };
    let options = Place::options(
        &cluster,
        &cluster.kubeconfig,
        "restricted",
        &["--kubernetes-namespace", "no-such"],
    );
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let state = tempfile::tempdir().unwrap();
    let output = Server::refused(state.path(), crate::server::free_port(), &options);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no-such"), "{said}");
    cluster.clear();
}
