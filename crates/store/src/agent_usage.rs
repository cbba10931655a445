//! What agents used of models. Rows stay when their build or job is gone: the team has spent it.

use jb_model::{BuildId, JobId, PlanId, TeamId, Timestamp};

use crate::pipelines::{PipelineRef, opt_pipeline_ref, pipeline_ref_columns};
use crate::sql::{Row, Tx, args};
use crate::{Result, Store};

/// Tokens and their price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentUsage {
    /// Answers of the model.
    pub turns: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    /// Millionths of a US dollar.
    pub cost_micros: u64,
}

/// What a step used since the last time it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentUse<'a> {
    pub plan: &'a PlanId,
    /// The step's name.
    pub name: &'a str,
    pub model: String,
    pub usage: AgentUsage,
    pub at: Timestamp,
}

/// What one step used of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUsage {
    pub plan: PlanId,
    pub name: String,
    pub model: String,
    pub usage: AgentUsage,
}

/// What one build used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildUsage {
    pub build: BuildId,
    /// None when the build is gone.
    pub name: Option<String>,
    pub usage: AgentUsage,
}

/// What the builds of one job used; those without a job, or whose job is gone, are together.
#[derive(Clone, Debug, PartialEq)]
pub struct JobUsage {
    pub pipeline: Option<PipelineRef>,
    pub job_name: Option<String>,
    pub usage: AgentUsage,
}

/// From when, and until before when, steps began to use models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Period {
    fn bounds(self) -> (i64, i64) {
        (self.since.map_or(i64::MIN, |at| at.0), self.until.map_or(i64::MAX, |at| at.0))
    }
}

macro_rules! sums {
    () => {
        "CAST(coalesce(sum(u.turns), 0) AS BIGINT) AS turns,
         CAST(coalesce(sum(u.input_tokens), 0) AS BIGINT) AS input_tokens,
         CAST(coalesce(sum(u.output_tokens), 0) AS BIGINT) AS output_tokens,
         CAST(coalesce(sum(u.cache_read_tokens), 0) AS BIGINT) AS cache_read_tokens,
         CAST(coalesce(sum(u.cache_write_tokens), 0) AS BIGINT) AS cache_write_tokens,
         CAST(coalesce(sum(u.cost_micros), 0) AS BIGINT) AS cost_micros "
    };
}

impl Store {
    /// What each step of a build used, in the order they began.
    pub async fn build_agent_usage(&self, build: BuildId) -> Result<Vec<StepUsage>> {
        let rows = self
            .rows(
                "SELECT plan_id, name, model, turns, input_tokens, output_tokens, cache_read_tokens,
                 cache_write_tokens, cost_micros
                 FROM agent_usage WHERE build_id = $1 ORDER BY began_at, plan_id, model",
                args![build],
            )
            .await?;
        let step = |row: &Row| {
            Ok(StepUsage {
                plan: PlanId(row.req_text("plan_id")?),
                name: row.req_text("name")?,
                model: row.req_text("model")?,
                usage: usage(row)?,
            })
        };
        rows.iter().map(step).collect()
    }

    /// What a job's builds used, all together and the newest ones each.
    pub async fn job_agent_usage(
        &self,
        job: JobId,
        period: Period,
        limit: u32,
    ) -> Result<(AgentUsage, Vec<BuildUsage>)> {
        let (since, until) = period.bounds();
        let total = concat!(
            "SELECT ",
            sums!(),
            "FROM agent_usage u WHERE u.job_id = $1 AND u.began_at >= $2 AND u.began_at < $3"
        );
        let total = self.rows(total, args![job, since, until]).await?;
        let each = concat!(
            "SELECT u.build_id, b.name AS build_name, ",
            sums!(),
            "FROM agent_usage u LEFT JOIN builds b ON b.id = u.build_id
             WHERE u.job_id = $1 AND u.began_at >= $2 AND u.began_at < $3
             GROUP BY u.build_id, b.name ORDER BY u.build_id DESC LIMIT $4"
        );
        let rows = self.rows(each, args![job, since, until, limit]).await?;
        let build = |row: &Row| {
            Ok(BuildUsage {
                build: BuildId(row.req_int("build_id")?),
                name: row.opt_text("build_name")?,
                usage: usage(row)?,
            })
        };
        Ok((sum(&total)?, rows.iter().map(build).collect::<Result<_>>()?))
    }

