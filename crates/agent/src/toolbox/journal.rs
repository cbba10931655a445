//! What was called and said in all runs of a step, for harnesses that begin anew and come by all of it again: what was done
//! is answered as it was, and said no second time. Pure.

use jb_agent_protocol::suspension::PAST_DIFFERS;
use jb_agent_protocol::{Entry, REDACTED, recording};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Begun, Call, Counts};

/// What a harness leaves that begins anew in its next run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Past {
    /// Calls that were answered, in that order.
    made: Vec<Made>,
    /// Calls that the transcript has and that were not answered.
    open: Vec<Begun>,
    /// Calls behind them that the transcript has not.
    queued: Vec<Call>,
    /// What the agent said.
    said: Vec<Entry>,
    pub(crate) counts: Counts,
    /// As the model was told of them: servers may describe theirs anew.
    pub(crate) tools: Vec<Value>,
}

/// A call that was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Made {
    name: String,
    input: Value,
    text: String,
    is_error: bool,
}

/// What a call is that a harness makes.
pub(crate) enum Place {
    /// It was made before, and this is its answer.
    Made {
        text: String,
        is_error: bool,
    },
    /// It was begun before, and its answer is still to come.
    Open(Begun),
    New(Call),
}

/// What is known of a step's calls and words, and what of it is still to come again.
#[derive(Default)]
pub(crate) struct Journal {
    made: Vec<Made>,
    said: Vec<Entry>,
    /// The rest comes again, in each with what is expected first.
    made_again: Vec<Made>,
    open: Vec<Begun>,
    queued: Vec<Call>,
    said_again: Vec<Entry>,
}

impl Journal {
    /// Of a harness that begins anew after this.
    pub(crate) fn after(past: Past) -> Self {
        let Past { made, open, queued, said, .. } = past;
        let (made_again, said_again) = (made.clone(), said.clone());
        Self { made, said, made_again, open, queued, said_again }
    }

    /// Whether the harness has come to where it was: all calls that were begun then are made again.
    pub(crate) fn is_live(&self) -> bool {
        self.made_again.is_empty() && self.open.is_empty()
    }

    /// Where a call belongs. Calls side by side may come in another order than they came in.
    ///
    /// # Errors
    /// When the harness has not come to where it was and calls something else: how it differs.
    pub(crate) fn place(&mut self, call: Call) -> Result<Place, String> {
        let again = |name: &str, input: &Value| call.name == name && same(input, &call.input);
        if let Some(at) = self.made_again.iter().position(|it| again(&it.name, &it.input)) {
            let Made { text, is_error, .. } = self.made_again.remove(at);
            return Ok(Place::Made { text, is_error });
        }
        let begun = |it: &Begun| again(&it.call().name, &it.call().input);
        if let Some(at) = self.open.iter().position(begun) {
            // As it was, which people have seen.
            return Ok(Place::Open(self.open.remove(at)));
        }
        if let Some(at) = self.queued.iter().position(|it| again(&it.name, &it.input)) {
            return Ok(Place::New(self.queued.remove(at)));
        }
        if self.is_live() {
            self.said_again.clear();
            return Ok(Place::New(call));
        }
        Err(self.difference(&call))
    }

    fn difference(&self, call: &Call) -> String {
        let shown = |name: &str, input: &Value| json!({"name": name, "input": input});
        let made = self.made_again.first().map(|it| shown(&it.name, &it.input));
        let open = || self.open.first().map(|it| shown(&it.call().name, &it.call().input));
        let expected = made.or_else(open).unwrap_or_default();
        let difference = recording::difference(&expected, &shown(&call.name, &call.input));
        let number = self.made.len() - self.made_again.len() + 1;
        format!("{PAST_DIFFERS}: call {number}: {}", difference.unwrap_or_default())
    }

    /// Takes a call that was answered in this run.
    pub(crate) fn answered(&mut self, call: Call, text: &str, is_error: bool) {
        let Call { name, input, .. } = call;
        self.made.push(Made { name, input, text: text.to_owned(), is_error });
    }

    /// Whether the transcript is told this, as it has it not from a run before.
    pub(crate) fn is_news(&mut self, entry: &Entry) -> bool {
        let before = self.said_again.iter().position(|said| said == entry);
        if let Some(at) = before {
            self.said_again.remove(at);
        }
        // Until it has come to where it was everything was said, if not in the same words.
        before.is_none() && self.is_live()
    }

