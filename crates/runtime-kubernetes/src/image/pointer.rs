//! An image as one place tells it to another, whose nodes pull it with a secret of their own.

use jb_model::VolumeHandle;
use jb_runtime::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Reference;
use crate::names;
use crate::settings::Settings;

/// May hold a login, so it has no debug output and is never kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pointer {
    pub(crate) reference: Reference,
    /// What the secret holds that the reference names, if that is known.
    pub(crate) login: Option<String>,
}

impl Pointer {
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| {
            Error::Image(format!("cannot tell of image `{}`: {error}", self.reference.name))
        })
    }

    /// None when it is no pointer of a place like this.
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// What is kept of it here, and the login that goes with it. A login that was forgotten, as by a new start of the
    /// server, may be among the secrets of the settings.
    pub(crate) fn adopted(
        self,
        volume: &VolumeHandle,
        settings: &Settings,
    ) -> Result<(Reference, Option<String>)> {
        let Self { reference, login } = self;
        if reference.pull_secret.is_some() && login.is_none() && settings.pull_secrets.is_empty() {
            return Err(Error::Image(format!(
                "image `{}` was fetched by another worker, and its login is not known any more to give it to worker \
                 `{}`: name a secret with the login by --kubernetes-image-pull-secret, or send the step to that worker \
                 by `tags`",
                reference.name, settings.worker_name
            )));
        }
        let pull_secret = login.as_ref().map(|_| names::pull_secret(&settings.worker_name, volume));
        Ok((Reference { pull_secret, ..reference }, login))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use super::*;

    fn told(pull_secret: Option<&str>, login: Option<&str>) -> Pointer {
        let reference = Reference {
            name: "registry.test/app@sha256:0".into(),
            pull_secret: pull_secret.map(str::to_owned),
            user: String::new(),
            files: BTreeMap::new(),
        };
        let pointer = Pointer { reference, login: login.map(str::to_owned) };
        Pointer::parse(&pointer.to_json().unwrap()).unwrap()
    }

    #[test]
    fn a_login_goes_with_its_image() {
        let (volume, settings) = (VolumeHandle::new("v.other"), crate::pod::tests::settings());
        let (kept, login) = told(None, None).adopted(&volume, &settings).unwrap();
        assert_eq!((kept.pull_secret, login), (None, None));
        let there = told(Some("secret-there"), Some("login"));
        let (kept, login) = there.adopted(&volume, &settings).unwrap();
        assert_eq!(login.as_deref(), Some("login"));
        assert_eq!(kept.pull_secret, Some(names::pull_secret(&settings.worker_name, &volume)));
    }

    #[test]
    fn a_login_that_was_forgotten_is_looked_for_in_the_settings() {
        let (volume, settings) = (VolumeHandle::new("v.other"), crate::pod::tests::settings());
        let refused = told(Some("secret-there"), None).adopted(&volume, &settings);
        assert!(refused.unwrap_err().to_string().contains("--kubernetes-image-pull-secret"));
        let settings = Settings { pull_secrets: vec!["of-all".into()], ..settings };
        let (kept, login) = told(Some("secret-there"), None).adopted(&volume, &settings).unwrap();
        assert_eq!((kept.pull_secret, login), (None, None));
    }

    #[test]
    fn what_is_no_pointer_is_not_adopted() {
        assert!(Pointer::parse(b"{}").is_none() && Pointer::parse(b"x").is_none());
    }
}
