//! One request to the API on its way to its handler.

use std::sync::{Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::request::Parts;
use jb_authz::MatchedPath;
use jb_model::{BuildId, Object, PipelineId};
use jb_store::{
    BuildRecord, JobRecord, PipelineRecord, ResourceKind, ResourceRecord, Store, TeamRecord,
};
use serde::de::DeserializeOwned;

use crate::identity::Caller;
use crate::instance_vars;
use crate::query::Query;
use crate::reply::{BAD_REQUEST, Failure, NOT_FOUND, Result};
use crate::state::AppState;

/// The longest body that is read into memory.
const MAX_BODY: usize = 32 << 20;

/// A request that passed its route's guard.
pub(crate) struct Call {
    pub(crate) state: AppState,
    pub(crate) path: MatchedPath,
    pub(crate) query: Query,
    pub(crate) caller: Caller,
    pub(crate) parts: Parts,
    /// Locked only to be shared between threads: a body itself cannot be.
    pub(crate) body: Mutex<Body>,
    /// What the guard looked up on its way.
    pub(crate) pipeline: Option<PipelineRecord>,
    pub(crate) build: Option<BuildRecord>,
}

impl Call {
    pub(crate) fn store(&self) -> &Store {
        self.state.store()
    }

    pub(crate) fn param(&self, name: &str) -> &str {
        self.path.param(name)
    }

    /// Whether the caller has this route's role on a team.
    pub(crate) fn may(&self, team: &str) -> bool {
        let role = self.state.settings().role_overrides.role(self.path.route);
        self.caller.actor.has_role(team, role)
    }

    pub(crate) async fn team(&self) -> Result<TeamRecord> {
        let team = self.store().team_by_name(self.param("team_name")).await;
        team.map_err(store_failure)?.ok_or(NOT_FOUND)
    }

    pub(crate) async fn pipeline(&self) -> Result<PipelineRecord> {
        if let Some(pipeline) = &self.pipeline {
            return Ok(pipeline.clone());
        }
        find_pipeline(&self.state, &self.path, &self.query).await?.ok_or(NOT_FOUND)
    }

    pub(crate) async fn pipeline_id(&self) -> Result<PipelineId> {
        Ok(self.pipeline().await?.id)
    }

    pub(crate) async fn job(&self) -> Result<JobRecord> {
        let pipeline = self.pipeline_id().await?;
        let job = self.store().job_by_name(pipeline, self.param("job_name")).await;
        job.map_err(store_failure)?.ok_or(NOT_FOUND)
    }

    pub(crate) async fn resource(&self) -> Result<ResourceRecord> {
        self.checkable(ResourceKind::Resource, "resource_name").await
    }

    /// A resource, type or prototype by the name in the path.
    pub(crate) async fn checkable(
        &self,
        kind: ResourceKind,
        param: &str,
    ) -> Result<ResourceRecord> {
        let pipeline = self.pipeline_id().await?;
        let found = self.store().resource_by_name(pipeline, kind, self.param(param)).await;
        found.map_err(store_failure)?.ok_or(NOT_FOUND)
    }

    /// The build that the guard found.
    pub(crate) fn build(&self) -> Result<&BuildRecord> {
        self.build.as_ref().ok_or(NOT_FOUND)
    }

    /// The body, once.
    pub(crate) fn take_body(&mut self) -> Body {
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(body, Body::empty())
    }

    pub(crate) async fn bytes(&mut self) -> Result<Bytes> {
        axum::body::to_bytes(self.take_body(), MAX_BODY).await.map_err(|error| {
            Failure::text(StatusCode::PAYLOAD_TOO_LARGE, format!("cannot read the body: {error}"))
        })
    }

    /// The body as JSON; whatever the client calls it. 400 when it is none.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        serde_json::from_slice(&self.bytes().await?).map_err(|_| BAD_REQUEST)
    }
}

/// The pipeline of a path and query.
pub(crate) async fn find_pipeline(
    state: &AppState,
    path: &MatchedPath,
    query: &Query,
) -> Result<Option<PipelineRecord>> {
    let vars: Object = instance_vars::parse(query).map_err(|_| BAD_REQUEST)?;
    let (team, name) = (path.param("team_name"), path.param("pipeline_name"));
    state.store().find_pipeline(team, name, &vars).await.map_err(store_failure)
}

/// The build of a path.
pub(crate) async fn find_build(
    state: &AppState,
    path: &MatchedPath,
) -> Result<Option<BuildRecord>> {
    let id: i64 = path.param("build_id").parse().map_err(|_| BAD_REQUEST)?;
    state.store().build(BuildId(id)).await.map_err(store_failure)
}

/// What a failure of the store means to a client.
pub(crate) fn store_failure(error: jb_store::Error) -> Failure {
    match error {
        jb_store::Error::NotFound { .. } => NOT_FOUND,
        error => Failure::internal(error),
    }
}
