//! Saving a configuration: the pipeline's row, then the rows of everything in it.

use std::collections::BTreeMap;

use jb_model::{JobId, PipelineId, ResourceId, Timestamp, Value};

use super::shape::{JobShape, ResourceShape, Shape, shape};
use super::{SaveOutcome, SavePipeline, instance_digest, instance_text};
use crate::dialect::Lock;
use crate::jobs::request_all_jobs;
use crate::sql::{Row, Tx, args};
use crate::store::transact;
use crate::{Change, Error, ResourceKind, Result, Store};

impl Store {
    /// Saves a configuration and brings the rows of jobs, resources, types and prototypes in line with it:
    /// new ones are added, known ones reactivated, missing ones deactivated, and those with an `old_name`
    /// renamed with their history. Fails with [`crate::Error::ConfigVersion`] when `from_version` does not fit.
    pub async fn save_pipeline(
        &self,
        save: SavePipeline<'_>,
        now: Timestamp,
    ) -> Result<SaveOutcome> {
        let shape = shape(save.config);
        transact!(self, async |tx| {
            tx.lock(Lock::Team(save.team.0)).await?;
            let existing = tx
                .row(
                    "SELECT id, version, last_version, archived, parent_build_id FROM pipelines
                     WHERE team_id = $1 AND name = $2 AND instance_digest = $3",
                    args![save.team, save.name, instance_digest(save.instance_vars)],
                )
                .await?;
            let outcome = match &existing {
                Some(row) => update(tx, &save, &shape, row, now).await?,
                None => insert(tx, &save, &shape, now).await?,
            };
            if let SaveOutcome::Created { pipeline, .. } | SaveOutcome::Updated { pipeline, .. } =
                outcome
            {
                let resources = sync_resources(tx, pipeline, &shape).await?;
                sync_jobs(tx, pipeline, &shape, &resources).await?;
                request_all_jobs(tx, pipeline, now).await?;
                tx.changed(Change::CheckRequested);
            }
            Ok(outcome)
        })
    }
}

async fn insert(
    tx: &mut Tx,
    save: &SavePipeline<'_>,
    shape: &Shape<'_>,
    now: Timestamp,
) -> Result<SaveOutcome> {
    if save.from_version.is_some_and(|version| version != 0) {
        return Err(Error::ConfigVersion);
    }
    let place = tx
        .one(
            "SELECT coalesce(min(CASE WHEN name = $2 THEN position END), max(position) + 1, 1) AS place,
             coalesce(max(CASE WHEN name = $2 THEN instance_position END), 0) + 1 AS instance_place
             FROM pipelines WHERE team_id = $1",
            args![save.team, save.name],
        )
        .await?;
    let paused_at = save.initially_paused.then_some(now);
    let (job, build) = save.set_by.unzip();
    let row = tx
        .one(
            "INSERT INTO pipelines (team_id, name, instance_vars, instance_digest, version, last_version,
             config, groups, display, position, instance_position, paused, paused_at, last_updated,
             parent_job_id, parent_build_id, user_data)
             VALUES ($1, $2, $3, $4, 1, 1, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING id",
            args![
                save.team,
                save.name,
                instance_text(save.instance_vars),
                instance_digest(save.instance_vars),
                tx.sealed("pipelines.config", save.config)?,
                shape.groups.to_string(),
                shape.display.map(Value::to_string),
                place.req_int("place")?,
                place.req_int("instance_place")?,
                save.initially_paused,
                paused_at,
                now,
                job,
                build,
                shape.user_data.map(Value::to_string),
            ],
        )
        .await?;
    Ok(SaveOutcome::Created { pipeline: PipelineId(row.req_int("id")?), version: 1 })
}

async fn update(
    tx: &mut Tx,
    save: &SavePipeline<'_>,
    shape: &Shape<'_>,
    existing: &Row,
    now: Timestamp,
) -> Result<SaveOutcome> {
    let pipeline = PipelineId(existing.req_int("id")?);
    if save
        .from_version
        .is_some_and(|version| Ok(version) != existing.req_int("version").map_err(drop))
    {
        return Err(Error::ConfigVersion);
    }
    let (job, build) = save.set_by.unzip();
    if let (Some(build), Some(last)) = (build, existing.opt_int("parent_build_id")?)
        && last > build.0
    {
        return Ok(SaveOutcome::SetByNewerBuild { pipeline });
    }
    let version = existing.req_int("last_version")? + 1;
    let sealed = tx.sealed("pipelines.config", save.config)?;
    tx.execute(
        "UPDATE pipelines SET version = $2, last_version = $2, config = $3, groups = $4, display = $5,
         last_updated = $6, parent_job_id = $7, parent_build_id = $8, user_data = $9 WHERE id = $1",
        args![
            pipeline,
            version,
            sealed,
            shape.groups.to_string(),
            shape.display.map(Value::to_string),
            now,
            job,
            build,
            shape.user_data.map(Value::to_string),
        ],
    )
    .await?;
    if existing.req_bool("archived")? {
        tx.execute(
            "UPDATE pipelines SET archived = 0, paused = $2, paused_by = NULL, paused_at = $3
             WHERE id = $1",
            args![pipeline, save.initially_paused, save.initially_paused.then_some(now)],
        )
        .await?;
    }
    Ok(SaveOutcome::Updated { pipeline, version })
}

