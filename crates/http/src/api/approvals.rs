//! What builds ask people: what waits, and their answers.

use axum::http::StatusCode;
use axum::response::Response;
use jb_authz::{Approvers, may_answer};
use jb_model::ApprovalId;
use jb_store::{Answered, ApprovalAnswer, ApprovalRecord};
use jb_wire::api;
use jb_wire::api::AnswerRequest;

use super::pages;
use crate::call::{Call, store_failure};
use crate::reply::{Failure, NOT_FOUND, Result, ok};

/// Most questions of one list.
const LIST_MAX: u32 = 1_000;
/// The longest comment, in bytes.
const COMMENT_BYTES_MAX: usize = 4_096;

/// What waits for people, oldest first.
pub(super) async fn waiting(call: Call) -> Result<Response> {
    let visible = pages::visible(&call).await?;
    let found = call.store().waiting_approvals(&visible, LIST_MAX).await.map_err(store_failure)?;
    Ok(ok(&present_all(&call, found)))
}

/// Everything that a build asked.
pub(super) async fn of_build(call: Call) -> Result<Response> {
    let build = call.build()?.id;
    let found = call.store().approvals_of_build(build).await.map_err(store_failure)?;
    Ok(ok(&present_all(&call, found)))
}

/// Someone says yes or no.
pub(super) async fn answer(mut call: Call, approves: bool) -> Result<Response> {
    let build = call.build()?.id;
    let id = call.param("approval_id").parse().map(ApprovalId).map_err(|_| NOT_FOUND)?;
    let approval = call.store().approval(id).await.map_err(store_failure)?;
    let approval = approval.filter(|approval| approval.build == build).ok_or_else(|| {
        problem(StatusCode::NOT_FOUND, "no such approval", format!("build {build} asks no {id}"))
    })?;
    if !is_approver(&call, &approval) {
        let detail = format!("approval {id} is answered by {}", approval.approvers);
        return Err(problem(StatusCode::FORBIDDEN, "not an approver", detail));
    }
    let body = call.bytes().await?;
    let request: AnswerRequest = if body.is_empty() {
        AnswerRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            problem(StatusCode::BAD_REQUEST, "no answer", format!("read the body: {error}"))
        })?
    };
    if request.comment.len() > COMMENT_BYTES_MAX {
        let detail = format!("a comment has at most {COMMENT_BYTES_MAX} bytes");
        return Err(problem(StatusCode::BAD_REQUEST, "comment too long", detail));
    }
    let answer = ApprovalAnswer {
        person: call.caller.person(),
        name: call.caller.name().to_owned(),
        approves,
        comment: shown(&request.comment),
        at: call.state.now(),
    };
    let answered = call.store().answer_approval(id, &answer).await.map_err(store_failure)?;
    match answered {
        Answered::Counted(approval) => Ok(ok(&present(&call, *approval))),
        Answered::Contradicts(_) => {
            let detail = format!("you have answered approval {id} otherwise before");
            Err(problem(StatusCode::CONFLICT, "answered before", detail))
        }
        Answered::Over(approval) => {
            let status = match approval.status {
                jb_model::approval::ApprovalStatus::Waiting => "expired",
                status => status.as_str(),
            };
            let detail = format!("approval {id} waits no more: it is {status}");
            Err(problem(StatusCode::CONFLICT, "waits no more", detail))
        }
    }
}

fn problem(status: StatusCode, title: &'static str, detail: String) -> Failure {
    Failure::Problem(status, title, detail)
}

/// A comment on one line and without what a terminal would obey.
fn shown(comment: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    comment.trim().chars().map(printable).collect()
}

fn is_approver(call: &Call, approval: &ApprovalRecord) -> bool {
    let approvers = Approvers {
        roles: &approval.approvers.roles,
        users: &approval.approvers.users,
        groups: &approval.approvers.groups,
    };
    let identity = call.caller.identity();
    may_answer(approvers, &identity, &call.caller.actor, &approval.team_name)
}

fn present_all(call: &Call, found: Vec<ApprovalRecord>) -> Vec<api::Approval> {
    found.into_iter().map(|approval| present(call, approval)).collect()
}

fn present(call: &Call, approval: ApprovalRecord) -> api::Approval {
    let may_answer = is_approver(call, &approval);
    let artifact =
        |it: jb_store::ApprovalArtifact| api::ApprovalArtifact { id: it.id.0, name: it.name };
    let answer = |it: ApprovalAnswer| api::ApprovalAnswer {
        name: it.name,
        approves: it.approves,
        comment: it.comment,
        answered_at: it.at.unix_seconds(),
    };
    let (pipeline_id, pipeline_name, pipeline_instance_vars) = match approval.pipeline {
        Some(it) => (Some(it.id.0), Some(it.name), it.instance_vars),
        None => (None, None, Default::default()),
    };
    api::Approval {
        id: approval.id.0,
        name: approval.name,
        message: approval.message,
        status: approval.status.as_str(),
        quorum: approval.quorum,
        roles: approval.approvers.roles,
        users: approval.approvers.users,
        groups: approval.approvers.groups,
        artifacts: approval.artifacts.into_iter().map(artifact).collect(),
        answers: approval.answers.into_iter().map(answer).collect(),
        may_answer,
        build_id: approval.build.0,
        build_name: approval.build_name,
        plan_id: approval.plan.0,
        call_id: approval.call,
        team_name: approval.team_name,
        pipeline_id,
        pipeline_name,
        pipeline_instance_vars,
        job_name: approval.job_name,
        asked_by: approval.asked_by,
        asked_at: approval.asked_at.unix_seconds(),
        expires_at: approval.expires_at.map(|at| at.unix_seconds()),
        ended_at: approval.ended_at.map(|at| at.unix_seconds()),
    }
}
