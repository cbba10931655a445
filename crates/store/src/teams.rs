//! Teams and who has which role in them.

use jb_model::{BuildId, TeamId, Timestamp, Value};

use crate::dialect::Lock;
use crate::sql::{Row, Tx, args};
use crate::store::transact;
use crate::{Change, Error, Result, Store};

/// The team that always exists and administers the others.
pub const MAIN_TEAM: &str = "main";

/// A team.
#[derive(Clone, Debug, PartialEq)]
pub struct TeamRecord {
    pub id: TeamId,
    pub name: String,
    /// True for the main team.
    pub admin: bool,
    /// `{role: {users: [..], groups: [..]}}`.
    pub auth: Value,
}

impl Store {
    /// Creates the main team, or gives it this `auth` anew.
    pub async fn ensure_main_team(&self, auth: &Value, now: Timestamp) -> Result<TeamRecord> {
        transact!(self, async |tx| {
            tx.lock(Lock::Teams).await?;
            let id = match find(tx, MAIN_TEAM).await? {
                Some(team) => {
                    update_auth(tx, team.id, auth).await?;
                    team.id
                }
                None => insert(tx, MAIN_TEAM, true, auth, now).await?,
            };
            Ok(TeamRecord { id, name: MAIN_TEAM.into(), admin: true, auth: auth.clone() })
        })
    }

    /// Creates the team, or replaces its `auth`. Names are compared without regard to case. True when created.
    pub async fn save_team(
        &self,
        name: &str,
        auth: &Value,
        now: Timestamp,
    ) -> Result<(TeamRecord, bool)> {
        transact!(self, async |tx| {
            tx.lock(Lock::Teams).await?;
            if let Some(team) = find(tx, name).await? {
                update_auth(tx, team.id, auth).await?;
                return Ok((TeamRecord { auth: auth.clone(), ..team }, false));
            }
            let id = insert(tx, name, false, auth, now).await?;
            Ok((TeamRecord { id, name: name.into(), admin: false, auth: auth.clone() }, true))
        })
    }

    /// Renames a team. False when there is none of that id.
    pub async fn rename_team(&self, team: TeamId, name: &str) -> Result<bool> {
        transact!(self, async |tx| {
            tx.lock(Lock::Teams).await?;
            if find(tx, name).await?.is_some_and(|other| other.id != team) {
                return Err(Error::Exists { what: "team", name: name.into() });
            }
            let sql = "UPDATE teams SET name = $2 WHERE id = $1";
            Ok(tx.execute(sql, args![team, name]).await? > 0)
        })
    }

    /// Removes a team with its pipelines and builds; who drives one of these hears of it. False when there is none of
    /// that id.
    pub async fn destroy_team(&self, team: TeamId) -> Result<bool> {
        transact!(self, async |tx| {
            tx.lock(Lock::Teams).await?;
            let running = "SELECT id FROM builds WHERE team_id = $1 AND completed = 0";
            for row in tx.rows(running, args![team]).await? {
                tx.changed(Change::Build(BuildId(row.req_int("id")?)));
            }
            tx.execute(
                "DELETE FROM scopes WHERE owner_id IN (SELECT r.id FROM resources r
                 JOIN pipelines p ON p.id = r.pipeline_id WHERE p.team_id = $1)",
                args![team],
            )
            .await?;
            Ok(tx.execute("DELETE FROM teams WHERE id = $1", args![team]).await? > 0)
        })
    }

    /// All teams by id.
    pub async fn teams(&self) -> Result<Vec<TeamRecord>> {
        let rows = self.rows("SELECT id, name, admin, auth FROM teams ORDER BY id", &[]).await?;
        rows.iter().map(team_record).collect()
    }

    pub async fn team(&self, team: TeamId) -> Result<Option<TeamRecord>> {
        let sql = "SELECT id, name, admin, auth FROM teams WHERE id = $1";
        self.row(sql, args![team]).await?.as_ref().map(team_record).transpose()
    }

    /// Finds a team by its name, without regard to case.
    pub async fn team_by_name(&self, name: &str) -> Result<Option<TeamRecord>> {
        self.row(FIND, args![name]).await?.as_ref().map(team_record).transpose()
    }
}

const FIND: &str = "SELECT id, name, admin, auth FROM teams WHERE lower(name) = lower($1)";

async fn find(tx: &mut Tx, name: &str) -> Result<Option<TeamRecord>> {
    tx.row(FIND, args![name]).await?.as_ref().map(team_record).transpose()
}

async fn insert(
    tx: &mut Tx,
    name: &str,
    admin: bool,
    auth: &Value,
    now: Timestamp,
) -> Result<TeamId> {
    let row = tx
        .one(
            "INSERT INTO teams (name, admin, auth, created_at) VALUES ($1, $2, $3, $4) RETURNING id",
            args![name, admin, auth.to_string(), now],
        )
        .await?;
    row.req_int("id").map(TeamId)
}

async fn update_auth(tx: &mut Tx, team: TeamId, auth: &Value) -> Result<()> {
    let sql = "UPDATE teams SET auth = $2 WHERE id = $1";
    tx.execute(sql, args![team, auth.to_string()]).await.map(drop)
}

fn team_record(row: &Row) -> Result<TeamRecord> {
    Ok(TeamRecord {
        id: TeamId(row.req_int("id")?),
        name: row.req_text("name")?,
        admin: row.req_bool("admin")?,
        auth: row.req_json("auth")?,
    })
}
