//! What a cluster offers, asked of its API server by pods that are only tried.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;

use crate::settings::{Detect, Settings};

/// What not every cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    /// Images can be mounted as volumes.
    pub(crate) image_volumes: bool,
    /// Pods can have users of their own.
    pub(crate) user_namespaces: bool,
}

/// The combinations to try, the best first.
pub(crate) fn candidates(settings: &Settings) -> Vec<Features> {
    let possible = |detect| match detect {
        Detect::Auto => [true, false].as_slice(),
        Detect::Always => &[true],
        Detect::Never => &[false],
    };
    let mut all = Vec::new();
    for image_volumes in possible(settings.image_volumes) {
        for user_namespaces in possible(settings.user_namespaces) {
            all.push(Features { image_volumes: *image_volumes, user_namespaces: *user_namespaces });
        }
    }
    all
}

/// Whether a pod came back from the API server as it was sent: what one does not know it leaves out.
pub(crate) fn kept(sent: &Pod, got: &Pod) -> bool {
    let (Some(sent), Some(got)) = (&sent.spec, &got.spec) else { return false };
    let images = |pod: &k8s_openapi::api::core::v1::PodSpec| {
        pod.volumes.iter().flatten().filter(|volume| volume.image.is_some()).count()
    };
    sent.host_users == got.host_users && images(sent) == images(got)
}

/// The first of the combinations whose pod the API server takes; else why it did not take the last.
pub(crate) async fn probe(
    pods: &Api<Pod>,
    settings: &Settings,
    pod: impl Fn(Features) -> Pod,
) -> Result<Features, kube::Error> {
    let params = PostParams { dry_run: true, field_manager: None };
    let mut refused = None;
    for features in candidates(settings) {
        let pod = pod(features);
        match pods.create(&params, &pod).await {
            Ok(got) if kept(&pod, &got) => return Ok(features),
            Ok(_) => {}
            Err(error @ kube::Error::Api(_)) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    match refused {
        Some(error) => Err(error),
        // It takes the pod without what is insisted on, and leaves that out.
        None => Ok(Features { image_volumes: false, user_namespaces: false }),
    }
}
