//! A cluster as a place for containers.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use jb_object_store::Credentials;
use jb_runtime_kubernetes::{
    Access, ArtifactStore, Detect, Images, KubernetesRuntime, PodSecurity, Settings,
};

use crate::cli::{Detection, KubernetesOptions, PodSecurityLevel};
use crate::web::duration;

/// Connects to the cluster that the flags name.
pub(crate) async fn runtime(
    options: &KubernetesOptions,
    namespace: &str,
    name: Option<&str>,
) -> anyhow::Result<Arc<KubernetesRuntime>> {
    let access = Access {
        kubeconfig: options.kubernetes_kubeconfig.clone(),
        context: options.kubernetes_context.clone(),
    };
    let runtime = KubernetesRuntime::new(settings(options, namespace, name)?, &access)
        .await
        .with_context(|| format!("run steps in the cluster's namespace `{namespace}`"))?;
    Ok(Arc::new(runtime))
}

fn settings(
    options: &KubernetesOptions,
    namespace: &str,
    name: Option<&str>,
) -> anyhow::Result<Settings> {
    let images = Images {
        runner: options.kubernetes_runner_image.clone(),
        resources: options.kubernetes_resources_image.clone(),
        task: options.kubernetes_task_image.clone(),
    };
    let claim = &options.kubernetes_artifact_store_claim;
    let mut settings = Settings::new(namespace, claim, images);
    if let Some(name) = name {
        name.clone_into(&mut settings.worker_name);
    }
    if let Some(location) = &options.kubernetes_artifact_store {
        settings.artifacts = ArtifactStore::Objects(object_store(options, location)?);
    }
    settings.cache_claim.clone_from(&options.kubernetes_cache_pvc);
    settings.pod_security = match options.kubernetes_pod_security {
        PodSecurityLevel::Restricted => PodSecurity::Restricted,
        PodSecurityLevel::Baseline => PodSecurity::Baseline,
        PodSecurityLevel::Privileged => PodSecurity::Privileged,
    };
    settings.image_volumes = detect(options.kubernetes_image_volumes);
    settings.user_namespaces = detect(options.kubernetes_user_namespaces);
    settings.pull_secrets.clone_from(&options.kubernetes_image_pull_secret);
    settings.service_account.clone_from(&options.kubernetes_service_account);
    settings.start_timeout =
        duration("--kubernetes-pod-startup-timeout", &options.kubernetes_pod_startup_timeout)?;
    settings.deadline = duration("--kubernetes-pod-deadline", &options.kubernetes_pod_deadline)?;
    Ok(settings)
}

fn object_store(
    options: &KubernetesOptions,
    location: &str,
) -> anyhow::Result<jb_object_store::Settings> {
    let (bucket, prefix) =
        jb_object_store::Settings::location(location).context("--kubernetes-artifact-store")?;
    let read = |flag: &str, path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("read {flag} {}", path.display()))
    };
    let trust = options.s3_ca_cert.as_deref().map(|path| read("--s3-ca-cert", path)).transpose()?;
    let credentials = match &options.s3_credentials {
        Some(path) => Credentials::parse(&read("--s3-credentials", path)?)
            .with_context(|| format!("--s3-credentials {}", path.display()))?,
        None => {
            let variable = |name: &str| {
                let value = std::env::var(name).ok().filter(|value| !value.is_empty());
                value.with_context(|| {
                    format!(
                        "{name} is not set: the object store wants a key, from the environment or --s3-credentials"
                    )
                })
            };
            Credentials {
                key: variable("AWS_ACCESS_KEY_ID")?,
                secret: variable("AWS_SECRET_ACCESS_KEY")?,
                token: variable("AWS_SESSION_TOKEN").ok(),
            }
        }
    };
    Ok(jb_object_store::Settings {
        bucket,
        prefix,
        endpoint: options.s3_endpoint.clone(),
        region: options.s3_region.clone(),
        credentials,
        trust,
    })
}

fn detect(detection: Detection) -> Detect {
    match detection {
        Detection::Auto => Detect::Auto,
        Detection::Always => Detect::Always,
        Detection::Never => Detect::Never,
    }
}
