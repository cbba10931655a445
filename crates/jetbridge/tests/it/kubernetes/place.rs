//! A server whose steps are pods.

use std::path::Path;

use crate::api::Api;
use crate::cluster::{Cluster, image};
use crate::proxy::Proxy;
use crate::server::{Server, until};

/// A server whose steps are pods in a namespace that is theirs alone.
pub struct Place {
    pub cluster: Cluster,
    pub server: Server,
}

impl Place {
    pub async fn start(level: &str) -> Option<Self> {
        Self::with(level, &[]).await
    }

    pub async fn with(level: &str, more: &[&str]) -> Option<Self> {
        Self::with_env(level, more, &[]).await
    }

    pub async fn with_env(level: &str, more: &[&str], env: &[(&str, &str)]) -> Option<Self> {
        let cluster = Cluster::find(level)?;
        let kubeconfig = cluster.kubeconfig.clone();
        Some(Self::of(cluster, &kubeconfig, level, more, env).await)
    }

    /// One whose server speaks to the cluster through a proxy.
    pub async fn behind(level: &str, more: &[&str]) -> Option<(Self, Proxy)> {
        let cluster = Cluster::find(level)?;
        let proxy = Proxy::start(&cluster).await;
        Some((Self::of(cluster, proxy.kubeconfig(), level, more, &[]).await, proxy))
    }

    pub async fn of(
        cluster: Cluster,
        kubeconfig: &Path,
        level: &str,
        more: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let options = Self::options(&cluster, kubeconfig, level, more);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let server = Server::launch(&options, env, false).await;
        Self { cluster, server }
    }

    /// What a server is told that shall run its steps there; `more` replaces what it names.
    pub fn options(
        cluster: &Cluster,
        kubeconfig: &Path,
        level: &str,
        more: &[&str],
    ) -> Vec<String> {
        let kubeconfig = kubeconfig.display().to_string();
        let images = ["runner", "resources", "task"].map(image);
        let options = [
            ["--kubernetes-namespace", &cluster.namespace],
            ["--kubernetes-kubeconfig", &kubeconfig],
            ["--kubernetes-artifact-store-claim", "artifacts"],
            ["--kubernetes-cache-pvc", "caches"],
            ["--kubernetes-pod-security", level],
            ["--kubernetes-runner-image", &images[0]],
            ["--kubernetes-resources-image", &images[1]],
            ["--kubernetes-task-image", &images[2]],
        ];
        let options = options.iter().filter(|option| !more.contains(&option[0]));
        options.flatten().chain(more).map(|&option| option.to_owned()).collect()
    }

    /// The names of the pods of builds.
    pub fn pods(&self) -> Vec<String> {
        let names = self.cluster.kubectl(&[
            "get",
            "pods",
            "--selector=jetbridge.dev/build-id",
            "--output=jsonpath={.items[*].metadata.name}",
        ]);
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// Returns once there is no pod of any build.
    pub async fn is_empty(&self) {
        until("no pod is left", async || self.pods().is_empty().then_some(())).await;
    }

    pub async fn login(&self) -> Api {
        self.server.login().await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.kill();
        self.cluster.clear();
    }
}
