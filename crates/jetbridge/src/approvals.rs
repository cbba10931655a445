//! `jetbridge approvals`, `approve` and `deny`: what builds ask people, at a terminal.

use std::process::ExitCode;

use anyhow::bail;
use jb_http::{Clock as _, System};
use serde_json::{Value, json};

use crate::cli::{AnswerOptions, ApprovalsOptions};
use crate::client::Client;

pub(crate) async fn list(options: ApprovalsOptions) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&options.server).await?;
    let approvals = client.get("/approvals").await?;
    if options.json {
        println!("{approvals:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let now = System.now().unix_seconds();
    for approval in approvals.as_array().into_iter().flatten() {
        print!("{}", describe(approval, now));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn answer(options: AnswerOptions, approves: bool) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&options.server).await?;
    let id = options.approval;
    let waiting = client.get("/approvals").await?;
    let mut waiting = waiting.as_array().into_iter().flatten();
    let Some(approval) = waiting.find(|approval| approval["id"] == id) else {
        bail!("no approval {id} waits: `jetbridge approvals` lists those that do");
    };
    let word = if approves { "approve" } else { "deny" };
    let path = format!("/builds/{}/approvals/{id}/{word}", approval["build_id"]);
    let approval = client.put(&path, &json!({"comment": options.message})).await?;
    println!("{}", standing(&approval));
    Ok(ExitCode::SUCCESS)
}

/// One question in a few lines.
fn describe(approval: &Value, now: i64) -> String {
    let text = |key: &str| approval[key].as_str().unwrap_or_default();
    let mut told = format!("{}  {}  {}", approval["id"], text("name"), place(approval));
    told.push_str(&format!("  {}", standing(approval)));
    if let Some(end) = approval["expires_at"].as_i64() {
        told.push_str(&format!(", {} left", span((end - now).max(0))));
    }
    if approval["may_answer"] == false {
        told.push_str(", not for you");
    }
    told.push('\n');
    for line in text("message").lines() {
        told.push_str(&format!("    {line}\n"));
    }
    let artifacts = approval["artifacts"].as_array().into_iter().flatten();
    for artifact in artifacts {
        let name = artifact["name"].as_str().unwrap_or_default();
        let path = format!("/api/v1/teams/{}/artifacts/{}", text("team_name"), artifact["id"]);
        told.push_str(&format!("    look at {name}: {path}\n"));
    }
    told
}

/// The build that asks, as people know it.
fn place(approval: &Value) -> String {
    let text = |key: &str| approval[key].as_str();
    match (text("pipeline_name"), text("job_name")) {
        (Some(pipeline), Some(job)) => {
            format!("{pipeline}/{job} #{}", text("build_name").unwrap_or_default())
        }
        _ => format!("build {}", approval["build_id"]),
    }
}

fn standing(approval: &Value) -> String {
    let answers = approval["answers"].as_array().map_or(0, Vec::len);
    let status = approval["status"].as_str().unwrap_or_default();
    format!("{status}: {answers} of {} answered", approval["quorum"])
}

/// Seconds in the two largest units that are not zero.
fn span(seconds: i64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut left = seconds;
    let mut told = Vec::new();
    for (unit, size) in units {
        if left >= size {
            told.push(format!("{}{unit}", left / size));
            left %= size;
        }
    }
    told.truncate(2);
    if told.is_empty() { "0s".to_owned() } else { told.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_told_in_few_lines() {
        let approval = json!({
            "id": 7, "name": "release", "status": "waiting", "quorum": 2, "answers": [{}],
            "build_id": 3, "build_name": "1", "team_name": "main", "pipeline_name": "p",
            "job_name": "j", "message": "Ship it?\nNow?", "may_answer": false,
            "artifacts": [{"id": 4, "name": "changed"}], "expires_at": 90_061,
        });
        let expected = "7  release  p/j #1  waiting: 1 of 2 answered, 1d1h left, not for you\n    \
                        Ship it?\n    Now?\n    look at changed: /api/v1/teams/main/artifacts/4\n";
        assert_eq!(describe(&approval, 0), expected);
        assert_eq!((span(0), span(59), span(3_600)), ("0s".into(), "59s".into(), "1h".into()));
    }
}
