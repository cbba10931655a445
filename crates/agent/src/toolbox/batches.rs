//! Several calls in one answer: those that only read run side by side, all others one after the other.

use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Begun, Done, Outcome, Toolbox, Wait};

/// One call of a tool, as the model made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Value,
}

/// How far the calls of one answer are.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// What was answered to the first ones.
    answered: Vec<Answered>,
    /// Those after them that were begun.
    open: Vec<Open>,
}

#[derive(Serialize, Deserialize)]
struct Answered {
    text: String,
    is_error: bool,
}

/// A call that was begun, and whose answer was not told yet.
#[derive(Serialize, Deserialize)]
struct Open {
    begun: Begun,
    done: Option<Done>,
}

/// Calls that stop where people have to decide.
pub(crate) struct Stopped {
    pub(crate) progress: Progress,
    /// The id of what is to be decided.
    pub(crate) needs: String,
}

impl Toolbox {
    /// Calls tools in the order given; what reads between two writes runs at the same time, and about neighbours that wait
    /// for people these are asked at once. The answers come in the order of the calls, up to the one that ends the work. The
    /// transcript has the calls of a batch before their answers. What was done before, as `progress` has it, is not done again.
    ///
    /// # Errors
    /// How far it came, when people have not decided about a call `within` that time and nothing else is to be done first.
    pub(crate) async fn call_all(
        &self,
        calls: &[Call],
        progress: Progress,
        within: Option<Duration>,
    ) -> Result<Vec<Outcome>, Stopped> {
        let Progress { answered, mut open } = progress;
        let answered = answered.into_iter();
        let mut outcomes: Vec<Outcome> = answered
            .map(|Answered { text, is_error }| Outcome::Answered { text, is_error })
            .collect();
        loop {
            let mut left = open.into_iter();
            while let Some(mut next) = left.next() {
                let done = match next.done.take() {
                    Some(done) => done,
                    None => match self.approvals.decision_within(&next.begun.wait, within).await {
                        Ok(decided) => self.perform(&next.begun, decided).await,
                        Err(needs) => {
                            let open = std::iter::once(next).chain(left).collect();
                            let progress = Progress { answered: told(outcomes), open };
                            return Err(Stopped { progress, needs });
                        }
                    },
                };
                outcomes.push(self.say_done(&next.begun, done));
                if matches!(outcomes.last(), Some(Outcome::Over(_))) {
                    return Ok(outcomes);
                }
            }
            let rest = &calls[outcomes.len()..];
            let Some((kind, length)) = batch(rest, |call| self.kind(call)) else {
                return Ok(outcomes);
            };
            let begin = |call: &Call| Open { begun: self.begin(call.clone()), done: None };
            open = rest[..length].iter().map(begin).collect();
            if kind == Kind::Reads {
                self.read_side_by_side(&mut open).await;
            }
        }
    }

    /// Makes the calls that wait for nobody. Their answers are told in order, so that the same work has the same transcript.
    async fn read_side_by_side(&self, open: &mut [Open]) {
        let free = open.iter_mut().filter(|it| !matches!(it.begun.wait, Wait::People(_)));
        let read = free.map(async |it| {
            let decided = self.approvals.decision(&it.begun.wait).await;
            it.done = Some(self.perform(&it.begun, decided).await);
        });
        join_all(read).await;
    }

    fn kind(&self, call: &Call) -> Kind {
        if self.only_reads(&call.name) {
            Kind::Reads
        } else if self.asks(call) {
            Kind::Asks
        } else {
            Kind::Other
        }
    }
}

/// What was answered; the work is not over.
fn told(outcomes: Vec<Outcome>) -> Vec<Answered> {
    let answered = outcomes.into_iter().filter_map(|outcome| match outcome {
        Outcome::Answered { text, is_error } => Some(Answered { text, is_error }),
        Outcome::Over(_) => None,
    });
    answered.collect()
}

/// What decides which calls are begun together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reads,
    /// It does more than read, and people are asked first.
    Asks,
    Other,
}

/// How many of these calls are begun at the same time: neighbours that only read, neighbours that people are asked about, or
/// any one.
fn batch(calls: &[Call], kind: impl Fn(&Call) -> Kind) -> Option<(Kind, usize)> {
    let first = kind(calls.first()?);
    let length = match first {
        Kind::Other => 1,
        Kind::Reads | Kind::Asks => calls.iter().take_while(|call| kind(call) == first).count(),
    };
    Some((first, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_read_or_are_asked_about_are_a_batch() {
        let calls: Vec<Call> = "rrwrwwrraaw"
            .chars()
            .map(|name| Call { id: String::new(), name: name.into(), input: Value::Null })
            .collect();
        let kind = |call: &Call| match call.name.as_str() {
            "r" => Kind::Reads,
            "a" => Kind::Asks,
            _ => Kind::Other,
        };
        let (mut rest, mut lengths) = (&calls[..], Vec::new());
        while let Some((_, length)) = batch(rest, kind) {
            rest = &rest[length..];
            lengths.push(length);
        }
        assert_eq!(lengths, [2, 1, 1, 1, 1, 2, 2, 1]);
    }
}