/// A row to rename: its number, and the name it gets.
struct Rename<'a> {
    id: i64,
    to: &'a str,
}

/// Which rows follow an `old_name`: active ones of that name, unless the new name is active already and stays.
fn renames<'a>(
    rows: &BTreeMap<String, (i64, bool)>,
    wanted: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Vec<Rename<'a>> {
    let active = |name: &str| rows.get(name).filter(|(_, active)| *active).map(|(id, _)| *id);
    let moving = |(old, new): &(&str, &str)| !old.is_empty() && old != new && active(old).is_some();
    wanted
        .clone()
        .filter(moving)
        .filter(|(_, new)| {
            active(new).is_none() || wanted.clone().filter(moving).any(|(old, _)| old == *new)
        })
        .filter_map(|(old, to)| active(old).map(|id| Rename { id, to }))
        .collect()
}

/// Names no configuration can have, so that renames in a circle do not meet.
fn parked(id: i64) -> String {
    format!("\u{1}{id}")
}

async fn sync_resources(
    tx: &mut Tx,
    pipeline: PipelineId,
    shape: &Shape<'_>,
) -> Result<BTreeMap<String, ResourceId>> {
    let kinds = [ResourceKind::Resource, ResourceKind::ResourceType, ResourceKind::Prototype];
    let mut resources = BTreeMap::new();
    for kind in kinds {
        let rows = tx
            .rows(
                "SELECT id, name, active FROM resources WHERE pipeline_id = $1 AND kind = $2",
                args![pipeline, kind.as_str()],
            )
            .await?;
        let wanted = shape.resources.iter().filter(|resource| resource.kind == kind);
        let known = by_name(&rows)?;
        let moves = renames(&known, wanted.clone().map(|r| (r.old_name, r.name)));
        rename_all(tx, &known, &moves, "UPDATE resources SET name = $2 WHERE id = $1").await?;
        tx.execute(
            "UPDATE resources SET active = 0 WHERE pipeline_id = $1 AND kind = $2",
            args![pipeline, kind.as_str()],
        )
        .await?;
        for (position, resource) in wanted.enumerate() {
            let id = save_resource(tx, pipeline, resource, position).await?;
            if kind == ResourceKind::Resource {
                resources.insert(resource.name.to_owned(), id);
            }
        }
    }
    Ok(resources)
}

fn by_name(rows: &[Row]) -> Result<BTreeMap<String, (i64, bool)>> {
    let entry =
        |row: &Row| Ok((row.req_text("name")?, (row.req_int("id")?, row.req_bool("active")?)));
    rows.iter().map(entry).collect()
}

