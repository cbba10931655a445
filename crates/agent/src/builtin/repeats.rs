//! A model that calls the same tools again and again, and is answered the same. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How often in a row it is let; a poll that waits for something has this many looks.
const TIMES_MAX: u32 = 12;
/// From when on it is told.
const TOLD_FROM: u32 = 4;

/// How often the last calls were the same, with the same answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Repeats {
    last: u64,
    times: u32,
}

/// What is to be done about calls that were made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// The model is told this.
    Tell(String),
    /// It is stopped, and this is why.
    Stop(String),
}

impl Repeats {
    /// Takes the calls of one answer, by name and input, and what was answered to each.
    pub(super) fn judge<'a>(
        &mut self,
        calls: impl IntoIterator<Item = (&'a str, &'a Value, &'a str)>,
    ) -> Verdict {
        let mut hasher = DefaultHasher::new();
        let mut name = "a tool";
        for (called, input, answer) in calls {
            name = called;
            (called, input.to_string(), answer).hash(&mut hasher);
        }
        let seen = hasher.finish();
        self.times = if self.times > 0 && seen == self.last { self.times + 1 } else { 1 };
        self.last = seen;
        let times = self.times;
        if times >= TIMES_MAX {
            return Verdict::Stop(format!(
                "the model loops: it called {name} {times} times in a row with the same input, and got the same answer"
            ));
        }
        if times >= TOLD_FROM {
            return Verdict::Tell(format!(
                "(Called {times} times in a row with the same input and the same answer. Do something else.)"
            ));
        }
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_same_again_and_again_is_stopped() {
        let mut repeats = Repeats::default();
        let input = json!({"path": "a"});
        for time in 1..TIMES_MAX {
            let verdict = repeats.judge([("read", &input, "A")]);
            let told = matches!(verdict, Verdict::Tell(_));
            assert_eq!(told, time >= TOLD_FROM, "{time}: {verdict:?}");
        }
        let Verdict::Stop(why) = repeats.judge([("read", &input, "A")]) else {
            panic!("it goes on")
        };
        assert!(why.contains("read 12 times"), "{why}");
        // Another answer, another input or another tool begins anew.
        assert_eq!(repeats.judge([("read", &input, "B")]), Verdict::Fine);
        assert_eq!(repeats.judge([("read", &json!({}), "B")]), Verdict::Fine);
        assert_eq!(repeats.judge([("search", &json!({}), "B")]), Verdict::Fine);
    }
}
