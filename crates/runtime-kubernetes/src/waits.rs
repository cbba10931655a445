//! Why a container does not start yet, for whoever watches.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

/// The most that is said of one container: reasons that count nodes may change for as long as it waits.
const LINES_MAX: usize = 50;

/// Tells each reason when it takes the place of another.
pub(crate) struct Waits {
    lines: Option<mpsc::Sender<String>>,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    last: String,
    lines: usize,
}

impl Waits {
    /// Of a container that nobody watches.
    pub(crate) fn unwatched() -> Self {
        Self { lines: None, said: Mutex::default() }
    }

    pub(crate) fn new(lines: mpsc::Sender<String>) -> Self {
        Self { lines: Some(lines), said: Mutex::default() }
    }

    /// Takes what a container waits for now. One that says less than the last is no other reason.
    pub(crate) fn tell(&self, why: &str) {
        let Some(lines) = &self.lines else { return };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = !said.last.is_empty() && said.last.starts_with(why);
        if why.is_empty() || is_known || said.lines == LINES_MAX {
            return;
        }
        // One that finds no room is told again by the next look.
        if lines.try_send(why.to_owned()).is_ok() {
            why.clone_into(&mut said.last);
            said.lines += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn told(reasons: impl IntoIterator<Item = &'static str>) -> Vec<String> {
        let (sender, mut lines) = mpsc::channel(LINES_MAX + 1);
        let waits = Waits::new(sender);
        reasons.into_iter().for_each(|why| waits.tell(why));
        std::iter::from_fn(|| lines.try_recv().ok()).collect()
    }

    #[test]
    fn each_reason_is_told_when_it_changes() {
        let reasons = ["", "no room", "no room", "", "no image: because", "no image", "no room"];
        assert_eq!(told(reasons), ["no room", "no image: because", "no room"]);
    }

    #[test]
    fn who_waits_for_long_does_not_fill_the_log() {
        assert_eq!(told(["one", "two"].into_iter().cycle().take(1000)).len(), LINES_MAX);
    }
}
