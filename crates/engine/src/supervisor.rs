//! Starts a driver for every build that nobody drives, and passes nudges on to the drivers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jb_model::BuildId;
use jb_store::Change;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;

use crate::Engine;
use crate::driver;

/// A nudge may be lost; this finds what it should have started.
const BACKSTOP: Duration = Duration::from_secs(10);
/// Builds taken over in one go.
const BATCH: u32 = 100;

/// The builds this server drives.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    nudges: Mutex<HashMap<BuildId, Arc<Notify>>>,
}

impl Supervisor {
    pub(crate) fn nudge(&self, build: BuildId) {
        let nudges = self.nudges.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nudge) = nudges.get(&build) {
            nudge.notify_one();
        }
    }

    fn nudge_all(&self) {
        let nudges = self.nudges.lock().unwrap_or_else(PoisonError::into_inner);
        nudges.values().for_each(|nudge| nudge.notify_one());
    }

    /// Registers a build to drive; none when it is driven already.
    fn register(&self, build: BuildId) -> Option<Arc<Notify>> {
        let mut nudges = self.nudges.lock().unwrap_or_else(PoisonError::into_inner);
        if nudges.contains_key(&build) {
            return None;
        }
        let nudge = Arc::new(Notify::new());
        nudges.insert(build, nudge.clone());
        Some(nudge)
    }

    fn unregister(&self, build: BuildId) {
        self.nudges.lock().unwrap_or_else(PoisonError::into_inner).remove(&build);
    }
}

/// Drives builds until told to stop. Builds under way are left to whoever comes next: their
/// containers go on.
pub(crate) async fn run(engine: Arc<Engine>, stop: watch::Receiver<bool>) {
    // A former server of this name may have died with leases in its hands.
    release_leases(&engine).await;
    let mut drivers = JoinSet::new();
    drive_all(&engine, &mut drivers, stop).await;
    drivers.shutdown().await;
    release_leases(&engine).await;
}

async fn release_leases(engine: &Engine) {
    if let Err(error) = engine.store.release_leases(&engine.settings.owner).await {
        // They run out by themselves.
        tracing::warn!(%error, "giving up leases");
    }
}

async fn drive_all(
    engine: &Arc<Engine>,
    drivers: &mut JoinSet<()>,
    mut stop: watch::Receiver<bool>,
) {
    let mut changes = engine.store.subscribe();
    let mut backstop = tokio::time::interval(BACKSTOP);
    loop {
        let look = tokio::select! {
            _ = backstop.tick() => true,
            change = changes.recv() => match change {
                Ok(Change::Build(build)) => { engine.supervisor.nudge(build); false }
                Ok(Change::BuildQueued) => true,
                Ok(Change::Everything) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    engine.supervisor.nudge_all();
                    true
                }
                Ok(_) => false,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            Some(_) = drivers.join_next() => false,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        if look {
            start_waiting(engine, drivers).await;
        }
    }
}

async fn start_waiting(engine: &Arc<Engine>, drivers: &mut JoinSet<()>) {
    let waiting = match engine.store.runnable_builds(engine.now(), BATCH).await {
        Ok(waiting) => waiting,
        Err(error) => {
            tracing::error!(%error, "looking for builds to drive");
            return;
        }
    };
    for runnable in waiting {
        start(engine, drivers, runnable.build);
    }
}

fn start(engine: &Arc<Engine>, drivers: &mut JoinSet<()>, build: BuildId) {
    let Some(nudge) = engine.supervisor.register(build) else { return };
    let engine = engine.clone();
    drivers.spawn(async move {
        match driver::drive(engine.clone(), build, nudge).await {
            Ok(()) => {}
            Err(error @ driver::Error::TakenOver(_)) => tracing::warn!(%error, "driving a build"),
            // The lease runs out and the build is taken up again, here or elsewhere.
            Err(error) => tracing::error!(%error, "driving a build"),
        }
        engine.supervisor.unregister(build);
    });
}
