//! What the server says about itself, and how much of it.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use jb_http::LogLevel;
use tracing_subscriber::filter::LevelFilter;
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
        let filter = filter_of(level)?;
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

/// What a level, or directives for each module, let through.
fn filter_of(level: &str) -> anyhow::Result<EnvFilter> {
    // A lone word that is no level would be taken for the name of a module, and all else fall silent.
    let is_level = |part: &str| {
        part.contains('=') || (!part.is_empty() && part.parse::<LevelFilter>().is_ok())
    };
    let filter =
        EnvFilter::try_new(with_quiet(level)).ok().filter(|_| level.split(',').all(is_level));
    filter.with_context(|| {
        format!("--log-level `{level}` is no level; there are error, warn, info, debug and trace")
    })
}

/// The client of clusters says what the server says better, of failed requests above all. Who wants to hear it names it:
/// later directives for a module take the place of earlier ones, and more particular ones win.
fn with_quiet(level: &str) -> String {
    format!("kube=warn,tower=warn,kube_client::client::builder=off,{level}")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::filter_of;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written at a level of what the server and the client of clusters say.
    fn written(level: &str) -> String {
        let written = Written::default();
        let writer = written.clone();
        let layer = fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = tracing_subscriber::registry().with(layer).with(filter_of(level).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("ours");
            tracing::warn!(target: "kube_client::client::builder", "failed");
            tracing::warn!(target: "kube_runtime::watcher", "watch broke");
            tracing::info!(target: "kube_client::config", "chatter");
            tracing::info!(target: "tower::buffer", "chatter");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_client_of_clusters_only_warns() {
        for level in ["info", "debug", "warn,jetbridge=info"] {
            let text = written(level);
            assert!(text.contains("ours") && text.contains("watch broke"), "{level}: {text}");
            assert!(!text.contains("chatter") && !text.contains("failed"), "{level}: {text}");
        }
        assert!(written("info,kube=info").contains("chatter"));
    }

    #[test]
    fn only_levels_are_taken_for_levels() {
        for level in ["info", "warn", "warn,jb_engine=debug"] {
            assert!(filter_of(level).is_ok(), "{level}");
        }
        for level in ["loud", "", "jb_engine", "jb_engine=loud"] {
            assert!(filter_of(level).is_err(), "{level}");
        }
    }
}
