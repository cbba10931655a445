//! Several calls in one answer: those that only read run side by side, all others one after the other.

use std::ops::Range;

use futures_util::future::join_all;
use serde_json::Value;

use super::{Begun, Outcome, Toolbox};

/// One call of a tool, as the model made it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Value,
}

impl Toolbox {
    /// Calls tools in the order given; what reads between two writes runs at the same time, and about neighbours that wait
    /// for people these are asked at once. The answers come in the order of the calls, up to the one that ends the work. The
    /// transcript has the calls of a batch before their answers.
    pub(crate) async fn call_all(&self, calls: &[Call]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(calls.len());
        for (kind, batch) in batches(calls, |call| self.kind(call)) {
            let begun: Vec<Begun> = calls[batch].iter().map(|it| self.begin(it.clone())).collect();
            let mut told = match kind {
                // Their answers are told only when all are there, so that the same work has the same transcript.
                Kind::Reads => {
                    let done = join_all(begun.iter().map(|begun| self.perform(begun))).await;
                    begun.iter().zip(done).map(|(begun, done)| self.say_done(begun, done)).collect()
                }
                Kind::Asks | Kind::Other => self.in_order(begun).await,
            };
            let over = told.iter().position(|outcome| matches!(outcome, Outcome::Over(_)));
            outcomes.append(&mut told);
            if over.is_some() {
                break;
            }
        }
        outcomes
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

    async fn in_order(&self, begun: Vec<Begun>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(begun.len());
        for begun in begun {
            outcomes.push(self.finish(begun).await);
        }
        outcomes
    }
}

/// What decides which calls are begun together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reads,
    /// It does more than read, and people are asked first.
    Asks,
    Other,
}

/// Calls that are begun at the same time: neighbours that only read, neighbours that people are asked about, or any one.
fn batches(calls: &[Call], kind: impl Fn(&Call) -> Kind) -> Vec<(Kind, Range<usize>)> {
    let mut batches: Vec<(Kind, Range<usize>)> = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        let kind = kind(call);
        match batches.last_mut() {
            Some((last, range)) if *last == kind && kind != Kind::Other => range.end = at + 1,
            _ => batches.push((kind, at..at + 1)),
        }
    }
    batches
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
        let ranges: Vec<_> = batches(&calls, kind).into_iter().map(|(_, range)| range).collect();
        assert_eq!(ranges, [0..2, 2..3, 3..4, 4..5, 5..6, 6..8, 8..10, 10..11]);
    }
}
