//! What builds ask people, and what these answered. Nothing here is changed or deleted while its build is there.

use jb_model::approval::{ApprovalStatus, Approvers, decide};
use jb_model::{ApprovalId, ArtifactId, BuildId, PlanId, TeamId, Timestamp, Value};
use serde_json::json;

use crate::dialect::Lock;
use crate::page::visible_args;
use crate::pipelines::{PipelineRef, opt_pipeline_ref, pipeline_ref_columns};
use crate::sql::{Row, Tx, args};
use crate::store::transact;
use crate::{Change, Error, Result, Store, Visible};

/// A question to ask.
#[derive(Clone, Debug)]
pub struct NewApproval<'a> {
    pub build: BuildId,
    /// The step that asks.
    pub plan: &'a PlanId,
    /// What its agent calls the call of a tool that it asks about; empty for what the step itself asks. About each it asks
    /// once.
    pub call: &'a str,
    pub name: &'a str,
    pub message: &'a str,
    pub artifacts: &'a [ApprovalArtifact],
    pub approvers: &'a Approvers,
    pub quorum: u32,
    pub asked_by: Option<&'a str>,
    pub expires_at: Option<Timestamp>,
}

/// Something to look at before answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalArtifact {
    pub id: ArtifactId,
    pub name: String,
}

/// A question, with the names around it and the answers so far.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovalRecord {
    pub id: ApprovalId,
    pub build: BuildId,
    pub build_name: String,
    pub team_id: TeamId,
    pub team_name: String,
    pub pipeline: Option<PipelineRef>,
    pub job_name: Option<String>,
    pub plan: PlanId,
    /// Which call of a tool it is about; empty when it is about none.
    pub call: String,
    pub name: String,
    pub message: String,
    pub artifacts: Vec<ApprovalArtifact>,
    pub approvers: Approvers,
    /// How many have to approve; at least 1.
    pub quorum: u32,
    pub status: ApprovalStatus,
    /// Who had the build made; none for the server itself.
    pub asked_by: Option<String>,
    pub asked_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// In the order they came.
    pub answers: Vec<ApprovalAnswer>,
}

/// What one person said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalAnswer {
    /// `connector:id`, which tells people apart.
    pub person: String,
    /// As people call them.
    pub name: String,
    pub approves: bool,
    pub comment: String,
    pub at: Timestamp,
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// It counts, or it had been given before just so.
    Counted(Box<ApprovalRecord>),
    /// This person has said the contrary before.
    Contradicts(Box<ApprovalRecord>),
    /// It was decided, its time was up or its build is over.
    Over(Box<ApprovalRecord>),
}

macro_rules! select_approvals {
    ($rest:literal) => {
        concat!(
            "SELECT a.id, a.build_id, b.name AS build_name, b.team_id, t.name AS team_name, ",
            pipeline_ref_columns!(),
            ", j.name AS job_name, a.plan_id, a.call_id, a.name, a.message, a.artifacts, a.approvers,
             a.quorum, a.status, a.asked_by, a.asked_at, a.expires_at, a.ended_at
             FROM approvals a JOIN builds b ON b.id = a.build_id JOIN teams t ON t.id = b.team_id
             LEFT JOIN pipelines p ON p.id = b.pipeline_id LEFT JOIN jobs j ON j.id = b.job_id ",
            $rest
        )
    };
}

const BY_ID: &str = select_approvals!("WHERE a.id = $1");
const ANSWERS: &str = "SELECT approval_id, person, name, approves, comment, answered_at
    FROM approval_answers WHERE approval_id IN (SELECT value FROM json_each($1))
    ORDER BY approval_id, answered_at, person";

