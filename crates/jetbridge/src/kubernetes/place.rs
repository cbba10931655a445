//! A place as a flag names it.

use std::str::FromStr;

/// What `--kubernetes-place` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PlaceOption {
    pub(super) name: Option<String>,
    pub(super) namespace: String,
    pub(super) context: Option<String>,
    pub(super) teams: Vec<String>,
    pub(super) tags: Vec<String>,
}

impl PlaceOption {
    /// The worker's name: as it was said, or after where it is.
    pub(super) fn worker(&self) -> String {
        let namespace = &self.namespace;
        match (&self.name, &self.context) {
            (Some(name), _) => name.clone(),
            (None, Some(context)) => format!("k8s-{context}-{namespace}"),
            (None, None) => format!("k8s-{namespace}"),
        }
    }
}

/// What is wrong with a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("`{0}` is none of name=…, namespace=…, context=…, team=… and tag=…")]
    Word(String),
    #[error("`{0}` is said twice")]
    Twice(&'static str),
    #[error("it says no namespace=…")]
    NoNamespace,
}

impl FromStr for PlaceOption {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let mut place = Self::default();
        let mut namespace = None;
        // Blanks, too, since commas part the items of a list in the environment.
        let words = text.split(|c: char| c == ',' || c.is_whitespace());
        for word in words.filter(|word| !word.is_empty()) {
            let wrong = || PlaceError::Word(word.to_owned());
            let (key, value) = word.split_once('=').ok_or_else(wrong)?;
            if value.is_empty() {
                return Err(wrong());
            }
            let value = value.to_owned();
            let (what, once) = match key {
                "team" => {
                    place.teams.push(value);
                    continue;
                }
                "tag" => {
                    place.tags.push(value);
                    continue;
                }
                "name" => ("name", &mut place.name),
                "namespace" => ("namespace", &mut namespace),
                "context" => ("context", &mut place.context),
                _ => return Err(wrong()),
            };
            if once.replace(value).is_some() {
                return Err(PlaceError::Twice(what));
            }
        }
        place.namespace = namespace.ok_or(PlaceError::NoNamespace)?;
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_place_is_named_in_words() {
        let place: PlaceOption =
            "namespace=ci, context=west,team=a,team=b,tag=gpu".parse().unwrap();
        assert_eq!(place.worker(), "k8s-west-ci");
        assert_eq!((place.teams, place.tags), (vec!["a".into(), "b".into()], vec!["gpu".into()]));
        let place: PlaceOption = "namespace=ci".parse().unwrap();
        assert_eq!(place.worker(), "k8s-ci");
        let place: PlaceOption = "namespace=ci  name=mine".parse().unwrap();
        assert_eq!(place.worker(), "mine");
        for (wrong, said) in [
            ("tag=gpu", "it says no namespace=…"),
            ("namespace=a,namespace=b", "`namespace` is said twice"),
            ("namespace=", "`namespace=` is none of"),
            ("namespace=a,zone=x", "`zone=x` is none of"),
            ("ci", "`ci` is none of"),
        ] {
            let error = wrong.parse::<PlaceOption>().unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
