//! The pod through which servers reach volumes: it goes with the last server that wants it as it is.

use std::time::Duration;

use jb_model::VolumeHandle;
use jb_runtime::Runtime;

use crate::cluster::{Cluster, image};

/// As earlier versions made it.
const FORMER: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: former
  namespace: NAMESPACE
  labels: {app.kubernetes.io/managed-by: jetbridge, jetbridge.dev/worker: k8s-NAMESPACE, jetbridge.dev/kind: artifacts}
spec:
  restartPolicy: Always
  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: main
    image: RUNNER
    command: [/jb-runner, serve, --journal, /dev/shm/journal, --socket, /dev/shm/sock]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"#;

fn pods(cluster: &Cluster) -> Vec<String> {
    let selector = "--selector=jetbridge.dev/kind=artifacts";
    let list = cluster.kubectl(&["get", "pods", selector, "--output=name"]);
    list.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_two_versions_share_volumes_and_no_pod() {
    let Some(cluster) = Cluster::find("restricted") else { return };
    let former = FORMER.replace("NAMESPACE", &cluster.namespace);
    cluster.apply(&former.replace("RUNNER", &image("runner")));
    let volume = VolumeHandle::new("b1-task-1-out");
    let leaving = cluster.runtime(|settings| settings.artifacts_idle = Duration::ZERO).await;
    leaving.create_volume(&volume).await.unwrap();
    let own = pods(&cluster).into_iter().find(|pod| pod != "pod/former").unwrap();
    // Nobody uses it, so it ends; it is there again for who does.
    let ended = ["wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=2m", &own];
    cluster.kubectl(&ended);
    let volumes = [volume];
    assert_eq!(leaving.list_volumes().await.unwrap(), volumes);

    let coming = cluster.runtime(|_| {}).await;
    assert_eq!(coming.list_volumes().await.unwrap(), volumes);
    assert_eq!(leaving.list_volumes().await.unwrap(), volumes);
    let gone = async {
        while pods(&cluster).len() > 1 {
            coming.list().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone).await.unwrap();
    let left = pods(&cluster);
    assert!(left[0] != own && left[0] != "pod/former", "{left:?}");
    // A former server makes its own again. It is not taken away a second time.
    cluster.apply(&former.replace("RUNNER", &image("runner")));
    coming.list().await.unwrap();
    assert_eq!(pods(&cluster).len(), 2);
    cluster.clear();
}
