//! The operator's file about agents: which models they may use, what those cost, and where the keys are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use ipnet::IpNet;
use jb_engine::agents::{AgentSettings, Api, Key, Prices, Provider};
use jb_model::agent::HostPattern;
use serde::Deserialize;

/// What is known of a provider that is only named.
struct Known {
    name: &'static str,
    api: Api,
    url: &'static str,
    key_env: &'static str,
}

const KNOWN: [Known; 2] = [
    Known {
        name: "anthropic",
        api: Api::Messages,
        url: "https://api.anthropic.com",
        key_env: "ANTHROPIC_API_KEY",
    },
    Known {
        name: "openai",
        api: Api::Responses,
        url: "https://api.openai.com",
        key_env: "OPENAI_API_KEY",
    },
];
/// US dollars for a million tokens.
const PRICE_MAX: f64 = 1e6;
/// The fewest tokens that a model for agents takes in.
const CONTEXT_MIN: u64 = 1_000;

#[derive(Args)]
pub(crate) struct AgentOptions {
    /// A YAML file that says which models agents may use, and what they cost
    #[arg(long, value_name = "FILE")]
    pub agent_models: Option<PathBuf>,
    /// Hosts whose addresses may be private when an agent's step lists them in `network:`, and the range that they are in,
    /// such as registry.corp.example=10.1.0.0/16 or *.corp.example=10.0.0.0/8
    #[arg(long, value_name = "NAME=CIDR", value_delimiter = ',', value_parser = private_host)]
    pub agent_private_hosts: Vec<(HostPattern, IpNet)>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    default: Option<String>,
    providers: BTreeMap<String, ProviderFile>,
    models: BTreeMap<String, PricesFile>,
    turns: Option<u32>,
    idle_timeout_seconds: Option<u64>,
    /// When a call has waited for people for this long, nothing of its agent runs until they have decided.
    suspend_after_seconds: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ProviderFile {
    /// How it is spoken to: `messages`, `responses` or `chat`.
    api: Option<Api>,
    url: Option<String>,
    /// The variable of the environment that holds the key.
    key_env: Option<String>,
}

/// US dollars for a million tokens, and how many tokens the model takes in.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PricesFile {
    context: Option<u64>,
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write: f64,
}

/// What the options say; no model at all without a file.
pub(crate) fn settings(options: &AgentOptions) -> anyhow::Result<AgentSettings> {
    let settings = models(options)?;
    Ok(AgentSettings { private_hosts: options.agent_private_hosts.clone(), ..settings })
}

/// A name, or all below one, and where its addresses are.
fn private_host(text: &str) -> Result<(HostPattern, IpNet), String> {
    let (name, range) = text.split_once('=').ok_or("it is written as NAME=CIDR")?;
    let range = range.parse().map_err(|_| format!("`{range}` is no range such as 10.1.0.0/16"))?;
    Ok((HostPattern::parse(name)?, range))
}

