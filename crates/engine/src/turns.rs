//! Turns at something that only one may do at a time, by key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::cancel::Cancel;

/// Hands out one turn per key at a time; others wait.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    waiting: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    /// Waits for the turn; without one when the waiting step is cancelled, which then sees that itself.
    pub(crate) async fn take(&self, key: &str, cancel: &Cancel) -> Option<OwnedMutexGuard<()>> {
        let lock = self.lock(key);
        tokio::select! {
            guard = lock.lock_owned() => Some(guard),
            () = cancel.requested() => None,
        }
    }

    fn lock(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(lock) = waiting.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        waiting.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        waiting.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
