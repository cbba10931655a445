//! A cluster as a place for containers.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use jb_engine::places::{Place, Places};
use jb_metrics::Metrics;
use jb_object_store::Credentials;
use jb_runtime::measured::Measured;
use jb_runtime_kubernetes::{
    Access, ArtifactStore, CheckPods, Detect, Images, KubernetesRuntime, PodSecurity, Settings,
};

use crate::cli::{Detection, KubernetesOptions, PodSecurityLevel};
use crate::web::{at_least_a_second, duration};

mod place;

use place::PlaceOption;

/// Connects to all places that the flags name. The first is open to everybody.
pub(crate) async fn places(
    options: &KubernetesOptions,
    namespace: &str,
    name: Option<&str>,
    metrics: &Metrics,
) -> anyhow::Result<Places> {
    let first = PlaceOption {
        name: Some(name.map_or_else(|| format!("k8s-{namespace}"), str::to_owned)),
        namespace: namespace.to_owned(),
        ..PlaceOption::default()
    };
    let more = options.kubernetes_place.iter().map(|text| {
        text.parse::<PlaceOption>().with_context(|| format!("--kubernetes-place {text}"))
    });
    let more = more.collect::<anyhow::Result<Vec<_>>>()?;
    let mut places = Vec::new();
    for wanted in std::iter::once(first).chain(more) {
        let runtime = Arc::new(runtime(options, &wanted, metrics).await?);
        let runtime = Measured::new(runtime, metrics.operations.clone());
        places.push(Place::new(Arc::new(runtime), wanted.teams, wanted.tags));
    }
    Places::new(places).context("--kubernetes-place")
}

async fn runtime(
    options: &KubernetesOptions,
    wanted: &PlaceOption,
    metrics: &Metrics,
) -> anyhow::Result<KubernetesRuntime> {
    let context = wanted.context.as_ref().or(options.kubernetes_context.as_ref());
    let access =
        Access { kubeconfig: options.kubernetes_kubeconfig.clone(), context: context.cloned() };
    let settings = settings(options, &wanted.namespace, &wanted.worker())?;
    let settings = Settings { metrics: metrics.clone(), ..settings };
    KubernetesRuntime::new(settings, &access).await.with_context(|| {
        let of_context = wanted.context.as_ref().map(|name| format!(" of context `{name}`"));
        let of_context = of_context.unwrap_or_default();
        format!("run steps in the cluster's namespace `{}`{of_context}", wanted.namespace)
    })
}

fn settings(
    options: &KubernetesOptions,
    namespace: &str,
    worker: &str,
) -> anyhow::Result<Settings> {
    let images = Images {
        runner: options.kubernetes_runner_image.clone(),
        resources: options.kubernetes_resources_image.clone(),
        task: options.kubernetes_task_image.clone(),
    };
    let claim = &options.kubernetes_artifact_store_claim;
    let mut settings = Settings::new(namespace, claim, images);
    worker.clone_into(&mut settings.worker_name);
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
