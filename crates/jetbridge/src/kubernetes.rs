//! A cluster as a place for containers.

use std::sync::Arc;

use anyhow::Context as _;
use jb_metrics::Metrics;
use jb_runtime_kubernetes::{
    Access, CheckPods, Detect, Images, KubernetesRuntime, PodSecurity, Settings,
};

use crate::cli::{Detection, KubernetesOptions, PodSecurityLevel};
use crate::web::{at_least_a_second, duration};

/// Connects to the cluster that the flags name.
pub(crate) async fn runtime(
    options: &KubernetesOptions,
    namespace: &str,
    name: Option<&str>,
    metrics: &Metrics,
) -> anyhow::Result<Arc<KubernetesRuntime>> {
    let access = Access {
        kubeconfig: options.kubernetes_kubeconfig.clone(),
        context: options.kubernetes_context.clone(),
    };
    let settings = Settings { metrics: metrics.clone(), ..settings(options, namespace, name)? };
    let runtime = KubernetesRuntime::new(settings, &access)
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
    settings.deny_egress.clone_from(&options.kubernetes_deny_egress);
    settings.start_timeout =
        duration("--kubernetes-pod-startup-timeout", &options.kubernetes_pod_startup_timeout)?;
    settings.stream_silence =
        at_least_a_second("--kubernetes-stream-silence", &options.kubernetes_stream_silence)?;
    settings.deadline = duration("--kubernetes-pod-deadline", &options.kubernetes_pod_deadline)?;
    settings.check_pods = CheckPods {
        max: options.kubernetes_check_pods as usize,
        max_age: duration("--kubernetes-check-pod-age", &options.kubernetes_check_pod_age)?,
        max_checks: options.kubernetes_check_pod_checks,
        max_idle: duration("--kubernetes-check-pod-idle", &options.kubernetes_check_pod_idle)?,
    };
    Ok(settings)
}

fn detect(detection: Detection) -> Detect {
    match detection {
        Detection::Auto => Detect::Auto,
        Detection::Always => Detect::Always,
        Detection::Never => Detect::Never,
    }
}
