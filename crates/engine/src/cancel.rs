//! A request to stop a step, made once and seen by whoever runs it.

use jb_build::CancelReason;
use tokio::sync::watch;

/// The side that asks.
#[derive(Debug)]
pub(crate) struct CancelHandle(watch::Sender<Option<CancelReason>>);

/// The side that is asked.
#[derive(Clone, Debug)]
pub(crate) struct Cancel(watch::Receiver<Option<CancelReason>>);

pub(crate) fn pair() -> (CancelHandle, Cancel) {
    let (sender, receiver) = watch::channel(None);
    (CancelHandle(sender), Cancel(receiver))
}

impl CancelHandle {
    pub(crate) fn cancel(&self, reason: CancelReason) {
        self.0.send_replace(Some(reason));
    }
}

impl Cancel {
    pub(crate) fn is_requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Returns once cancelling was asked for; never when the asking side is gone.
    pub(crate) async fn requested(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
