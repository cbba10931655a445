//! What all handlers share.

use std::sync::{Arc, Mutex};

use jb_model::Timestamp;
use jb_store::Store;
use tokio::sync::Semaphore;

use crate::engine::Engine;
use crate::settings::{Clock, Entropy, Settings};
use crate::sky::attempts::Attempts;

/// Passwords compared at once: bcrypt takes a whole processor for a while.
const PASSWORD_CHECKS: usize = 4;

/// The edge's state; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    store: Store,
    engine: Arc<dyn Engine>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    attempts: Mutex<Attempts>,
    password_checks: Semaphore,
    all_jobs: Option<Semaphore>,
}

impl AppState {
    /// Without a signing key the state makes one, which other servers and the next start do not know.
    pub fn new(
        store: Store,
        engine: Arc<dyn Engine>,
        mut settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        if settings.signing_key.is_empty() {
            let mut key = vec![0; 32];
            match entropy.fill(&mut key) {
                Ok(()) => settings.signing_key = key,
                Err(error) => tracing::error!(%error, "cannot make a key to sign logins with"),
            }
        }
        let all_jobs = settings.list_all_jobs_limit.map(Semaphore::new);
        Self(Arc::new(Inner {
            store,
            engine,
            settings,
            clock,
            entropy,
            attempts: Mutex::default(),
            password_checks: Semaphore::new(PASSWORD_CHECKS),
            all_jobs,
        }))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        self.0.engine.as_ref()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Unpredictable bytes.
    pub(crate) fn random<const N: usize>(&self) -> std::io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.entropy.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Does something with the count of failed logins.
    pub(crate) fn attempts<T>(&self, use_them: impl FnOnce(&mut Attempts) -> T) -> T {
        let mut attempts =
            self.0.attempts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        use_them(&mut attempts)
    }

    pub(crate) fn password_checks(&self) -> &Semaphore {
        &self.0.password_checks
    }

    pub(crate) fn all_jobs(&self) -> Option<&Semaphore> {
        self.0.all_jobs.as_ref()
    }
}
