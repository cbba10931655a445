//! Users who logged in, and the access tokens they hold.

use jb_model::{Timestamp, Value};

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
        unfinished!(sub, username, connector, now)
    }

    /// Users who logged in at or after `since`, by name.
    pub async fn users_since(&self, since: Timestamp) -> Result<Vec<UserRecord>> {
        unfinished!(since)
    }

    /// Keeps a token. Only the hash of its text is stored.
    pub async fn save_token(
        &self,
        token: &str,
        claims: &Value,
        expires_at: Timestamp,
    ) -> Result<()> {
        unfinished!(token, claims, expires_at)
    }

    /// Finds a token by its text; expired ones are not found.
    pub async fn token(&self, token: &str, now: Timestamp) -> Result<Option<TokenRecord>> {
        unfinished!(token, now)
    }

    pub async fn delete_token(&self, token: &str) -> Result<bool> {
        unfinished!(token)
    }

    pub async fn delete_expired_tokens(&self, now: Timestamp) -> Result<u64> {
        unfinished!(now)
    }
}