async fn rename_all(
    tx: &mut Tx,
    known: &BTreeMap<String, (i64, bool)>,
    moves: &[Rename<'_>],
    sql: &'static str,
) -> Result<()> {
    for step in moves {
        tx.execute(sql, args![step.id, parked(step.id)]).await?;
        // An inactive row of the new name loses it for good.
        if let Some((id, false)) = known.get(step.to) {
            tx.execute(sql, args![*id, parked(*id)]).await?;
        }
    }
    for step in moves {
        tx.execute(sql, args![step.id, step.to]).await?;
    }
    Ok(())
}

async fn save_resource(
    tx: &mut Tx,
    pipeline: PipelineId,
    resource: &ResourceShape<'_>,
    position: usize,
) -> Result<ResourceId> {
    let former = tx
        .row(
            "SELECT id, config FROM resources WHERE pipeline_id = $1 AND kind = $2 AND name = $3",
            args![pipeline, resource.kind.as_str(), resource.name],
        )
        .await?;
    let sealed = tx.sealed("resources.config", resource.config)?;
    let position = i64::try_from(position).unwrap_or(i64::MAX);
    let Some(former) = former else {
        let row = tx
            .one(
                "INSERT INTO resources
                 (pipeline_id, kind, name, type_name, active, position, config, config_pinned, next_due)
                 VALUES ($1, $2, $3, $4, 1, $5, $6, $7, 0) RETURNING id",
                args![
                    pipeline,
                    resource.kind.as_str(),
                    resource.name,
                    resource.type_name,
                    position,
                    sealed,
                    resource.pinned,
                ],
            )
            .await?;
        return row.req_int("id").map(ResourceId);
    };
    let id = ResourceId(former.req_int("id")?);
    let same = match former.opt_text("config")? {
        Some(stored) => {
            let text = tx.seal().open("resources.config", stored)?;
            serde_json::from_str::<Value>(&text).is_ok_and(|former| former == *resource.config)
        }
        None => false,
    };
    tx.execute(
        "UPDATE resources SET type_name = $2, active = 1, position = $3, config = $4,
         config_pinned = $5, next_due = CASE WHEN $6 = 1 THEN next_due ELSE 0 END WHERE id = $1",
        args![id, resource.type_name, position, sealed, resource.pinned, same],
    )
    .await?;
    Ok(id)
}

async fn sync_jobs(
    tx: &mut Tx,
    pipeline: PipelineId,
    shape: &Shape<'_>,
    resources: &BTreeMap<String, ResourceId>,
) -> Result<()> {
    let sql = "SELECT id, name, active FROM jobs WHERE pipeline_id = $1";
    let rows = tx.rows(sql, args![pipeline]).await?;
    let known = by_name(&rows)?;
    let moves = renames(&known, shape.jobs.iter().map(|job| (job.old_name, job.name)));
    rename_all(tx, &known, &moves, "UPDATE jobs SET name = $2 WHERE id = $1").await?;
    tx.execute("UPDATE jobs SET active = 0 WHERE pipeline_id = $1", args![pipeline]).await?;
    for sql in [
        "DELETE FROM job_serial_groups
         WHERE job_id IN (SELECT id FROM jobs WHERE pipeline_id = $1)",
        "DELETE FROM job_upstream WHERE job_id IN (SELECT id FROM jobs WHERE pipeline_id = $1)",
        "DELETE FROM job_resources WHERE job_id IN (SELECT id FROM jobs WHERE pipeline_id = $1)",
    ] {
        tx.execute(sql, args![pipeline]).await?;
    }
    let mut jobs = BTreeMap::new();
    for (position, job) in shape.jobs.iter().enumerate() {
        jobs.insert(job.name, save_job(tx, pipeline, job, position).await?);
    }
    for job in &shape.jobs {
        let Some(id) = jobs.get(job.name) else { continue };
        link_job(tx, *id, pipeline, job, &jobs, resources).await?;
    }
    Ok(())
}

async fn save_job(
    tx: &mut Tx,
    pipeline: PipelineId,
    job: &JobShape<'_>,
    position: usize,
) -> Result<JobId> {
    let row = tx
        .one(
            "INSERT INTO jobs (pipeline_id, name, active, position, config, inputs, outputs, groups,
             serial_groups, max_in_flight, public, disable_manual_trigger, disable_reruns)
             VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (pipeline_id, name) DO UPDATE SET active = 1, position = excluded.position,
             config = excluded.config, inputs = excluded.inputs, outputs = excluded.outputs,
             groups = excluded.groups, serial_groups = excluded.serial_groups,
             max_in_flight = excluded.max_in_flight, public = excluded.public,
             disable_manual_trigger = excluded.disable_manual_trigger,
             disable_reruns = excluded.disable_reruns
             RETURNING id",
            args![
                pipeline,
                job.name,
                i64::try_from(position).unwrap_or(i64::MAX),
                tx.sealed("jobs.config", job.config)?,
                job.inputs_json().to_string(),
                job.outputs_json().to_string(),
                Value::from(job.groups.clone()).to_string(),
                Value::from(job.serial_groups.clone()).to_string(),
                job.max_in_flight,
                job.public,
                job.disable_manual_trigger,
                job.disable_reruns,
            ],
        )
        .await?;
    row.req_int("id").map(JobId)
}

async fn link_job(
    tx: &mut Tx,
    id: JobId,
    pipeline: PipelineId,
    job: &JobShape<'_>,
    jobs: &BTreeMap<&str, JobId>,
    resources: &BTreeMap<String, ResourceId>,
) -> Result<()> {
    for group in &job.serial_groups {
        tx.execute(
            "INSERT INTO job_serial_groups (job_id, pipeline_id, name) VALUES ($1, $2, $3)
             ON CONFLICT (job_id, name) DO NOTHING",
            args![id, pipeline, *group],
        )
        .await?;
    }
    for passed in job.upstream().into_iter().filter_map(|name| jobs.get(name)) {
        tx.execute(
            "INSERT INTO job_upstream (job_id, passed_job_id) VALUES ($1, $2)",
            args![id, *passed],
        )
        .await?;
    }
    for used in job.uses() {
        let Some(resource) = resources.get(used.resource) else { continue };
        tx.execute(
            "INSERT INTO job_resources (job_id, resource_id, trigger_kind, passed_only)
             VALUES ($1, $2, $3, $4)",
            args![id, *resource, used.trigger_kind, used.passed_only],
        )
        .await?;
    }
    Ok(())
}