impl Store {
    /// Asks, or gives the question of that step and call as it stands.
    pub async fn ask_approval(
        &self,
        new: NewApproval<'_>,
        now: Timestamp,
    ) -> Result<ApprovalRecord> {
        let artifacts = new.artifacts.iter().map(|it| json!({"id": it.id.0, "name": it.name}));
        let artifacts = Value::Array(artifacts.collect()).to_string();
        let Approvers { roles, users, groups } = new.approvers;
        let approvers = json!({"roles": roles, "users": users, "groups": groups}).to_string();
        transact!(self, async |tx| {
            tx.execute(
                "INSERT INTO approvals (build_id, plan_id, call_id, name, message, artifacts, approvers,
                 quorum, status, asked_by, asked_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', $9, $10, $11)
                 ON CONFLICT (build_id, plan_id, call_id) DO NOTHING",
                args![
                    new.build,
                    new.plan.as_str(),
                    new.call,
                    new.name,
                    new.message,
                    artifacts.as_str(),
                    approvers.as_str(),
                    new.quorum.max(1),
                    new.asked_by,
                    now,
                    new.expires_at
                ],
            )
            .await?;
            let sql =
                select_approvals!("WHERE a.build_id = $1 AND a.plan_id = $2 AND a.call_id = $3");
            let row = tx.one(sql, args![new.build, new.plan.as_str(), new.call]).await?;
            with_answers(tx, &row).await
        })
    }

    /// Takes someone's answer, and decides when it is the last one needed.
    pub async fn answer_approval(
        &self,
        approval: ApprovalId,
        answer: &ApprovalAnswer,
    ) -> Result<Answered> {
        transact!(self, async |tx| {
            tx.lock(Lock::Approval(approval.0)).await?;
            let record = load(tx, approval).await?;
            let said = record.answers.iter().find(|known| known.person == answer.person);
            if let Some(said) = said {
                let same = said.approves == answer.approves;
                let record = Box::new(record);
                return Ok(if same {
                    Answered::Counted(record)
                } else {
                    Answered::Contradicts(record)
                });
            }
            let late = record.expires_at.is_some_and(|end| end <= answer.at);
            if record.status != ApprovalStatus::Waiting || late {
                return Ok(Answered::Over(Box::new(record)));
            }
            tx.execute(
                "INSERT INTO approval_answers
                 (approval_id, person, name, approves, comment, answered_at)
                 VALUES ($1, $2, $3, $4, $5, $6)",
                args![
                    approval,
                    answer.person.as_str(),
                    answer.name.as_str(),
                    answer.approves,
                    answer.comment.as_str(),
                    answer.at
                ],
            )
            .await?;
            let answers = record.answers.iter().map(|known| known.approves);
            let status = decide(record.quorum, answers.chain([answer.approves]));
            if status != ApprovalStatus::Waiting {
                end(tx, approval, status, answer.at).await?;
            }
            tx.changed(Change::Build(record.build));
            load(tx, approval).await.map(Box::new).map(Answered::Counted)
        })
    }

    /// Ends a question that still waits, as expired or withdrawn; gives it as it then stands.
    pub async fn end_approval(
        &self,
        approval: ApprovalId,
        status: ApprovalStatus,
        now: Timestamp,
    ) -> Result<ApprovalRecord> {
        transact!(self, async |tx| {
            tx.lock(Lock::Approval(approval.0)).await?;
            end(tx, approval, status, now).await?;
            load(tx, approval).await
        })
    }

    pub async fn approval(&self, approval: ApprovalId) -> Result<Option<ApprovalRecord>> {
        let rows = self.rows(BY_ID, args![approval]).await?;
        Ok(self.with_answers(&rows).await?.pop())
    }

    /// Every question of a build, oldest first.
    pub async fn approvals_of_build(&self, build: BuildId) -> Result<Vec<ApprovalRecord>> {
        let sql = select_approvals!("WHERE a.build_id = $1 ORDER BY a.id");
        let rows = self.rows(sql, args![build]).await?;
        self.with_answers(&rows).await
    }

    /// Questions that wait for people, oldest first. Those of other teams are left out even of public pipelines: only
    /// members answer them.
    pub async fn waiting_approvals(
        &self,
        visible: &Visible,
        limit: u32,
    ) -> Result<Vec<ApprovalRecord>> {
        let sql = select_approvals!(
            "WHERE a.status = 'waiting'
             AND ($1 = 1 OR b.team_id IN (SELECT value FROM json_each($2)))
             ORDER BY a.id LIMIT $3"
        );
        let (all, teams) = visible_args(visible);
        let rows = self.rows(sql, args![all, teams, limit]).await?;
        self.with_answers(&rows).await
    }

