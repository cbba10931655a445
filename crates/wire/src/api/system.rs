//! The server itself: information, health, users, the wall, and answers to configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_zero;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Info {
    pub version: String,
    pub worker_version: String,
    pub feature_flags: BTreeMap<String, bool>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub external_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UserInfo {
    pub sub: String,
    pub name: String,
    pub user_id: String,
    pub user_name: String,
    pub email: String,
    pub is_admin: bool,
    pub is_system: bool,
    pub teams: BTreeMap<String, Vec<String>>,
    pub connector: String,
    pub display_user_id: String,
}

/// Someone who logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct User {
    #[serde(skip_serializing_if = "is_zero")]
    pub id: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub connector: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub last_login: i64,
}

/// The message of the day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wall {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What is left of its time, in nanoseconds.
    #[serde(default, rename = "TTL", skip_serializing_if = "is_zero")]
    pub ttl: i64,
}

/// A part of the server that runs by itself now and then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Component {
    pub name: String,
    /// Nanoseconds.
    pub interval: i64,
    /// RFC 3339, in UTC.
    pub last_ran: String,
    pub paused: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// `ok`, `degraded` or `failing`.
    pub status: &'static str,
    pub timestamp: String,
    pub database: DatabaseHealth,
    pub workers: WorkerHealth,
    pub components: Vec<ComponentHealth>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DatabaseHealth {
    /// `healthy` or `unhealthy`.
    pub status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerHealth {
    pub status: &'static str,
    pub total: i64,
    pub running: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unhealthy_workers: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ComponentHealth {
    pub name: String,
    pub status: &'static str,
    pub paused: bool,
    pub last_ran: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Warning {
    #[serde(rename = "type")]
    pub kind: String,
    pub message: String,
}

/// A pipeline's configuration, as it was saved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigResponse<C> {
    pub config: C,
}

/// The answer to saving or renaming.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SaveConfigResponse {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// Errors as the two cache routes tell them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConfigErrors {
    pub errors: Vec<DetailedError>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DetailedError {
    pub title: String,
    pub detail: String,
    pub status: String,
}

/// `/.well-known/openid-configuration`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenIdConfiguration {
    pub issuer: String,
    pub jwks_uri: String,
    pub claims_supported: [&'static str; 4],
    pub response_types_supported: [&'static str; 1],
    pub id_token_signing_alg_values_supported: [&'static str; 2],
    pub subject_types_supported: [&'static str; 1],
}

/// `/.well-known/jwks.json`: public keys, none so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeySet {
    pub keys: [(); 0],
}
