//! Runtimes on a test's namespace.

use jb_runtime_kubernetes::{Access, Images, KubernetesRuntime, Settings};

use crate::cluster::{Cluster, image};

impl Cluster {
    pub(crate) async fn runtime(&self, adjust: impl FnOnce(&mut Settings)) -> KubernetesRuntime {
        let images =
            Images { runner: image("runner"), resources: image("resources"), task: image("task") };
        let mut settings = Settings::new(&self.namespace, "artifacts", images);
        settings.cache_claim = Some("caches".to_owned());
        adjust(&mut settings);
        let access = Access { kubeconfig: Some(self.kubeconfig.clone()), context: None };
        KubernetesRuntime::new(settings, &access).await.expect("the cluster can be used")
    }
}
