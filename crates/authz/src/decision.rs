//! The decision itself: a guard, an actor and what the request is about.

use std::collections::BTreeMap;

use crate::{Role, RoleOverrides, Route};

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// Anyone; a token that is sent must be valid.
    Open,
    /// Any valid token.
    Authenticated,
    /// A role on at least one team.
    AnyTeam,
    /// The route's role on the team of the path.
    Team,
    /// The route's role on the pipeline's team, or a public pipeline.
    Pipeline,
    /// The route's role on the build's team, or a public pipeline.
    BuildRead,
    /// As [`Guard::BuildRead`], but a public pipeline is not enough: the job must be public too.
    BuildReadPublicJob,
    /// The route's role on the build's team.
    BuildWrite,
    /// The system, an administrator, or the route's role on the worker's own team.
    Worker,
    /// The system's own token.
    System,
    /// An owner of an administrators' team.
    Admin,
}

/// What the request said about its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Token {
    #[default]
    Absent,
    /// Sent, but unknown, expired or for someone else.
    Invalid,
    Valid,
}

/// Who is calling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    pub token: Token,
    /// The roles on each team that the caller has any on.
    pub teams: BTreeMap<String, Vec<Role>>,
    /// Owner of an administrators' team: passes every question about teams.
    pub admin: bool,
    /// The server's own components.
    pub system: bool,
}

impl Actor {
    pub fn authenticated(&self) -> bool {
        self.token == Token::Valid
    }

    /// Whether the caller has at least `role` on a team. `None` is a role that only administrators have.
    pub fn has_role(&self, team: &str, role: Option<Role>) -> bool {
        let least = |roles: &Vec<Role>| role.is_some_and(|role| roles.iter().any(|r| *r >= role));
        self.admin || self.teams.get(team).is_some_and(least)
    }
}

/// What may be seen of a pipeline without a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineView {
    pub public: bool,
    /// For builds: whether their job says `public: true`.
    pub public_job: bool,
}

/// What the request is about, as far as the route's guard needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    Nothing,
    Team(&'a str),
    Pipeline {
        team: &'a str,
        public: bool,
    },
    Build {
        team: &'a str,
        pipeline: Option<PipelineView>,
    },
    Worker {
        team: Option<&'a str>,
    },
    /// The pipeline, build or worker does not exist.
    Missing,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// 401: the caller may try again with a valid token.
    Unauthorized,
    /// 403: the caller is known and may not.
    Forbidden,
    /// 404: seen before, or instead of, a question about the caller.
    NotFound,
}

/// Decides whether `actor` may use `route` on `subject`.
pub fn authorize(
    route: &Route,
    overrides: &RoleOverrides,
    actor: &Actor,
    subject: Subject<'_>,
) -> Decision {
    let role = overrides.role(route);
    let refused = if actor.authenticated() { Decision::Forbidden } else { Decision::Unauthorized };
    let allow_if = |allowed: bool| if allowed { Decision::Allow } else { refused };
    let authenticated = actor.authenticated();
    match route.guard {
        Guard::Open if actor.token == Token::Invalid => Decision::Unauthorized,
        Guard::Open => Decision::Allow,
        Guard::Authenticated => allow_if(authenticated),
        Guard::AnyTeam => allow_if(
            authenticated
                && (actor.admin || actor.teams.keys().any(|team| actor.has_role(team, role))),
        ),
        Guard::Admin => allow_if(authenticated && actor.admin),
        Guard::System => allow_if(authenticated && actor.system),
        Guard::Team => match subject {
            Subject::Team(team) => allow_if(authenticated && actor.has_role(team, role)),
            _ => refused,
        },
        Guard::Pipeline => match subject {
            Subject::Missing => Decision::NotFound,
            Subject::Pipeline { team, public } => allow_if(public || actor.has_role(team, role)),
            _ => refused,
        },
        Guard::BuildRead | Guard::BuildReadPublicJob => match subject {
            Subject::Missing => Decision::NotFound,
            Subject::Build { team, pipeline } => {
                let shown = pipeline.is_some_and(|pipeline| {
                    pipeline.public && (route.guard == Guard::BuildRead || pipeline.public_job)
                });
                allow_if(shown || (authenticated && actor.has_role(team, role)))
            }
            _ => refused,
        },
        Guard::BuildWrite => match subject {
            _ if !authenticated => Decision::Unauthorized,
            Subject::Missing => Decision::NotFound,
            Subject::Build { team, .. } => allow_if(actor.has_role(team, role)),
            _ => refused,
        },
        Guard::Worker => match subject {
            _ if !authenticated => Decision::Unauthorized,
            _ if actor.system || actor.admin => Decision::Allow,
            Subject::Worker { team } => {
                allow_if(team.is_some_and(|team| actor.has_role(team, role)))
            }
            _ => Decision::NotFound,
        },
    }
}
