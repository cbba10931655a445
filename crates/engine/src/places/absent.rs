//! Workers that this server does not have, and which others may have or nobody has any more.

use jb_store::{Forgetting, Store, WorkerRows};

use super::Places;
use crate::Engine;

/// Why a worker is not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    #[error("nothing is known of worker `{0}`")]
    Unknown(String),
    /// In Concourse's words.
    #[error("cannot prune running worker")]
    Running,
    #[error(
        "cannot prune worker `{worker}`: {builds} running builds have containers or volumes there; abort them first, or \
         leave it to the server that runs them"
    )]
    InUse { worker: String, builds: u64 },
    #[error("cannot prune worker: {0}")]
    Store(#[from] jb_store::Error),
}

impl Places {
    /// The workers of rows that are none of these places, by name.
    pub(crate) async fn absent_workers(
        &self,
        store: &Store,
    ) -> Result<Vec<WorkerRows>, jb_store::Error> {
        let own = self.workers();
        // Whatever any name made is here.
        if own.contains(&None) {
            return Ok(Vec::new());
        }
        let mut recorded = store.recorded_workers().await?;
        recorded.retain(|worker| !own.contains(&Some(worker.name.as_str())));
        Ok(recorded)
    }
}

impl Engine {
    /// Workers that this server does not have, but of which containers or volumes are recorded.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn absent_workers(&self) -> Result<Vec<WorkerRows>, jb_store::Error> {
        self.places.absent_workers(&self.store).await
    }

    /// Forgets what is recorded of a worker that does not answer or is none of this server's. What it has is not touched:
    /// should it come back, that is nobody's and is collected.
    ///
    /// # Errors
    /// When there is no such worker, it is in service, or builds that run need it.
    pub async fn forget_worker(&self, worker: &str) -> Result<(), ForgetError> {
        match self.places.named(worker) {
            Some(place) if !place.is_stalled() => return Err(ForgetError::Running),
            Some(_) => {}
            None => {
                let absent = self.absent_workers().await?;
                if !absent.iter().any(|known| known.name == worker) {
                    return Err(ForgetError::Unknown(worker.to_owned()));
                }
            }
        }
        match self.store.forget_worker(worker).await? {
            Forgetting::Forgotten => {
                tracing::info!(worker, "a worker is forgotten");
                Ok(())
            }
            Forgetting::InUse(builds) => {
                Err(ForgetError::InUse { worker: worker.to_owned(), builds })
            }
        }
    }
}