    /// What a team's builds used, all together and by job, the dearest first.
    pub async fn team_agent_usage(
        &self,
        team: TeamId,
        period: Period,
        limit: u32,
    ) -> Result<(AgentUsage, Vec<JobUsage>)> {
        let (since, until) = period.bounds();
        let total = concat!(
            "SELECT ",
            sums!(),
            "FROM agent_usage u WHERE u.team_id = $1 AND u.began_at >= $2 AND u.began_at < $3"
        );
        let total = self.rows(total, args![team, since, until]).await?;
        let each = concat!(
            "SELECT t.name AS team_name, j.name AS job_name, ",
            pipeline_ref_columns!(),
            ", ",
            sums!(),
            "FROM agent_usage u JOIN teams t ON t.id = u.team_id
             LEFT JOIN jobs j ON j.id = u.job_id LEFT JOIN pipelines p ON p.id = j.pipeline_id
             WHERE u.team_id = $1 AND u.began_at >= $2 AND u.began_at < $3
             GROUP BY t.id, j.id, p.id ORDER BY sum(u.cost_micros) DESC, j.id LIMIT $4"
        );
        let rows = self.rows(each, args![team, since, until, limit]).await?;
        let job = |row: &Row| {
            Ok(JobUsage {
                pipeline: opt_pipeline_ref(row)?,
                job_name: row.opt_text("job_name")?,
                usage: usage(row)?,
            })
        };
        Ok((sum(&total)?, rows.iter().map(job).collect::<Result<_>>()?))
    }
}

/// Adds what a step used to what it had used before.
pub(crate) async fn add(tx: &mut Tx, build: BuildId, used: &AgentUse<'_>) -> Result<()> {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let AgentUsage { turns, input_tokens, output_tokens, .. } = used.usage;
    let AgentUsage { cache_read_tokens, cache_write_tokens, cost_micros, .. } = used.usage;
    tx.execute(
        "INSERT INTO agent_usage (build_id, plan_id, model, team_id, job_id, name, began_at, turns,
         input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_micros)
         SELECT b.id, $2, $3, b.team_id, b.job_id, $4, $5, $6, $7, $8, $9, $10, $11
         FROM builds b WHERE b.id = $1
         ON CONFLICT (build_id, plan_id, model) DO UPDATE SET
         turns = agent_usage.turns + excluded.turns,
         input_tokens = agent_usage.input_tokens + excluded.input_tokens,
         output_tokens = agent_usage.output_tokens + excluded.output_tokens,
         cache_read_tokens = agent_usage.cache_read_tokens + excluded.cache_read_tokens,
         cache_write_tokens = agent_usage.cache_write_tokens + excluded.cache_write_tokens,
         cost_micros = agent_usage.cost_micros + excluded.cost_micros",
        args![
            build,
            used.plan.as_str(),
            used.model.as_str(),
            used.name,
            used.at,
            count(turns),
            count(input_tokens),
            count(output_tokens),
            count(cache_read_tokens),
            count(cache_write_tokens),
            count(cost_micros)
        ],
    )
    .await
    .map(drop)
}

/// A sum is one row, also of nothing.
fn sum(rows: &[Row]) -> Result<AgentUsage> {
    rows.first().map_or_else(|| Ok(AgentUsage::default()), usage)
}

fn usage(row: &Row) -> Result<AgentUsage> {
    Ok(AgentUsage {
        turns: row.req_u64("turns")?,
        input_tokens: row.req_u64("input_tokens")?,
        output_tokens: row.req_u64("output_tokens")?,
        cache_read_tokens: row.req_u64("cache_read_tokens")?,
        cache_write_tokens: row.req_u64("cache_write_tokens")?,
        cost_micros: row.req_u64("cost_micros")?,
    })
}
