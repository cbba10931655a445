//! What clients send. Unknown fields are ignored, as they have always been.

use std::collections::BTreeMap;

use jb_model::Version;
use serde::Deserialize;

use super::TeamAuth;

/// The new name of a pipeline or a team.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NewName {
    #[serde(default)]
    pub name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct SetTeamRequest {
    #[serde(default, deserialize_with = "auth")]
    pub auth: TeamAuth,
}

/// Lists may be `null`.
fn auth<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<TeamAuth, D::Error> {
    type Loose = BTreeMap<String, Option<BTreeMap<String, Option<Vec<String>>>>>;
    let auth = Option::<Loose>::deserialize(deserializer)?.unwrap_or_default();
    Ok(auth
        .into_iter()
        .map(|(role, lists)| {
            let lists = lists.unwrap_or_default().into_iter();
            (role, lists.map(|(kind, names)| (kind, names.unwrap_or_default())).collect())
        })
        .collect())
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct CommentRequest {
    #[serde(default)]
    pub comment: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct PinCommentRequest {
    #[serde(default)]
    pub pin_comment: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct CheckRequest {
    #[serde(default)]
    pub from: Option<Version>,
    #[serde(default)]
    pub shallow: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct VersionRequest {
    #[serde(default)]
    pub version: Option<Version>,
}