    /// Takes what the agent said in this run.
    pub(crate) fn said(&mut self, entry: &Entry) {
        self.said.push(entry.clone());
    }

    /// What a harness leaves that stops now.
    pub(crate) fn past(
        &self,
        open: Vec<Begun>,
        queued: Vec<Call>,
        counts: Counts,
        tools: Vec<Value>,
    ) -> Past {
        Past { made: self.made.clone(), open, queued, said: self.said.clone(), counts, tools }
    }
}

/// Whether an input is what it was, but for secrets: answers of the model come again with those masked.
fn same(was: &Value, is: &Value) -> bool {
    match (was, is) {
        (Value::String(was), Value::String(is)) => was == is || masked(was, is),
        (Value::Array(was), Value::Array(is)) => {
            was.len() == is.len() && was.iter().zip(is).all(|(was, is)| same(was, is))
        }
        (Value::Object(was), Value::Object(is)) => {
            was.len() == is.len()
                && was.iter().all(|(key, was)| is.get(key).is_some_and(|is| same(was, is)))
        }
        (was, is) => was == is,
    }
}

/// Whether a text is another one with parts of it masked.
fn masked(was: &str, is: &str) -> bool {
    let pieces: Vec<&str> = is.split(REDACTED).collect();
    let [first, between @ .., last] = &pieces[..] else { return false };
    let Some(mut rest) = was.strip_prefix(first) else { return false };
    for piece in between {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::super::Wait;
    use super::*;

    fn call(name: &str, input: &str) -> Call {
        Call { id: String::new(), name: name.to_owned(), input: json!({"of": input}) }
    }

    fn text(text: &str) -> Entry {
        Entry::Text { text: text.to_owned() }
    }

    /// One call that was made, one that is open and one behind it.
    fn after() -> Journal {
        let mut journal = Journal::default();
        assert!(journal.is_news(&text("I look.")));
        journal.said(&text("I look."));
        journal.answered(call("read", "a"), "A", false);
        assert!(journal.is_news(&text("I write.")));
        journal.said(&text("I write."));
        let open = Begun { call: call("write", "hunter2, b"), wait: Wait::People("a1".to_owned()) };
        let counts = serde_json::from_str(r#"{"refusals": 0, "reminders": 0, "asked": 1}"#);
        let past = journal.past(vec![open], vec![call("read", "c")], counts.unwrap(), vec![]);
        let kept = serde_json::to_vec(&past).unwrap();
        Journal::after(serde_json::from_slice(&kept).unwrap())
    }

    #[test]
    fn what_was_done_comes_again_and_what_was_not_is_done() {
        let mut journal = after();
        assert!(!journal.is_news(&text("I look.")) && !journal.is_live());
        let Place::Made { text: answer, is_error } = journal.place(call("read", "a")).unwrap()
        else {
            panic!("it was made")
        };
        assert_eq!((answer.as_str(), is_error), ("A", false));
        assert!(!journal.is_news(&text("in other words")));
        let Place::Open(begun) = journal.place(call("write", "((redacted)), b")).unwrap() else {
            panic!("it was begun")
        };
        // What is made is what people saw.
        assert_eq!(begun.call().input["of"], "hunter2, b");
        assert!(journal.is_live());
        // What was said then may come only now; it is said when it comes once more.
        assert!(!journal.is_news(&text("I write.")) && journal.is_news(&text("I write.")));
        for of in ["c", "d", "a"] {
            assert!(matches!(journal.place(call("read", of)), Ok(Place::New(_))), "{of}");
        }
    }

    #[test]
    fn what_was_not_called_then_is_named() {
        let differs = |name: &str, of: &str| after().place(call(name, of)).err().unwrap();
        let why = r#"call 1: /input/of is "b", recorded was "a""#;
        assert_eq!(differs("read", "b"), format!("{PAST_DIFFERS}: {why}"));
        assert!(differs("edit", "a").ends_with(r#"/name is "edit", recorded was "read""#));
    }

    #[test]
    fn a_masked_text_is_the_same_text() {
        for (was, is) in [
            ("a hunter2 b", "a ((redacted)) b"),
            ("x", "((redacted))"),
            ("xyz", "((redacted))y((redacted))"),
        ] {
            assert!(masked(was, is), "{was} {is}");
        }
        for (was, is) in [
            ("a b", "a c"),
            ("a", "b((redacted))"),
            ("ab", "a((redacted))c"),
            ("a", "a((redacted))x((redacted))"),
        ] {
            assert!(!masked(was, is), "{was} {is}");
        }
    }
}
