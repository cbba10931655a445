//! What var sources need in their configuration, and the order they depend on each other in.

use std::collections::BTreeSet;

use jb_model::config::VarSourceConfig;
use jb_model::{Object, Value};

use crate::vars::{Piece, scan_text};
use jb_model::duration::parse_duration;

/// What is wrong with the configuration of one var source of a known kind.
///
/// Templates with actions other than a plain field are the credential manager's own to judge.
pub(super) fn problem(source: &VarSourceConfig) -> Option<String> {
    let name = &source.name;
    let failed =
        |reason: String| Some(format!("failed to create credential manager {name}: {reason}"));
    let invalid = |reason: String| Some(format!("credential manager {name} is invalid: {reason}"));
    match (source.kind.as_str(), &source.config) {
        ("dummy", Value::Object(config)) => match config.get("vars") {
            Some(Value::Object(_)) => None,
            other => failed(format!("invalid vars config: {}", go_type(other))),
        },
        ("dummy", other) => {
            failed(format!("invalid dummy credential manager config: {}", go_type(Some(other))))
        }
        ("idtoken", Value::Object(config)) => idtoken(config).and_then(invalid),
        ("idtoken", other) => {
            failed(format!("invalid idtoken provider config: {}", go_type(Some(other))))
        }
        ("vault", Value::Object(config)) => match unknown_keys(config, &VAULT_KEYS) {
            Some(reason) => failed(reason),
            None => vault(config).and_then(invalid),
        },
        ("vault", _) => failed("invalid vault config format".to_owned()),
        ("ssm", Value::Object(config)) => match unknown_keys(config, &SSM_KEYS) {
            Some(reason) => failed(reason),
            None => aws(config).and_then(invalid),
        },
        ("secretsmanager", Value::Object(config)) => {
            match unknown_keys(config, &SECRETSMANAGER_KEYS) {
                Some(reason) => failed(reason),
                None => aws(config).and_then(invalid),
            }
        }
        ("ssm" | "secretsmanager", Value::Null) => None,
        ("ssm" | "secretsmanager", other) => {
            failed(format!("expected a map, found {}", go_type(Some(other))))
        }
        _ => None,
    }
}

const VAULT_KEYS: [&str; 20] = [
    "url",
    "path_prefix",
    "lookup_templates",
    "shared_path",
    "namespace",
    "login_timeout",
    "query_timeout",
    "enable_kv_mount_cache",
    "disable_srv_lookup",
    "ca_cert",
    "client_cert",
    "client_key",
    "server_name",
    "insecure_skip_verify",
    "client_token",
    "client_token_path",
    "auth_backend",
    "auth_backend_max_ttl",
    "auth_retry_max",
    "auth_retry_initial",
];
const SSM_KEYS: [&str; 7] = [
    "access_key",
    "secret_key",
    "session_token",
    "region",
    "pipeline_secret_template",
    "team_secret_template",
    "shared_path",
];
const SECRETSMANAGER_KEYS: [&str; 7] = [
    "access_key",
    "secret_key",
    "session_token",
    "region",
    "pipeline_secret_template",
    "team_secret_template",
    "shared_secret_template",
];

fn unknown_keys(config: &Object, known: &[&str]) -> Option<String> {
    let unknown: Vec<&str> = config
        .keys()
        .map(String::as_str)
        .filter(|key| !known.contains(key) && *key != "auth_params")
        .collect();
    (!unknown.is_empty()).then(|| format!("has invalid keys: {}", unknown.join(", ")))
}

fn text<'a>(config: &'a Object, key: &str) -> &'a str {
    config.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn vault(config: &Object) -> Option<String> {
    let url = text(config, "url");
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if !matches!(scheme, "http" | "https") {
        return Some(format!("invalid scheme {scheme:?}: must be http or https"));
    }
    if rest.is_empty() || rest.starts_with(['/', ':', '?', '#']) {
        return Some("URL must specify a host".to_owned());
    }
    if config.get("path_prefix").is_some_and(|prefix| prefix == "") {
        return Some("path prefix must be a non-empty string".to_owned());
    }
    let authenticated = ["client_token", "client_token_path", "auth_backend"]
        .iter()
        .any(|key| !text(config, key).is_empty());
    (!authenticated).then(|| "must configure client token or auth backend".to_owned())
}

fn aws(config: &Object) -> Option<String> {
    let given = |key| !text(config, key).is_empty();
    if !given("access_key") && !given("secret_key") && !given("session_token") {
        None
    } else if !given("access_key") {
        Some("must provide aws access key id".to_owned())
    } else if !given("secret_key") {
        Some("must provide aws secret access key".to_owned())
    } else {
        None
    }
}

fn idtoken(config: &Object) -> Option<String> {
    const LONGEST: i64 = 24 * 3600 * 1_000_000_000;
    let scope = text(config, "subject_scope");
    if !matches!(scope, "" | "team" | "pipeline" | "instance" | "job") {
        return Some(format!("invalid subject_scope value: {scope}"));
    }
    let expires_in = text(config, "expires_in");
    if !expires_in.is_empty() {
        match parse_duration(expires_in) {
            Err(error) => return Some(error),
            Ok(length) if length.nanoseconds > LONGEST => {
                return Some("expires_in must be <= 24h0m0s".to_owned());
            }
            Ok(_) => {}
        }
    }
    let algorithm = text(config, "algorithm");
    (!matches!(algorithm, "" | "RS256" | "ES256")).then(|| {
        format!("invalid algorithm value: {algorithm}. Only RS256 and ES256 are supported")
    })
}

fn go_type(value: Option<&Value>) -> &'static str {
    match value {
        None | Some(Value::Null) => "<nil>",
        Some(Value::Bool(_)) => "bool",
        Some(Value::Number(_)) => "float64",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "[]interface {}",
        Some(Value::Object(_)) => "map[string]interface {}",
    }
}

/// The var sources in an order in which each comes after those it refers to; the error names those that never can.
pub fn order(sources: &[VarSourceConfig]) -> Result<Vec<&VarSourceConfig>, Vec<String>> {
    let mut pending: Vec<(&VarSourceConfig, BTreeSet<String>)> =
        sources.iter().map(|source| (source, needs(&source.config))).collect();
    let mut ordered: Vec<&VarSourceConfig> = Vec::with_capacity(sources.len());
    let mut ready: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = ordered.len();
        pending.retain(|(source, needs)| {
            let met = needs.iter().all(|need| ready.contains(need.as_str()));
            if met {
                ordered.push(source);
                ready.insert(&source.name);
            }
            !met
        });
        if pending.is_empty() {
            return Ok(ordered);
        }
        if ordered.len() == before {
            return Err(pending.iter().map(|(source, _)| source.name.clone()).collect());
        }
    }
}

/// The names of the sources that a configuration refers to.
fn needs(config: &Value) -> BTreeSet<String> {
    let text = config.to_string().replace("\\\"", "\"");
    scan_text(&text)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Var(name) => name.split_once(':').map(|(source, _)| source.to_owned()),
            Piece::Text(_) => None,
        })
        .collect()
}
