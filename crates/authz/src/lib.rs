//! Roles, routes and who may do what. Pure: the caller looks up teams, pipelines and builds.

mod decision;
mod paths;
mod rbac;
mod role;
mod routes;
mod team_auth;
#[cfg(test)]
mod tests;

pub use decision::{Actor, Decision, Guard, PipelineView, Subject, Token, authorize};
pub use paths::{Found, MatchedPath, find};
pub use rbac::{RbacError, RoleOverrides};
pub use role::Role;
pub use routes::{Action, Method, ROUTES, Route};
pub use team_auth::{Approvers, Identity, RoleAuth, TeamAuth, may_answer, roles_of};
