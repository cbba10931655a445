//! Answers to what a run asks: given beforehand, recorded, or typed at the terminal.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use jb_engine::Engine;
use jb_model::BuildId;
use jb_model::approval::ApprovalStatus;
use jb_store::{ApprovalAnswer, ApprovalRecord};
use tokio::task::JoinHandle;

use crate::cli::RunOptions;

/// Whether each question of a step was approved, in the order they were asked.
pub(super) type Said = BTreeMap<String, Vec<bool>>;

/// Who answers: the one person there is.
const WHO: &str = "the terminal";

pub(super) struct Answers {
    /// By the step's name; for each of its questions.
    given: BTreeMap<String, bool>,
    recorded: Option<Said>,
    typing: Option<JoinHandle<std::io::Result<String>>>,
    /// What was typed, until it is given.
    line: Option<std::io::Result<String>>,
    pub(super) said: Said,
}

impl Answers {
    pub(super) fn new(options: &RunOptions) -> anyhow::Result<Self> {
        let mut given = BTreeMap::new();
        for answer in &options.answer {
            let approves = match answer.split_once('=') {
                Some((name, "approve")) => (name, true),
                Some((name, "deny")) => (name, false),
                _ => bail!("--answer `{answer}` is not written as STEP=approve or STEP=deny"),
            };
            given.insert(approves.0.to_owned(), approves.1);
        }
        let recorded = options.replay.as_deref().map(super::recording::answers).transpose()?;
        Ok(Self { given, recorded, typing: None, line: None, said: Said::new() })
    }

    /// Answers what the build asks as far as the answers are known, and asks for the others.
    pub(super) async fn give(&mut self, engine: &Engine, build: BuildId) -> anyhow::Result<()> {
        for approval in engine.store.approvals_of_build(build).await? {
            if approval.status != ApprovalStatus::Waiting {
                continue;
            }
            let Some(approves) = self.answer(&approval)? else { return Ok(()) };
            self.said.entry(approval.name.clone()).or_default().push(approves);
            answer(engine, &approval, approves).await?;
        }
        Ok(())
    }

    /// The answer to a step's question; none while it is being typed.
    fn answer(&mut self, approval: &ApprovalRecord) -> anyhow::Result<Option<bool>> {
        let step = approval.name.as_str();
        if let Some(approves) = self.given.get(step) {
            return Ok(Some(*approves));
        }
        if let Some(recorded) = &self.recorded {
            let so_far = self.said.get(step).map_or(0, Vec::len);
            let answer = recorded.get(step).and_then(|answers| answers.get(so_far));
            let answer = answer.with_context(|| {
                format!("the step `{step}` asks what the recording has no answer to")
            })?;
            return Ok(Some(*answer));
        }
        if let Some(line) = self.line.take() {
            return Ok(Some(line.context("read the answer")?.trim().starts_with(['y', 'Y'])));
        }
        if self.typing.is_none() {
            if !std::io::stdin().is_terminal() {
                bail!(
                    "the step `{step}` asks for approval: answer it with --answer {step}=approve"
                );
            }
            // A step may ask about several calls, and what the log shows of them is further up.
            if approval.call.is_empty() {
                print!("approve `{step}`? [y/N] ");
            } else {
                print!("{}\napprove this call of `{step}`? [y/N] ", approval.message);
            }
            std::io::stdout().flush()?;
            self.typing = Some(tokio::task::spawn_blocking(|| {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line).map(|_| line)
            }));
        }
        Ok(None)
    }

    /// Returns once something was typed; never while nothing is asked.
    pub(super) async fn typed(&mut self) {
        let Some(typing) = &mut self.typing else { return std::future::pending().await };
        let line = typing.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        self.typing = None;
        self.line = Some(line);
    }
}

/// One person stands for all that a quorum asks for.
async fn answer(engine: &Engine, approval: &ApprovalRecord, approves: bool) -> anyhow::Result<()> {
    for number in 0..approval.quorum {
        let answer = ApprovalAnswer {
            person: format!("terminal:{number}"),
            name: WHO.to_owned(),
            approves,
            comment: String::new(),
            at: engine.now(),
        };
        engine.store.answer_approval(approval.id, &answer).await?;
        if !approves {
            break;
        }
    }
    Ok(())
}