fn models(options: &AgentOptions) -> anyhow::Result<AgentSettings> {
    let Some(path) = &options.agent_models else { return Ok(AgentSettings::default()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--agent-models: read {}", path.display()))?;
    read(&text, |name| std::env::var(name).ok())
        .with_context(|| format!("--agent-models: {}", path.display()))
}

fn read(text: &str, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<AgentSettings> {
    let node = jb_yaml::parse(text).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut file: File = serde_json::from_value(node.to_json())?;
    for known in KNOWN {
        file.providers.entry(known.name.to_owned()).or_default();
    }
    let mut settings = AgentSettings::default();
    for (name, provider) in file.providers {
        settings.providers.insert(name.clone(), provider_of(&name, provider, &variable)?);
    }
    for (name, prices_file) in file.models {
        let provider = name.split_once('/').map(|(provider, _)| provider);
        ensure!(
            provider.is_some_and(|provider| settings.providers.contains_key(provider)),
            "the model `{name}` is not named as `provider/model` with one of the providers"
        );
        let micros = |what: &str, dollars: f64| {
            ensure!(
                (0.0..=PRICE_MAX).contains(&dollars),
                "the price `{what}` of `{name}` is not between 0 and {PRICE_MAX} US dollars for a million tokens"
            );
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "in bounds"
            )]
            Ok((dollars * 1e6).round() as u64)
        };
        let prices = Prices {
            input: micros("input", prices_file.input)?,
            output: micros("output", prices_file.output)?,
            cache_read: micros("cache_read", prices_file.cache_read)?,
            cache_write: micros("cache_write", prices_file.cache_write)?,
        };
        if let Some(context) = prices_file.context {
            ensure!(
                context >= CONTEXT_MIN,
                "the `context` of `{name}` is {context} tokens; an agent needs {CONTEXT_MIN}"
            );
            settings.contexts.insert(name.clone(), context);
        }
        settings.models.insert(name, prices);
    }
    if let Some(default) = &file.default {
        ensure!(
            settings.models.contains_key(default),
            "the default model `{default}` is not among the models"
        );
    }
    settings.default_model = file.default;
    settings.turns = file.turns.unwrap_or(settings.turns);
    if let Some(seconds) = file.suspend_after_seconds {
        settings.suspend_after = Duration::from_secs(seconds);
    }
    if let Some(seconds) = file.idle_timeout_seconds {
        settings.idle_timeout = Duration::from_secs(seconds.max(1));
    }
    Ok(settings)
}

/// A provider with what is known of it filled in.
fn provider_of(
    name: &str,
    file: ProviderFile,
    variable: &impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Provider> {
    let known = KNOWN.into_iter().find(|known| known.name == name);
    let api = file.api.or_else(|| known.as_ref().map(|known| known.api));
    let url = file.url.or_else(|| known.as_ref().map(|known| known.url.to_owned()));
    let key_env = file.key_env.or_else(|| known.map(|known| known.key_env.to_owned()));
    let (Some(api), Some(url), Some(key_env)) = (api, url, key_env) else {
        let names = KNOWN.map(|known| known.name).join(" and ");
        bail!(
            "unknown provider `{name}`: {names} are known; another one needs `api` (messages, responses or chat), `url` and `key_env`"
        );
    };
    let key = variable(&key_env).filter(|key| !key.is_empty()).map(Key);
    Ok(Provider { api, url, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_models_prices_and_keys() {
        let text = "default: anthropic/m\nproviders: {anthropic: {url: 'http://x', key_env: K}}\n\
                    models: {anthropic/m: {input: 3, output: 15.5, cache_read: 0.3, context: 64000}}\nturns: 7\nsuspend_after_seconds: 5\n";
        let settings = read(text, |name| (name == "K").then(|| "sesame".to_owned())).unwrap();
        assert_eq!(settings.default_model.as_deref(), Some("anthropic/m"));
        let prices =
            Prices { input: 3_000_000, output: 15_500_000, cache_read: 300_000, cache_write: 0 };
        assert_eq!(settings.models["anthropic/m"], prices);
        assert_eq!(settings.providers["anthropic"].url, "http://x");
        assert_eq!(settings.providers["anthropic"].key.as_ref().unwrap().0, "sesame");
        assert_eq!((settings.turns, settings.contexts["anthropic/m"]), (7, 64_000));
        assert_eq!(settings.suspend_after, Duration::from_secs(5));
        let usual = read("{}", |_| None).unwrap();
        assert_eq!(usual.suspend_after, Duration::from_secs(60));
    }

    #[test]
    fn private_hosts_have_names_and_ranges() {
        let (name, range) = private_host("*.corp.example=10.0.0.0/8").unwrap();
        assert_eq!(
            (name.to_string(), range.to_string()),
            ("*.corp.example".into(), "10.0.0.0/8".into())
        );
        for (text, expected) in [
            ("corp.example", "NAME=CIDR"),
            ("corp.example=10.0.0.1", "no range"),
            ("10.0.0.1=10.0.0.0/8", "it is an address"),
        ] {
            assert!(private_host(text).unwrap_err().contains(expected), "{text}");
        }
    }

    #[test]
    fn providers_are_known_or_described() {
        let text = "providers: {local: {api: chat, url: 'http://x', key_env: L}}\n\
                    models: {local/m: {}, openai/gpt-5: {input: 1.25, output: 10}}\n";
        let settings = read(text, |name| Some(format!("key in {name}"))).unwrap();
        let of = |name: &str| {
            let provider = &settings.providers[name];
            (provider.api, provider.url.as_str(), provider.key.as_ref().unwrap().0.as_str())
        };
        assert_eq!(of("local"), (Api::Chat, "http://x", "key in L"));
        let openai = (Api::Responses, "https://api.openai.com", "key in OPENAI_API_KEY");
        assert_eq!(of("openai"), openai);
        assert_eq!(of("anthropic").0, Api::Messages);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let error = |text: &str| format!("{:#}", read(text, |_| None).unwrap_err());
        assert!(error("providers: {acme: {}}").contains("unknown provider `acme`"));
        assert!(error("providers: {openai: {api: smoke}}").contains("unknown variant `smoke`"));
        assert!(error("models: {m: {}}").contains("`provider/model`"));
        assert!(error("models: {anthropic/m: {input: -1}}").contains("price `input`"));
        assert!(error("models: {anthropic/m: {context: 9}}").contains("an agent needs 1000"));
        assert!(error("default: anthropic/m").contains("not among the models"));
        assert!(error("model: x").contains("unknown field `model`"));
    }
}
