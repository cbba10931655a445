//! How a step ended, as the steps around it need to know: success, failure, or faults of several kinds at once.

use jb_model::Outcome;

pub(crate) const INTERRUPTED: &str = "interrupted";
pub(crate) const TIMEOUT_EXCEEDED: &str = "timeout exceeded";

/// One reason why a step neither succeeded nor failed by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The build was aborted, or a sibling failed under `fail_fast`.
    Interrupted,
    /// A time limit around the step passed.
    TimedOut,
    /// Something broke.
    Broken(String),
}

/// How a step ended. With faults it neither succeeded nor failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    succeeded: bool,
    faults: Vec<Fault>,
    /// The faults come from several steps and are shown as a list.
    gathered: bool,
}

impl Verdict {
    pub(crate) fn plain(succeeded: bool) -> Self {
        Self { succeeded, faults: Vec::new(), gathered: false }
    }

    pub(crate) fn fault(fault: Fault) -> Self {
        Self { succeeded: false, faults: vec![fault], gathered: false }
    }

    /// All faults of several steps as one.
    pub(crate) fn gather<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> Self {
        let faults = verdicts.into_iter().flat_map(|verdict| verdict.faults.iter().cloned());
        Self { succeeded: false, faults: faults.collect(), gathered: true }
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.succeeded && self.faults.is_empty()
    }

    pub(crate) fn failed(&self) -> bool {
        !self.succeeded && self.faults.is_empty()
    }

    pub(crate) fn faulted(&self) -> bool {
        !self.faults.is_empty()
    }

    pub(crate) fn interrupted(&self) -> bool {
        self.faults.contains(&Fault::Interrupted)
    }

    pub(crate) fn timed_out(&self) -> bool {
        self.faults.contains(&Fault::TimedOut)
    }

    pub(crate) fn outcome(&self) -> Outcome {
        if self.interrupted() {
            Outcome::Aborted
        } else if self.faulted() {
            Outcome::Errored
        } else if self.succeeded {
            Outcome::Succeeded
        } else {
            Outcome::Failed
        }
    }

    /// The text of the error event of a step that ended so; only for verdicts with faults.
    pub(crate) fn message(&self) -> String {
        if self.interrupted() {
            return INTERRUPTED.to_owned();
        }
        if self.timed_out() {
            return TIMEOUT_EXCEEDED.to_owned();
        }
        let texts: Vec<&str> = self
            .faults
            .iter()
            .map(|fault| match fault {
                Fault::Interrupted => INTERRUPTED,
                Fault::TimedOut => TIMEOUT_EXCEEDED,
                Fault::Broken(text) => text,
            })
            .collect();
        match texts.as_slice() {
            [text] if !self.gathered => (*text).to_owned(),
            [text] => format!("1 error occurred:\n\t* {text}\n\n"),
            texts => {
                let mut message = format!("{} errors occurred:\n", texts.len());
                for text in texts {
                    message.push_str("\t* ");
                    message.push_str(text);
                    message.push('\n');
                }
                message.push('\n');
                message
            }
        }
    }
}
