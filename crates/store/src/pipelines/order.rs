//! The order and names of a team's pipelines.

use jb_model::{Object, TeamId};

use super::instance_digest;
use crate::dialect::Lock;
use crate::sql::args;
use crate::store::transact;
use crate::{Error, Result, Store};

/// The wanted names first, then the others as they stood; or the name that is not there.
fn reordered<'a>(
    present: &[String],
    wanted: &'a [String],
) -> std::result::Result<Vec<String>, &'a str> {
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        if !present.contains(name) {
            return Err(name);
        }
        if !order.contains(name) {
            order.push(name.clone());
        }
    }
    let rest: Vec<String> = present.iter().filter(|name| !order.contains(name)).cloned().collect();
    order.extend(rest);
    Ok(order)
}

impl Store {
    /// Orders a team's pipelines by name; names left out follow in their former order.
    /// An unknown name fails with [`crate::Error::NotFound`].
    pub async fn order_pipelines(&self, team: TeamId, names: &[String]) -> Result<()> {
        transact!(self, async |tx| {
            tx.lock(Lock::Team(team.0)).await?;
            let rows = tx
                .rows(
                    "SELECT name FROM pipelines WHERE team_id = $1
                     GROUP BY name ORDER BY min(position), min(id)",
                    args![team],
                )
                .await?;
            let present: Result<Vec<String>> =
                rows.iter().map(|row| row.req_text("name")).collect();
            let order =
                reordered(&present?, names).map_err(|name| Error::not_found("pipeline", name))?;
            for (position, name) in (1_i64..).zip(&order) {
                tx.execute(
                    "UPDATE pipelines SET position = $3 WHERE team_id = $1 AND name = $2",
                    args![team, name, position],
                )
                .await?;
            }
            Ok(())
        })
    }

    /// Orders the instances of one pipeline; unknown instance vars fail with [`crate::Error::NotFound`].
    pub async fn order_pipeline_instances(
        &self,
        team: TeamId,
        name: &str,
        instances: &[Object],
    ) -> Result<()> {
        let wanted: Vec<String> = instances.iter().map(instance_digest).collect();
        transact!(self, async |tx| {
            tx.lock(Lock::Team(team.0)).await?;
            let rows = tx
                .rows(
                    "SELECT instance_digest FROM pipelines WHERE team_id = $1 AND name = $2
                     ORDER BY instance_position, id",
                    args![team, name],
                )
                .await?;
            let present: Result<Vec<String>> =
                rows.iter().map(|row| row.req_text("instance_digest")).collect();
            let order = reordered(&present?, &wanted)
                .map_err(|_| Error::not_found("instance of pipeline", name))?;
            for (position, digest) in (1_i64..).zip(&order) {
                tx.execute(
                    "UPDATE pipelines SET instance_position = $4
                     WHERE team_id = $1 AND name = $2 AND instance_digest = $3",
                    args![team, name, digest, position],
                )
                .await?;
            }
            Ok(())
        })
    }

    /// Renames all instances of a pipeline. Fails when there is none of the old name or one of the new.
    pub async fn rename_pipeline(&self, team: TeamId, from: &str, to: &str) -> Result<()> {
        transact!(self, async |tx| {
            tx.lock(Lock::Team(team.0)).await?;
            let taken = tx
                .rows(
                    "SELECT id FROM pipelines WHERE team_id = $1 AND name = $2 LIMIT 1",
                    args![team, to],
                )
                .await?;
            if from != to && !taken.is_empty() {
                return Err(Error::Exists { what: "pipeline", name: to.into() });
            }
            let renamed = tx
                .execute(
                    "UPDATE pipelines SET name = $3 WHERE team_id = $1 AND name = $2",
                    args![team, from, to],
                )
                .await?;
            if renamed == 0 { Err(Error::not_found("pipeline", from)) } else { Ok(()) }
        })
    }
}
