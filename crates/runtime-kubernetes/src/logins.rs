//! Logins to registries, for nodes to pull with. Each image that wants one has a secret of its own, made when the image
//! is fetched and kept as long as its volume: steps of later builds use the image without anybody asking for the
//! login again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jb_model::VolumeHandle;
use jb_oci::resource::Place;
use jb_runtime::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use serde_json::json;

use crate::failure::{Answer, answer_of};
use crate::settings::Settings;
use crate::{api, names};

const KIND: &str = "kubernetes.io/dockerconfigjson";
/// The one member of such a secret.
const MEMBER: &str = ".dockerconfigjson";
/// What kubelets know Docker Hub by.
const DOCKER_HUB: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");

/// Logins remembered for other places; when there are more, all are forgotten.
const REMEMBERED_MAX: usize = 10_000;

pub(crate) struct Logins {
    secrets: Api<Secret>,
    settings: Arc<Settings>,
    /// What secrets hold, by their volumes, as far as this server made them: it cannot read them.
    known: Mutex<HashMap<VolumeHandle, String>>,
}

impl Logins {
    pub(crate) fn new(secrets: Api<Secret>, settings: Arc<Settings>) -> Self {
        Self { secrets, settings, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<VolumeHandle, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The login of a volume's image, if this server kept it since its start.
    pub(crate) fn of(&self, volume: &VolumeHandle) -> Option<String> {
        self.known().get(volume).cloned()
    }

    /// The name of the secret that an image of this place needs, if it needs one.
    pub(crate) fn name(&self, volume: &VolumeHandle, place: &Place) -> Option<String> {
        place.login.as_ref().map(|_| names::pull_secret(&self.settings.worker_name, volume))
    }

    /// Keeps the login of a place, if it has one. What an earlier attempt kept is replaced, unread: this account may make
    /// and delete secrets, not see them.
    pub(crate) async fn keep(&self, volume: &VolumeHandle, place: &Place) -> Result<()> {
        let Some(config) = config(place) else { return Ok(()) };
        let context = format!("cannot keep the login to {} for the nodes to pull with", place.host);
        self.put(volume, config, context).await
    }

    /// Keeps a login that another place has, as [`Self::of`] told it there.
    pub(crate) async fn adopt(&self, volume: &VolumeHandle, config: String) -> Result<()> {
        let context = format!("cannot keep the login for the image in volume `{volume}`");
        self.put(volume, config, context).await
    }

    async fn put(&self, volume: &VolumeHandle, config: String, context: String) -> Result<()> {
        let secret = secret(volume, &config, &self.settings);
        let params = PostParams::default();
        let create = || self.secrets.create(&params, &secret);
        let mut created = api::call("keep a login for nodes", create).await;
        if created.as_ref().is_err_and(|error| answer_of(error) == Answer::Exists) {
            self.remove(volume).await?;
            created = api::call("keep a login for nodes", create).await;
        }
        created.map_err(|error| api::failed(context, error))?;
        let mut known = self.known();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(volume.clone(), config);
        Ok(())
    }

    /// Removes the login of a volume's image; there need not be one.
    pub(crate) async fn remove(&self, volume: &VolumeHandle) -> Result<()> {
        self.known().remove(volume);
        let name = names::pull_secret(&self.settings.worker_name, volume);
        let params = DeleteParams::default();
        let delete = || self.secrets.delete(&name, &params);
        match api::call("remove a login", delete).await {
            Err(error) if answer_of(&error) != Answer::Missing => {
                let context = format!("cannot remove secret `{name}`, the login for an image");
                Err(api::failed(context, error))
            }
            _ => Ok(()),
        }
    }
}

/// What the secret of an image of this place holds. Its login is offered for the image's repository only.
fn config(place: &Place) -> Option<String> {
    let login = place.login.as_ref()?;
    let repository = if place.host == DOCKER_HUB.0 {
        DOCKER_HUB.1.to_owned()
    } else {
        format!("{}/{}", place.host, place.repository)
    };
    let entry = json!({"username": login.username, "password": login.password});
    Some(json!({"auths": {repository: entry}}).to_string())
}

fn secret(volume: &VolumeHandle, config: &str, settings: &Settings) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(names::pull_secret(&settings.worker_name, volume)),
            namespace: Some(settings.namespace.clone()),
            labels: Some(names::ours(&settings.worker_name)),
            annotations: Some(BTreeMap::from([(names::VOLUME.to_owned(), volume.to_string())])),
            ..ObjectMeta::default()
        },
        type_: Some(KIND.to_owned()),
        string_data: Some(BTreeMap::from([(MEMBER.to_owned(), config.to_owned())])),
        immutable: Some(true),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use jb_model::script::Fields;
    use jb_oci::resource::{Source, origin};

    use super::*;

    fn made(source: serde_json::Value) -> Option<Secret> {
        let source = Source::parse(&Fields::of("source", Some(&source)).unwrap()).unwrap();
        let settings = crate::pod::tests::settings();
        let config = config(&origin(&source))?;
        Some(secret(&VolumeHandle::new("b1-get-2-v"), &config, &settings))
    }

    #[test]
    fn a_login_is_for_its_repository_alone() {
        let login =
            json!({"repository": "registry.test:5000/team/app", "username": "u", "password": "p"});
        let secret = made(login).unwrap();
        let config: serde_json::Value =
            serde_json::from_str(&secret.string_data.unwrap()[MEMBER]).unwrap();
        let expected = json!({"registry.test:5000/team/app": {"username": "u", "password": "p"}});
        assert_eq!(config, json!({"auths": expected}));
        let name = secret.metadata.name.unwrap();
        assert!(names::is_pull_secret(&crate::pod::tests::settings().worker_name, &name), "{name}");
        assert!(!names::is_pull_secret("another", &name), "{name}");
    }

    #[test]
    fn docker_hub_goes_by_an_old_name() {
        let secret = made(json!({"repository": "a/b", "username": "u", "password": "p"})).unwrap();
        assert!(secret.string_data.unwrap()[MEMBER].contains("https://index.docker.io/v1/"));
    }

    #[test]
    fn without_a_login_there_is_no_secret() {
        assert!(made(json!({"repository": "registry.test/app"})).is_none());
    }
}
