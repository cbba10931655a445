//! What a pod of ours may be, checked once more when it is whole: whatever is not allowed here is refused.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SecurityContext, Volume};

use crate::names;
use crate::pod::{HELPER, MAIN, PREPARE};
use crate::settings::{PodSecurity, Settings};

/// Every way in which a pod is not what it may be.
pub(crate) fn violations(pod: &Pod, settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let mut refuse = |condition: bool, what: &str| {
        if condition {
            found.push(what.to_owned());
        }
    };
    let Some(spec) = &pod.spec else { return vec!["it has no spec".to_owned()] };
    refuse(pod.metadata.namespace.as_ref() != Some(&settings.namespace), "another namespace");
    refuse(spec.automount_service_account_token != Some(false), "a service account's token");
    refuse(spec.service_account_name != settings.service_account, "another service account");
    let secrets = spec.image_pull_secrets.iter().flatten();
    let known_secret = |name: &String| {
        settings.pull_secrets.contains(name) || names::is_pull_secret(&settings.worker_name, name)
    };
    refuse(!secrets.map(|it| &it.name).all(known_secret), "somebody else's secret");
    refuse(spec.active_deadline_seconds.is_none() && !names::is_of_artifacts(pod), "no deadline");
    refuse(spec.host_users == Some(true), "the node's users");
    // Only what is known is left: everything else of the spec must be as it is by default.
    let known = PodSpec {
        active_deadline_seconds: spec.active_deadline_seconds,
        automount_service_account_token: spec.automount_service_account_token,
        containers: spec.containers.clone(),
        enable_service_links: Some(false),
        host_users: spec.host_users,
        hostname: spec.hostname.clone(),
        image_pull_secrets: spec.image_pull_secrets.clone(),
        init_containers: spec.init_containers.clone(),
        restart_policy: spec.restart_policy.clone(),
        security_context: spec.security_context.clone(),
        service_account_name: spec.service_account_name.clone(),
        termination_grace_period_seconds: spec.termination_grace_period_seconds,
        volumes: spec.volumes.clone(),
        ..PodSpec::default()
    };
    refuse(*spec != known, "a field of the pod that is not expected");
    let volumes = spec.volumes.iter().flatten();
    found.extend(volumes.filter_map(|volume| volume_violation(volume, settings)));
    let init = spec.init_containers.iter().flatten();
    for container in spec.containers.iter().chain(init) {
        let what = container_violations(container, spec, settings);
        found
            .extend(what.into_iter().map(|what| format!("container `{}`: {what}", container.name)));
    }
    found
}

fn volume_violation(volume: &Volume, settings: &Settings) -> Option<String> {
    let Volume { name, empty_dir, image, persistent_volume_claim: claim, .. } = volume;
    let known = Volume {
        name: name.clone(),
        empty_dir: empty_dir.clone(),
        image: image.clone(),
        persistent_volume_claim: claim.clone(),
        ..Volume::default()
    };
    let sources = [empty_dir.is_some(), image.is_some(), claim.is_some()];
    if *volume != known || sources.into_iter().filter(|is| *is).count() != 1 {
        return Some(format!("volume `{name}` is of a kind that is not expected"));
    }
    let wanted = claim.as_ref().map(|claim| &claim.claim_name);
    let allowed = wanted.is_none_or(|wanted| {
        Some(wanted.as_str()) == settings.artifact_claim()
            || Some(wanted) == settings.cache_claim.as_ref()
    });
    (!allowed).then(|| format!("volume `{name}` is somebody else's claim"))
}

fn container_violations(container: &Container, pod: &PodSpec, settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let mut refuse = |condition: bool, what: &str| {
        if condition {
            found.push(what.to_owned());
        }
    };
    let known = Container {
        name: container.name.clone(),
        image: container.image.clone(),
        image_pull_policy: container.image_pull_policy.clone(),
        command: container.command.clone(),
        resources: container.resources.clone(),
        security_context: container.security_context.clone(),
        termination_message_policy: container.termination_message_policy.clone(),
        volume_mounts: container.volume_mounts.clone(),
        ..Container::default()
    };
    // Environment in particular: what it holds may be secret and goes over the runner's stream.
    refuse(*container != known, "a field that is not expected");
    let context = container.security_context.clone().unwrap_or_default();
    let allowed = SecurityContext {
        privileged: context.privileged,
        run_as_user: context.run_as_user,
        run_as_group: context.run_as_group,
        run_as_non_root: context.run_as_non_root,
        allow_privilege_escalation: context.allow_privilege_escalation,
        capabilities: context.capabilities.clone(),
        ..SecurityContext::default()
    };
    refuse(context != allowed, "a field of its security context that is not expected");
    let privileged = context.privileged == Some(true);
    refuse(
        privileged && (settings.pod_security < PodSecurity::Privileged || container.name != MAIN),
        "it is privileged",
    );
    let capabilities = context.capabilities.unwrap_or_default();
    refuse(capabilities.add.is_some(), "it adds capabilities");
    if settings.pod_security == PodSecurity::Restricted {
        let mapped = pod.host_users == Some(false);
        refuse(capabilities.drop.as_deref() != Some(&["ALL".to_owned()]), "it keeps capabilities");
        refuse(context.allow_privilege_escalation != Some(false), "it may gain rights");
        let not_root = context.run_as_non_root == Some(true) && context.run_as_user != Some(0);
        refuse(!mapped && !not_root, "it may be root on its node");
    }
    let claim_of = |name: &str| {
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == name)?;
        volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.as_str())
    };
    let ours = [HELPER, PREPARE].contains(&container.name.as_str());
    for mount in container.volume_mounts.iter().flatten() {
        let Some(claim) = claim_of(&mount.name) else { continue };
        let cache = Some(claim) == settings.cache_claim.as_deref()
            && mount.sub_path.as_deref().is_some_and(is_cache_path);
        // The pod for artifacts has no step in it.
        let step = pod.active_deadline_seconds.is_some();
        refuse(step && !ours && !cache, "it sees a claim");
    }
    found
}

/// One directory below that of caches.
fn is_cache_path(path: &str) -> bool {
    let rest = path.strip_prefix(jb_artifacts::CACHES).and_then(|rest| rest.strip_prefix('/'));
    rest.is_some_and(|name| !name.is_empty() && !name.contains('/') && !name.starts_with('.'))
}

#[cfg(test)]
mod tests;
