//! Several calls in one answer: those that only read run side by side, all others one after the other.

use std::ops::Range;

use futures_util::future::join_all;
use serde_json::Value;

use super::{Outcome, Toolbox};

/// One call of a tool, as the model made it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Value,
}

impl Toolbox {
    /// Calls tools in the order given; what reads between two writes runs at the same time. The answers come in the order
    /// of the calls, up to the one that ends the work. The transcript has the calls of a batch before their answers.
    pub(crate) async fn call_all(&self, calls: &[Call]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(calls.len());
        for batch in batches(calls, |call| self.only_reads(&call.name)) {
            let calls = &calls[batch];
            for call in calls {
                self.say_call(call);
            }
            // Their answers are told only when all are there, so that the same work has the same transcript.
            let done = join_all(calls.iter().map(|call| self.perform(call))).await;
            for (call, done) in calls.iter().zip(done) {
                let outcome = self.say_done(call, done);
                let over = matches!(outcome, Outcome::Over(_));
                outcomes.push(outcome);
                if over {
                    return outcomes;
                }
            }
        }
        outcomes
    }
}

/// Calls that run at the same time: neighbours that only read, or one of any kind.
fn batches(calls: &[Call], only_reads: impl Fn(&Call) -> bool) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut reading = false;
    for (at, call) in calls.iter().enumerate() {
        let reads = only_reads(call);
        match batches.last_mut() {
            Some(last) if reading && reads => last.end = at + 1,
            _ => batches.push(at..at + 1),
        }
        reading = reads;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_read_are_a_batch() {
        let calls: Vec<Call> = "rrwrwwrr"
            .chars()
            .map(|name| Call { id: String::new(), name: name.into(), input: Value::Null })
            .collect();
        let batches = batches(&calls, |call| call.name == "r");
        assert_eq!(batches, [0..2, 2..3, 3..4, 4..5, 5..6, 6..8]);
    }
}
