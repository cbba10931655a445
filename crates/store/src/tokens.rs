//! Users who logged in, and the access tokens they hold.

use jb_model::{Timestamp, Value};

use crate::seal::hex_digest;
use crate::sql::args;
use crate::store::transact;
use crate::{Result, Store};

/// Someone who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    pub id: i64,
    pub sub: String,
    pub username: String,
    pub connector: String,
    pub last_login: Timestamp,
}

/// What a token says about its holder.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRecord {
    pub claims: Value,
    pub expires_at: Timestamp,
}

impl Store {
    /// Records a login.
    pub async fn save_user(
        &self,
        sub: &str,
        username: &str,
        connector: &str,
        now: Timestamp,
    ) -> Result<()> {
        transact!(self, async |tx| {
            tx.execute(
                "INSERT INTO users (sub, username, connector, last_login) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (sub) DO UPDATE SET username = excluded.username,
                 connector = excluded.connector, last_login = excluded.last_login",
                args![sub, username, connector, now],
            )
            .await
            .map(drop)
        })
    }

    /// Users who logged in at or after `since`, by name.
    pub async fn users_since(&self, since: Timestamp) -> Result<Vec<UserRecord>> {
        let rows = self
            .rows(
                "SELECT id, sub, username, connector, last_login FROM users
                 WHERE last_login >= $1 ORDER BY username, id",
                args![since],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(UserRecord {
                    id: row.req_int("id")?,
                    sub: row.req_text("sub")?,
                    username: row.req_text("username")?,
                    connector: row.req_text("connector")?,
                    last_login: row.req_time("last_login")?,
                })
            })
            .collect()
    }

    /// Keeps a token. Only the hash of its text is stored.
    pub async fn save_token(
        &self,
        token: &str,
        claims: &Value,
        expires_at: Timestamp,
    ) -> Result<()> {
        transact!(self, async |tx| {
            tx.execute(
                "INSERT INTO access_tokens (digest, claims, expires_at) VALUES ($1, $2, $3)
                 ON CONFLICT (digest) DO UPDATE
                 SET claims = excluded.claims, expires_at = excluded.expires_at",
                args![hex_digest(token), claims.to_string(), expires_at],
            )
            .await
            .map(drop)
        })
    }

    /// Finds a token by its text; expired ones are not found.
    pub async fn token(&self, token: &str, now: Timestamp) -> Result<Option<TokenRecord>> {
        let sql = "SELECT claims, expires_at FROM access_tokens
                   WHERE digest = $1 AND expires_at > $2";
        let Some(row) = self.row(sql, args![hex_digest(token), now]).await? else {
            return Ok(None);
        };
        Ok(Some(TokenRecord {
            claims: row.req_json("claims")?,
            expires_at: row.req_time("expires_at")?,
        }))
    }

    pub async fn delete_token(&self, token: &str) -> Result<bool> {
        transact!(self, async |tx| {
            let sql = "DELETE FROM access_tokens WHERE digest = $1";
            Ok(tx.execute(sql, args![hex_digest(token)]).await? > 0)
        })
    }

    pub async fn delete_expired_tokens(&self, now: Timestamp) -> Result<u64> {
        transact!(self, async |tx| {
            tx.execute("DELETE FROM access_tokens WHERE expires_at <= $1", args![now]).await
        })
    }
}
