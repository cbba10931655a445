//! What stands for the `in` script of a `registry-image`: what it is asked for, and the log it would write.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use jb_model::Value;
use jb_model::script::{FieldError, Fields, Level, Line};
use tokio::sync::mpsc;

use super::{GetRequest, Invalid, SOURCE_KEYS, Source};

/// The log of the script this stands for.
#[derive(Clone)]
pub struct ScriptLog {
    started: Instant,
    lines: mpsc::Sender<String>,
}

impl ScriptLog {
    /// One that begins now; each line is sent as it is said.
    pub fn new(lines: mpsc::Sender<String>) -> Self {
        Self { started: Instant::now(), lines }
    }

    fn rendered(&self, level: Level, message: &str) -> String {
        let seconds = self.started.elapsed().as_secs();
        Line { level, seconds, message, fields: &[] }.rendered()
    }

    /// Says one line; waits while nobody takes those before.
    pub async fn say(&self, level: Level, message: impl fmt::Display) {
        let line = self.rendered(level, &message.to_string());
        // Whoever does not listen any more is about to drop this.
        let _ = self.lines.send(line).await;
    }

    async fn ignored_keys(&self, keys: &[String]) {
        if !keys.is_empty() {
            self.say(Level::Warn, format!("ignoring unknown keys: {}", keys.join(", "))).await;
        }
    }

    /// Says that a request is made again.
    pub fn on_retry(&self) -> crate::OnRetry {
        let log = self.clone();
        Arc::new(move |text: &str| {
            // Cannot wait here; one of many retries may go unmentioned.
            let _ = log.lines.try_send(log.rendered(Level::Warn, text));
        })
    }
}

/// What the script is asked for, understood.
pub struct Wanted {
    pub source: Source,
    pub request: GetRequest,
    unknown_source: Vec<String>,
    unknown_params: Vec<String>,
}

impl Wanted {
    /// Reads what the script would be given.
    ///
    /// # Errors
    /// When the script would refuse it.
    pub fn parse(source: &Value, params: &Value, version: &Value) -> Result<Self, Invalid> {
        let unknown_source = unknown(source, "source", |fields| fields.unknown(SOURCE_KEYS));
        let unknown_params = unknown(params, "params", GetRequest::unknown_params);
        let source = Source::parse(&Fields::of("source", Some(source))?)?;
        let params = Fields::of("params", Some(params))?;
        let version = Fields::of("version", Some(version))?;
        let request = GetRequest::parse(&source, &params, &version)?;
        Ok(Self { source, request, unknown_source, unknown_params })
    }

    /// Says which keys mean nothing to it.
    pub async fn say_unknown_keys(&self, log: &ScriptLog) {
        log.ignored_keys(&self.unknown_source).await;
        log.ignored_keys(&self.unknown_params).await;
    }
}

fn unknown(value: &Value, path: &str, keys: impl Fn(&Fields<'_>) -> Vec<String>) -> Vec<String> {
    let fields: Result<Fields<'_>, FieldError> = Fields::of(path, Some(value));
    fields.map(|fields| keys(&fields)).unwrap_or_default()
}
