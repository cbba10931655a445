//! What the server says about itself, and how much of it.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use jb_http::LogLevel;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt, reload};

/// Changes the level while the server runs.
#[derive(Clone)]
pub(crate) struct Logging {
    change: Arc<dyn Fn(EnvFilter) + Send + Sync>,
    level: Arc<Mutex<LogLevel>>,
}

impl Logging {
    /// Starts logging to stderr. Directives such as `jb_engine=debug,warn` are taken too.
    pub(crate) fn start(level: &str, json: bool) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(with_quiet(level))
            .with_context(|| format!("--log-level `{level}` is no level"))?;
        let (filter, handle) = reload::Layer::new(filter);
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
        let layer = if json { layer.json().boxed() } else { layer.boxed() };
        tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
        let first = match level {
            "debug" | "trace" => LogLevel::Debug,
            "error" => LogLevel::Error,
            _ => LogLevel::Info,
        };
        let change = move |filter| {
            if let Err(error) = handle.reload(filter) {
                tracing::error!(%error, "changing the log level");
            }
        };
        Ok(Self { change: Arc::new(change), level: Arc::new(Mutex::new(first)) })
    }

    pub(crate) fn level(&self) -> LogLevel {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, level: LogLevel) {
        let filter = match level {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Error | LogLevel::Fatal => "error",
        };
        (self.change)(EnvFilter::new(with_quiet(filter)));
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
    }
}

/// What these say of failed requests, whoever made those says better; more particular directives win.
fn with_quiet(level: &str) -> String {
    format!("kube_client::client::builder=off,{level}")
}
