//! The model that answers a step's agent: a service, or a recording of one.

use jb_agent_protocol::{Prices, RECORDING_FILE, REPLAY_DIR, Upstream, recording};

use crate::agents::{AgentSettings, Recordings};

/// The model that answers.
pub(super) struct Chosen {
    /// As its provider calls it.
    pub(super) name: String,
    /// With its provider.
    pub(super) full_name: String,
    pub(super) prices: Prices,
    /// How many tokens it takes in.
    pub(super) context_tokens: u64,
    pub(super) upstream: Upstream,
    /// What it answers from, when it is not there itself.
    pub(super) recording: Option<String>,
}

impl Chosen {
    /// The model that a step names, or the default. `recorded_as` is what the step's recording is called.
    pub(super) fn new(
        settings: &AgentSettings,
        recorded_as: &str,
        named: &str,
    ) -> Result<Self, String> {
        let Recordings::Replayed(recordings) = &settings.recordings else {
            return Self::service(settings, named);
        };
        let recording = recordings.get(recorded_as).ok_or_else(|| {
            let known: Vec<&str> = recordings.keys().map(String::as_str).collect();
            format!("there is no recording of `{recorded_as}`; there are: {}", known.join(", "))
        })?;
        Self::recorded(recording, named)
            .map_err(|what| format!("the recording of `{recorded_as}`: {what}"))
    }

    fn service(settings: &AgentSettings, named: &str) -> Result<Self, String> {
        let model = settings.model(named)?;
        let (api, url, key) = (model.api, model.url.to_owned(), model.key.0.clone());
        Ok(Self {
            name: model.name.to_owned(),
            full_name: model.full_name.to_owned(),
            prices: model.prices,
            context_tokens: model.context_tokens,
            upstream: Upstream::Service { api, url, key },
            recording: None,
        })
    }

    /// The model whose answers were recorded. One that the step names must be that one.
    fn recorded(text: &str, named: &str) -> Result<Self, String> {
        let header = recording::header(text)?;
        let mut models = header.models.into_iter();
        let (name, prices) = models.next().ok_or("it does not say which model answers")?;
        let full_name = format!("{}/{name}", header.provider);
        if !named.is_empty() && named != full_name {
            return Err(format!("the model is `{named}`, recorded was `{full_name}`"));
        }
        let path = format!("{REPLAY_DIR}/{RECORDING_FILE}");
        let upstream = Upstream::Replay { api: header.api, path };
        let recording = Some(text.to_owned());
        let context_tokens = header.context_tokens;
        Ok(Self { name, full_name, prices, context_tokens, upstream, recording })
    }

    pub(super) fn key(&self) -> Option<&str> {
        match &self.upstream {
            Upstream::Service { key, .. } => Some(key),
            Upstream::Replay { .. } => None,
        }
    }

    /// The part of its name before the slash.
    pub(super) fn provider(&self) -> &str {
        self.full_name.split_once('/').map_or("", |(provider, _)| provider)
    }
}
