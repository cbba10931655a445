//! The reconcilers beside the drivers, run until told to stop.

use std::sync::Arc;

use tokio::sync::watch;

use crate::Engine;

/// Dropping a reconciler at any point is harmless: it reads everything anew when it runs again.
pub(crate) async fn run(engine: Arc<Engine>, mut stop: watch::Receiver<bool>) {
    let clock = engine.clock.clone();
    let all = async {
        tokio::join!(
            engine.scheduler.clone().run(clock.clone()),
            engine.checks.clone().run(clock.clone()),
            engine.collector.clone().run(clock.clone()),
            engine.retention.clone().run(clock.clone()),
        );
    };
    tokio::select! {
        () = all => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}
