//! How a step ends when its agent has. Pure.

use jb_agent_protocol::transcript::Ending;
use jb_model::agent::{AgentConfig, Judgement};
use jb_model::{Outcome, Value};

use crate::leaf::Trouble;
use crate::process::Exit;

/// How the step ended, and what is to be said about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) outcome: Outcome,
    pub(super) say: Option<String>,
}

/// Judges by the harness's last word, its process's end, and the verdict that was asked for.
///
/// What is no fault of the agent's is trouble. An agent that ends without what it was asked for is inconclusive.
pub(super) fn judge(
    agent: &AgentConfig,
    exit: &Exit,
    end: Option<&Value>,
) -> Result<Judged, Trouble> {
    let Some(end) = end else { return Err(Trouble::new(no_last_word(exit))) };
    let ending = serde_json::from_value::<Ending>(end["ending"].clone());
    let ending = ending.map_err(|error| Trouble::new(format!("the agent's end: {error}")))?;
    let message = end["message"].as_str().unwrap_or_default();
    match ending {
        Ending::ModelFailed | Ending::EgressNotEnforced | Ending::Failed => {
            Err(Trouble::new(message))
        }
        Ending::BudgetSpent => Ok(Judged { outcome: Outcome::Failed, say: None }),
        Ending::NoResult | Ending::Refused => Ok(verdict(agent, None)),
        Ending::Completed => Ok(verdict(agent, Some(&end["result"]))),
    }
}

fn verdict(agent: &AgentConfig, result: Option<&Value>) -> Judged {
    let Some(verdict) = &agent.verdict else {
        let outcome = if result.is_some() { Outcome::Succeeded } else { Outcome::Failed };
        return Judged { outcome, say: None };
    };
    let said = result.and_then(|result| result.get(&verdict.from));
    let said = said.map_or_else(
        || "none".to_owned(),
        |said| match said {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
    );
    let (outcome, means) = match verdict.judge(result) {
        Judgement::Pass => (Outcome::Succeeded, "passes"),
        Judgement::Fail => (Outcome::Failed, "fails"),
        Judgement::Inconclusive if verdict.inconclusive_passes => {
            (Outcome::Succeeded, "is inconclusive, which passes here")
        }
        Judgement::Inconclusive => (Outcome::Failed, "is inconclusive"),
    };
    Judged { outcome, say: Some(format!("verdict: {said} {means}")) }
}

/// Of a harness that was killed, or never came to an end of its own.
fn no_last_word(exit: &Exit) -> String {
    let said = String::from_utf8_lossy(&exit.result).trim().to_owned();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    if exit.oom {
        return format!("the agent was ended because it reached its memory limit{said}");
    }
    format!("the agent ended with status {} and no last word{said}", exit.status)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use jb_model::agent::Verdict;
    use serde_json::json;

    use super::*;

    fn exit() -> Exit {
        Exit { status: 0, oom: false, result: Vec::new(), cancelled: false }
    }

    fn end(ending: &str, result: Value) -> Value {
        json!({"ending": ending, "message": "why", "result": result})
    }

    fn with_verdict(inconclusive_passes: bool) -> AgentConfig {
        let verdict = Verdict {
            from: "verdict".into(),
            pass: vec!["approve".into()],
            fail: vec!["reject".into()],
            inconclusive_passes,
        };
        AgentConfig { verdict: Some(verdict), ..AgentConfig::default() }
    }

    #[test]
    fn only_a_verdict_that_passes_passes() {
        let judged = |agent: &AgentConfig, end: Value| {
            let judged = judge(agent, &exit(), Some(&end)).unwrap();
            (judged.outcome, judged.say.unwrap_or_default())
        };
        let (strict, lenient) = (with_verdict(false), with_verdict(true));
        let said = |verdict: &str| end("completed", json!({"verdict": verdict}));
        let (succeeded, failed) = (Outcome::Succeeded, Outcome::Failed);
        assert_eq!(judged(&strict, said("approve")), (succeeded, "verdict: approve passes".into()));
        assert_eq!(judged(&strict, said("reject")), (failed, "verdict: reject fails".into()));
        assert_eq!(judged(&lenient, said("reject")), (failed, "verdict: reject fails".into()));
        assert_eq!(
            judged(&strict, said("maybe")),
            (failed, "verdict: maybe is inconclusive".into())
        );
        for nothing in [
            end("completed", json!({})),
            end("no_result", Value::Null),
            end("refused", Value::Null),
        ] {
            assert_eq!(judged(&strict, nothing.clone()).0, failed, "{nothing}");
            assert_eq!(judged(&lenient, nothing.clone()).0, succeeded, "{nothing}");
        }
        // A budget is no opinion.
        assert_eq!(judged(&lenient, end("budget_spent", Value::Null)).0, failed);
    }

    #[test]
    fn without_a_verdict_the_end_counts() {
        let agent = AgentConfig::default();
        let outcome =
            |text: &str| judge(&agent, &exit(), Some(&end(text, Value::Null))).unwrap().outcome;
        assert_eq!(outcome("completed"), Outcome::Succeeded);
        for text in ["no_result", "refused", "budget_spent"] {
            assert_eq!(outcome(text), Outcome::Failed, "{text}");
        }
    }

    #[test]
    fn what_is_no_fault_of_the_agents_is_trouble() {
        let agent = with_verdict(true);
        for text in ["model_failed", "egress_not_enforced", "failed"] {
            let trouble = judge(&agent, &exit(), Some(&end(text, Value::Null))).unwrap_err();
            assert_eq!(trouble.text, "why");
        }
        assert!(judge(&agent, &exit(), Some(&end("surprise", Value::Null))).is_err());
        let killed = Exit { status: 137, result: b"jb-agent: x\n".to_vec(), ..exit() };
        let trouble = judge(&agent, &killed, None).unwrap_err();
        assert_eq!(trouble.text, "the agent ended with status 137 and no last word: jb-agent: x");
        let trouble = judge(&agent, &Exit { oom: true, ..exit() }, None).unwrap_err();
        assert!(trouble.text.contains("memory limit"));
    }
}
