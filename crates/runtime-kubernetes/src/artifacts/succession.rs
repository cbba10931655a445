//! What becomes of the pods of servers that were replaced by others, of another version or with other settings.

use std::sync::atomic::Ordering;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};

use super::Artifacts;
use crate::failure::{Answer, Standing, answer_of, standing};
use crate::{api, names};

impl Artifacts {
    /// Deletes pods that ended because nobody uses them. Earlier versions made pods that never end: those are deleted
    /// once, as a server that still uses one makes it again, and the two would go on for ever.
    pub(crate) async fn retire(&self, pods: &[Pod]) {
        let is_first = !self.succeeded.swap(true, Ordering::Relaxed);
        for pod in pods.iter().filter(|pod| names::is_of_artifacts(pod)) {
            let is_over = matches!(standing(pod), Standing::Over(_));
            if is_over || (is_first && never_ends(pod)) {
                self.delete(pod).await;
            }
        }
    }

    async fn delete(&self, pod: &Pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.clone();
        let params = DeleteParams {
            grace_period_seconds: Some(1),
            // One that took its name meanwhile stays.
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        match api::call("delete a pod", || self.pods.delete(name, &params)).await {
            Ok(_) => self.settings.metrics.pods.deleted(names::kind_of(pod)),
            Err(error) if answer_of(&error) == Answer::Missing => {}
            Err(error) => tracing::warn!(pod = name, %error, "a pod that had the volumes stays"),
        }
    }
}

fn never_ends(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.is_some_and(|spec| spec.restart_policy.as_deref() == Some("Always"))
}