    async fn with_answers(&self, rows: &[Row]) -> Result<Vec<ApprovalRecord>> {
        let mut records = rows.iter().map(record).collect::<Result<Vec<_>>>()?;
        let ids = crate::sql::id_list(records.iter().map(|record| record.id.0));
        for row in &self.rows(ANSWERS, args![ids]).await? {
            let id = ApprovalId(row.req_int("approval_id")?);
            let of = records.iter_mut().find(|record| record.id == id);
            if let Some(record) = of {
                record.answers.push(answer(row)?);
            }
        }
        Ok(records)
    }
}

/// Withdraws what an ended build still asks.
pub(crate) async fn withdraw(tx: &mut Tx, build: BuildId, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE approvals SET status = 'withdrawn', ended_at = $2
         WHERE build_id = $1 AND status = 'waiting'",
        args![build, now],
    )
    .await
    .map(drop)
}

async fn end(
    tx: &mut Tx,
    approval: ApprovalId,
    status: ApprovalStatus,
    now: Timestamp,
) -> Result<()> {
    tx.execute(
        "UPDATE approvals SET status = $2, ended_at = $3 WHERE id = $1 AND status = 'waiting'",
        args![approval, status.as_str(), now],
    )
    .await
    .map(drop)
}

async fn load(tx: &mut Tx, approval: ApprovalId) -> Result<ApprovalRecord> {
    let row = tx.row(BY_ID, args![approval]).await?;
    let row = row.ok_or_else(|| Error::not_found("approval", approval))?;
    with_answers(tx, &row).await
}

async fn with_answers(tx: &mut Tx, row: &Row) -> Result<ApprovalRecord> {
    let mut record = record(row)?;
    let ids = crate::sql::id_list([record.id.0]);
    let answers = tx.rows(ANSWERS, args![ids]).await?;
    record.answers = answers.iter().map(answer).collect::<Result<_>>()?;
    Ok(record)
}

fn record(row: &Row) -> Result<ApprovalRecord> {
    let status = row.req_str("status")?;
    let status = ApprovalStatus::named(status).ok_or_else(|| Error::Stored {
        what: "approvals.status",
        reason: format!("unknown status {status}"),
    })?;
    let approvers = row.req_json("approvers")?;
    Ok(ApprovalRecord {
        id: ApprovalId(row.req_int("id")?),
        build: BuildId(row.req_int("build_id")?),
        build_name: row.req_text("build_name")?,
        team_id: TeamId(row.req_int("team_id")?),
        team_name: row.req_text("team_name")?,
        pipeline: opt_pipeline_ref(row)?,
        job_name: row.opt_text("job_name")?,
        plan: PlanId(row.req_text("plan_id")?),
        call: row.req_text("call_id")?,
        name: row.req_text("name")?,
        message: row.req_text("message")?,
        artifacts: artifacts(&row.req_json("artifacts")?),
        approvers: Approvers {
            roles: texts(&approvers["roles"]),
            users: texts(&approvers["users"]),
            groups: texts(&approvers["groups"]),
        },
        quorum: row.req_u32("quorum")?,
        status,
        asked_by: row.opt_text("asked_by")?,
        asked_at: row.req_time("asked_at")?,
        expires_at: row.opt_time("expires_at")?,
        ended_at: row.opt_time("ended_at")?,
        answers: Vec::new(),
    })
}

fn answer(row: &Row) -> Result<ApprovalAnswer> {
    Ok(ApprovalAnswer {
        person: row.req_text("person")?,
        name: row.req_text("name")?,
        approves: row.req_bool("approves")?,
        comment: row.req_text("comment")?,
        at: row.req_time("answered_at")?,
    })
}

fn artifacts(list: &Value) -> Vec<ApprovalArtifact> {
    let items = list.as_array().into_iter().flatten();
    let artifact = |item: &Value| {
        let (id, name) = (ArtifactId(item["id"].as_i64()?), item["name"].as_str()?.to_owned());
        Some(ApprovalArtifact { id, name })
    };
    items.filter_map(artifact).collect()
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
