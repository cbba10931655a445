//! Which models agents may use, what they cost, and where they are reached.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
pub use jb_agent_protocol::{Api, CONTEXT_TOKENS, Prices};
use jb_model::agent::HostPattern;

/// What the operator decided about agents.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// `provider/model`, for steps that name none.
    pub default_model: Option<String>,
    /// By name, the part of a model's name before the slash.
    pub providers: BTreeMap<String, Provider>,
    /// Every model that may be used, as `provider/model`.
    pub models: BTreeMap<String, Prices>,
    /// How many tokens some of them take in; others as many as [`CONTEXT_TOKENS`].
    pub contexts: BTreeMap<String, u64>,
    /// Answers of the model in one step that names no number.
    pub turns: u32,
    /// A model that says nothing for this long is asked again.
    pub idle_timeout: Duration,
    /// When a call of an agent's has waited for people for this long, nothing of the agent runs until they have decided, if its
    /// harness can go on later.
    pub suspend_after: Duration,
    /// What becomes of what is said to models.
    pub recordings: Recordings,
    /// Addresses that must not answer inside an agent's container, as `host:port`, besides those that the runtime names
    /// ([`jb_runtime::Runtime::off_limits`]).
    pub forbidden: Vec<String>,
    /// Names of hosts whose addresses may be private when a step lists them, and where these are. Other hosts' are public.
    pub private_hosts: Vec<(HostPattern, IpNet)>,
}

/// What becomes of recordings. They are named by [`recording_name`].
#[derive(Clone, Debug, Default)]
pub enum Recordings {
    /// They stay where the gateways made them, and go with them.
    #[default]
    Left,
    /// Each is handed over here when its step ends.
    Kept(Arc<Mutex<BTreeMap<String, String>>>),
    /// Agents are answered from these, without a model or key.
    Replayed(Arc<BTreeMap<String, String>>),
}

/// What a step's recording is called: by the step, its attempt if it has several, and its place in an `across`. Steps of
/// one name in one build are told apart by nothing else.
pub fn recording_name(step: &str, attempts: &[u32], scope: Option<&str>) -> String {
    let mut name = step.to_owned();
    for attempt in attempts {
        name.push_str(&format!(".attempt-{attempt}"));
    }
    if let Some(scope) = scope {
        name.push_str(&format!(".across-{scope}"));
    }
    name.replace('/', "-")
}

/// Where models are reached.
#[derive(Clone, Debug)]
pub struct Provider {
    pub api: Api,
    pub url: String,
    pub key: Option<Key>,
}

/// A secret that does not show itself.
#[derive(Clone)]
pub struct Key(pub String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Default for AgentSettings {
    fn default() -> Self {
        // Well-known resolvers, the metadata service of clouds, and the gateway of the local runtime's usual networks.
        let forbidden =
            ["1.1.1.1:443", "8.8.8.8:53", "169.254.169.254:80", "[2606:4700:4700::1111]:443"];
        Self {
            default_model: None,
            providers: BTreeMap::new(),
            models: BTreeMap::new(),
            contexts: BTreeMap::new(),
            turns: 100,
            idle_timeout: Duration::from_secs(120),
            suspend_after: Duration::from_secs(60),
            recordings: Recordings::default(),
            forbidden: forbidden.map(str::to_owned).into(),
            private_hosts: Vec::new(),
        }
    }
}

/// A model that a step may use.
#[derive(Clone, Debug)]
pub(crate) struct Model<'a> {
    /// As its provider calls it.
    pub name: &'a str,
    /// With its provider.
    pub full_name: &'a str,
    pub prices: Prices,
    pub context_tokens: u64,
    pub api: Api,
    pub url: &'a str,
    pub key: &'a Key,
}

impl AgentSettings {
    /// The model that a step named, or the default.
    pub(crate) fn model<'a>(&'a self, named: &'a str) -> Result<Model<'a>, String> {
        let full_name = match (named, &self.default_model) {
            ("", None) => {
                return Err("the step names no model, and this server has no default: name one, or start the server with --agent-models".to_owned());
            }
            ("", Some(default)) => default.as_str(),
            (named, _) => named,
        };
        let prices = self.models.get(full_name).copied().ok_or_else(|| {
            let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("the model `{full_name}` may not be used on this server; allowed: {known}")
        })?;
        let (provider_name, name) = full_name
            .split_once('/')
            .ok_or_else(|| format!("the model `{full_name}` is not named as `provider/model`"))?;
        let provider = self.providers.get(provider_name).ok_or_else(|| {
            format!("the server knows no provider `{provider_name}` for the model `{full_name}`")
        })?;
        let key = provider.key.as_ref().ok_or_else(|| {
            format!("the server has no key for the provider `{provider_name}` of the model `{full_name}`")
        })?;
        let context_tokens = self.contexts.get(full_name).copied().unwrap_or(CONTEXT_TOKENS);
        let (api, url) = (provider.api, provider.url.as_str());
        Ok(Model { name, full_name, prices, context_tokens, api, url, key })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn models_need_permission_a_provider_and_a_key() {
        let mut settings = AgentSettings::default();
        assert!(settings.model("").unwrap_err().contains("no default"));
        assert!(settings.model("a/m").unwrap_err().ends_with("allowed: none"));
        settings.models.insert("a/m".to_owned(), Prices::default());
        settings.default_model = Some("a/m".to_owned());
        assert!(settings.model("a/n").unwrap_err().ends_with("allowed: a/m"));
        assert!(settings.model("").unwrap_err().contains("no provider `a`"));
        let mut provider = Provider { api: Api::Chat, url: "http://a".to_owned(), key: None };
        settings.providers.insert("a".to_owned(), provider.clone());
        assert!(settings.model("").unwrap_err().contains("no key for the provider `a`"));
        provider.key = Some(Key("sesame".to_owned()));
        assert!(!format!("{provider:?}").contains("sesame"));
        settings.providers.insert("a".to_owned(), provider);
        let model = settings.model("").unwrap();
        assert_eq!((model.name, model.full_name, model.url), ("m", "a/m", "http://a"));
    }
}
