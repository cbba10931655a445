//! The operator's file about agents: which models they may use, what those cost, and where the keys are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use jb_engine::agents::{AgentSettings, Key, Prices, Provider};
use serde::Deserialize;

const ANTHROPIC: &str = "anthropic";
const ANTHROPIC_URL: &str = "https://api.anthropic.com";
const ANTHROPIC_KEY: &str = "ANTHROPIC_API_KEY";
/// US dollars for a million tokens.
const PRICE_MAX: f64 = 1e6;

#[derive(Args)]
pub(crate) struct AgentOptions {
    /// A YAML file that says which models agents may use, and what they cost
    #[arg(long, value_name = "FILE")]
    pub agent_models: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    default: Option<String>,
    providers: BTreeMap<String, ProviderFile>,
    models: BTreeMap<String, PricesFile>,
    turns: Option<u32>,
    idle_timeout_seconds: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ProviderFile {
    url: Option<String>,
    /// The variable of the environment that holds the key.
    key_env: Option<String>,
}

/// US dollars for a million tokens.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PricesFile {
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write: f64,
}

/// What the options say; no model at all without a file.
pub(crate) fn settings(options: &AgentOptions) -> anyhow::Result<AgentSettings> {
    let Some(path) = &options.agent_models else { return Ok(AgentSettings::default()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--agent-models: read {}", path.display()))?;
    read(&text, |name| std::env::var(name).ok())
        .with_context(|| format!("--agent-models: {}", path.display()))
}

fn read(text: &str, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<AgentSettings> {
    let node = jb_yaml::parse(text).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut file: File = serde_json::from_value(node.to_json())?;
    file.providers.entry(ANTHROPIC.to_owned()).or_default();
    let mut settings = AgentSettings::default();
    for (name, provider) in file.providers {
        ensure!(
            name == ANTHROPIC,
            "unknown provider `{name}`: this version speaks to {ANTHROPIC} and what has the same API, by `url`"
        );
        let key = variable(provider.key_env.as_deref().unwrap_or(ANTHROPIC_KEY));
        let key = key.filter(|key| !key.is_empty()).map(Key);
        let url = provider.url.unwrap_or_else(|| ANTHROPIC_URL.to_owned());
        settings.providers.insert(name, Provider { url, key });
    }
    for (name, prices) in file.models {
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
            input: micros("input", prices.input)?,
            output: micros("output", prices.output)?,
            cache_read: micros("cache_read", prices.cache_read)?,
            cache_write: micros("cache_write", prices.cache_write)?,
        };
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
    if let Some(seconds) = file.idle_timeout_seconds {
        settings.idle_timeout = Duration::from_secs(seconds.max(1));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_models_prices_and_keys() {
        let text = "default: anthropic/m\nproviders: {anthropic: {url: 'http://x', key_env: K}}\n\
                    models: {anthropic/m: {input: 3, output: 15.5, cache_read: 0.3}}\nturns: 7\n";
        let settings = read(text, |name| (name == "K").then(|| "sesame".to_owned())).unwrap();
        assert_eq!(settings.default_model.as_deref(), Some("anthropic/m"));
        let prices =
            Prices { input: 3_000_000, output: 15_500_000, cache_read: 300_000, cache_write: 0 };
        assert_eq!(settings.models["anthropic/m"], prices);
        assert_eq!(settings.providers["anthropic"].url, "http://x");
        assert_eq!(settings.providers["anthropic"].key.as_ref().unwrap().0, "sesame");
        assert_eq!(settings.turns, 7);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let error = |text: &str| format!("{:#}", read(text, |_| None).unwrap_err());
        assert!(error("providers: {acme: {}}").contains("unknown provider `acme`"));
        assert!(error("models: {m: {}}").contains("`provider/model`"));
        assert!(error("models: {anthropic/m: {input: -1}}").contains("price `input`"));
        assert!(error("default: anthropic/m").contains("not among the models"));
        assert!(error("model: x").contains("unknown field `model`"));
    }
}
