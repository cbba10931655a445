//! A bound on labels that users choose.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Sets of values that one metric takes.
const SETS_MAX: usize = 2_000;
/// What stands for all that come after them.
const OTHER: &str = "other";

/// The sets of values that a metric has. Clones have them together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounded {
    seen: Arc<Mutex<HashSet<Vec<String>>>>,
}

impl Bounded {
    /// The values themselves, or what stands for them.
    pub(crate) fn set<'a, const N: usize>(&self, values: [&'a str; N]) -> [&'a str; N] {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        if seen.contains(&key) {
            return values;
        }
        if seen.len() < SETS_MAX {
            seen.insert(key);
            return values;
        }
        [OTHER; N]
    }
}
