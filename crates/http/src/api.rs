//! `/api/v1` and `/.well-known`: from a request to its handler, through the guards.

mod approvals;
mod artifacts;
mod badges;
mod builds;
mod causality;
mod cc;
mod config;
mod containers;
mod dump;
mod events;
mod hijack;
mod jobs;
mod pages;
mod pipelines;
mod pods;
mod present;
mod resources;
mod system;
mod teams;
mod usage;
mod versions;
mod workers;

use std::sync::Mutex;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method as HttpMethod, StatusCode};
use axum::response::{IntoResponse, Response};
use jb_authz::{
    Action, Decision, Found, Guard, MatchedPath, Method, PipelineView, Subject, authorize, find,
};
use jb_store::{Direction, ResourceKind};

use crate::call::{Call, find_build, find_pipeline};
use crate::cookies;
use crate::edge::compress;
use crate::identity;
use crate::query::Query;
use crate::reply::{Failure, NOT_FOUND, Result, TEXT, empty, respond};
use crate::settings::VERSION;
use crate::state::AppState;

const X_CONCOURSE_VERSION: HeaderName = HeaderName::from_static("x-concourse-version");
const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

/// Serves one request.
pub(crate) async fn serve(State(state): State<AppState>, request: Request) -> Response {
    let (credentials, cookie) = identity::presented(request.headers());
    let secure = state.settings().cookie_secure;
    let mut response = if cookie && !csrf_holds(request.method(), request.headers()) {
        empty(StatusCode::UNAUTHORIZED)
    } else {
        route(state, request, credentials).await
    };
    if cookie && response.status() == StatusCode::UNAUTHORIZED {
        cookies::unset(response.headers_mut(), cookies::AUTH, secure);
        cookies::unset(response.headers_mut(), cookies::CSRF, secure);
    }
    response
}

/// Whether a request that a browser may have been talked into comes from our own pages.
fn csrf_holds(method: &HttpMethod, headers: &HeaderMap) -> bool {
    if matches!(*method, HttpMethod::GET | HttpMethod::HEAD | HttpMethod::OPTIONS) {
        return true;
    }
    let sent = headers.get(X_CSRF_TOKEN).and_then(|value| value.to_str().ok());
    sent.is_some() && sent == cookies::read(headers, cookies::CSRF)
}

async fn route(state: AppState, request: Request, credentials: Option<String>) -> Response {
    let method = match *request.method() {
        HttpMethod::GET | HttpMethod::HEAD => Some(Method::Get),
        HttpMethod::PUT => Some(Method::Put),
        HttpMethod::POST => Some(Method::Post),
        HttpMethod::DELETE => Some(Method::Delete),
        _ => None,
    };
    let path = match method.map(|method| find(method, request.uri().path())) {
        Some(Found::Route(path)) => path,
        Some(Found::Nothing) => {
            return respond(StatusCode::NOT_FOUND, TEXT, "404 page not found\n");
        }
        Some(Found::OtherMethod) | None => {
            return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n");
        }
    };
    let action = path.route.action;
    let gzip = compress::accepted(request.headers());
    let (method, begin) = (request.method().clone(), Instant::now());
    let metrics = state.settings().metrics.http.clone();
    let answer = guarded(state, path, request, credentials).await;
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    if !is_long(action) {
        let status = response.status().as_u16();
        metrics.answered(method.as_str(), action.name(), status, begin.elapsed());
    }
    response.headers_mut().insert(X_CONCOURSE_VERSION, HeaderValue::from_static(VERSION));
    if action != Action::DownloadCLI && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        compress::vary(response.headers_mut());
        // The event streams compress themselves, piece by piece; the other says little.
        if gzip && !streams(action) {
            response = compress::whole(response).await;
        }
    }
    response
}

/// What sends events until there are no more.
fn streams(action: Action) -> bool {
    matches!(action, Action::BuildEvents | Action::BuildTranscript | Action::WatchBuildPods)
}

/// What takes as long as its user wants says nothing about the server.
fn is_long(action: Action) -> bool {
    streams(action) || matches!(action, Action::DownloadCLI | Action::HijackContainer)
}

async fn guarded(
    state: AppState,
    path: MatchedPath,
    request: Request,
    credentials: Option<String>,
) -> Result<Response> {
    let caller = identity::caller(&state, credentials.as_deref()).await?;
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let body = Mutex::new(body);
    let mut call = Call { state, path, query, caller, parts, body, pipeline: None, build: None };
    if call.path.route.rejects_archived {
        reject_archived(&mut call).await?;
    }
    guard(&mut call).await?;
    dispatch(call).await
}

/// Refuses what cannot be done to an archived pipeline, before it is asked who wants it.
async fn reject_archived(call: &mut Call) -> Result<()> {
    let pipeline = find_pipeline(&call.state, &call.path, &call.query).await?.ok_or(NOT_FOUND)?;
    if pipeline.archived {
        let text = "action not allowed for an archived pipeline\n";
        return Err(Failure::text(StatusCode::CONFLICT, text));
    }
    call.pipeline = Some(pipeline);
    Ok(())
}

/// Looks up what the guard asks about, and lets the pure decision decide.
async fn guard(call: &mut Call) -> Result<()> {
    let route = call.path.route;
    match route.guard {
        Guard::Pipeline if call.pipeline.is_none() => {
            call.pipeline = find_pipeline(&call.state, &call.path, &call.query).await?;
        }
        Guard::BuildRead | Guard::BuildReadPublicJob => {
            call.build = find_build(&call.state, &call.path).await?;
        }
        // Who may not write at all is not told what exists.
        Guard::BuildWrite if call.caller.actor.authenticated() => {
            call.build = find_build(&call.state, &call.path).await?;
        }
        _ => {}
    }
    match decide(call).await? {
        Decision::Allow => Ok(()),
        Decision::Unauthorized => Err(Failure::text(StatusCode::UNAUTHORIZED, "not authorized")),
        Decision::Forbidden => Err(Failure::text(StatusCode::FORBIDDEN, "forbidden")),
        Decision::NotFound => Err(NOT_FOUND),
    }
}

async fn decide(call: &Call) -> Result<Decision> {
    let route = call.path.route;
    let worker_team;
    let subject = match route.guard {
        Guard::Team => Subject::Team(call.param("team_name")),
        Guard::Pipeline => match &call.pipeline {
            None => Subject::Missing,
            Some(pipeline) => {
                Subject::Pipeline { team: call.param("team_name"), public: pipeline.public }
            }
        },
        Guard::BuildRead | Guard::BuildReadPublicJob | Guard::BuildWrite => match &call.build {
            None => Subject::Missing,
            Some(build) => Subject::Build {
                team: &build.team_name,
                pipeline: build.pipeline.as_ref().map(|pipeline| PipelineView {
                    public: pipeline.public,
                    public_job: build.job_public,
                }),
            },
        },
        Guard::Worker if call.caller.actor.authenticated() => {
            let name = call.param("worker_name");
            let workers = workers::all(call.state.engine()).await?;
            match workers.into_iter().find(|worker| worker.name == name) {
                None => Subject::Missing,
                Some(worker) => {
                    worker_team = worker.team;
                    let team = Some(worker_team.as_str()).filter(|team| !team.is_empty());
                    Subject::Worker { team }
                }
            }
        }
        _ => Subject::Nothing,
    };
    Ok(authorize(route, &call.state.settings().role_overrides, &call.caller.actor, subject))
}

/// Four routes call even an empty answer JSON.
fn typed(answer: Result<Response>) -> Response {
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().entry(CONTENT_TYPE).or_insert(json);
    response
}

/// Every action has its handler here; a new row of the route table does not compile without one.
#[expect(clippy::too_many_lines, reason = "one line per route")]
async fn dispatch(call: Call) -> Result<Response> {
    match call.path.route.action {
        Action::SaveConfig => config::save(call).await,
        Action::GetConfig => config::get(call).await,
        Action::CreateBuild => builds::create(call).await,
        Action::ListBuilds => builds::list_all(call).await,
        Action::GetBuild => builds::get(call),
        Action::GetBuildPlan => builds::plan(call).await,
        Action::BuildEvents => events::stream(call, events::Log::Build),
        Action::BuildTranscript => events::stream(call, events::Log::Transcript),
        Action::BuildAgentUsage => usage::of_build(call).await,
        Action::BuildResources => builds::resources(call).await,
        Action::AbortBuild => builds::abort(call).await,
        Action::GetBuildPreparation => builds::preparation(call).await,
        Action::ListBuildArtifacts => builds::artifacts(call).await,
        Action::ListBuildPods => pods::list(call).await,
        Action::WatchBuildPods => pods::watch(call).await,
        Action::ListBuildApprovals => approvals::of_build(call).await,
        Action::GrantApproval => approvals::answer(call, true).await,
        Action::DenyApproval => approvals::answer(call, false).await,
        Action::ListApprovals => approvals::waiting(call).await,
        Action::SetBuildComment => Ok(typed(builds::comment(call).await)),
        Action::ListAllJobs => jobs::list_all(call).await,
        Action::ListJobs => jobs::list(call).await,
        Action::GetJob => jobs::get(call).await,
        Action::ListJobBuilds => jobs::builds(call).await,
        Action::JobAgentUsage => usage::of_job(call).await,
        Action::CreateJobBuild => Ok(typed(jobs::trigger(call).await)),
        Action::RerunJobBuild => Ok(typed(jobs::rerun(call).await)),
        Action::ListJobInputs => Ok(typed(jobs::inputs(call).await)),
        Action::GetJobBuild => jobs::build(call).await,
        Action::PauseJob => jobs::pause(call).await,
        Action::UnpauseJob => jobs::unpause(call).await,
        Action::ScheduleJob => jobs::schedule(call).await,
        Action::JobBadge => badges::job(call).await,
        Action::MainJobBadge => badges::main_job(call),
        Action::ClearTaskCache => jobs::clear_task_cache(call).await,
        Action::ListAllPipelines => pipelines::list_all(call).await,
        Action::ListPipelines => pipelines::list(call).await,
        Action::GetPipeline => pipelines::get(call).await,
        Action::OrderPipelines => pipelines::order(call).await,
        Action::OrderPipelinesWithinGroup => pipelines::order_instances(call).await,
        Action::DeletePipeline => pipelines::delete(call).await,
        Action::PausePipeline => pipelines::pause(call).await,
        Action::ArchivePipeline => pipelines::archive(call).await,
        Action::UnpausePipeline => pipelines::unpause(call).await,
        Action::ExposePipeline => pipelines::set_public(call, true).await,
        Action::HidePipeline => pipelines::set_public(call, false).await,
        Action::GetVersionsDB => dump::get(call).await,
        Action::RenamePipeline => pipelines::rename(call).await,
        Action::ListPipelineBuilds => pipelines::builds(call).await,
        Action::CreatePipelineBuild => builds::create_in_pipeline(call).await,
        Action::PipelineBadge => badges::pipeline(call).await,
        Action::ListAllResources => resources::list_all(call).await,
        Action::ListResources => resources::list(call).await,
        Action::ListSharedForResource => resources::shared(call, ResourceKind::Resource).await,
        Action::ListSharedForResourceType => {
            resources::shared(call, ResourceKind::ResourceType).await
        }
        Action::ListResourceTypes => resources::types(call).await,
        Action::GetResource => resources::get(call).await,
        Action::CheckResource => resources::check(call, ResourceKind::Resource).await,
        Action::CheckResourceWebHook => resources::webhook(call).await,
        Action::CheckResourceType => resources::check(call, ResourceKind::ResourceType).await,
        Action::CheckPrototype => resources::check(call, ResourceKind::Prototype).await,
        Action::ClearResourceCache => resources::clear_cache(call).await,
        Action::ListResourceVersions => versions::list(call).await,
        Action::ClearResourceVersions => versions::clear(call, ResourceKind::Resource).await,
        Action::ClearResourceTypeVersions => {
            versions::clear(call, ResourceKind::ResourceType).await
        }
        Action::GetResourceVersion => versions::get(call).await,
        Action::EnableResourceVersion => versions::set_enabled(call, true).await,
        Action::DisableResourceVersion => versions::set_enabled(call, false).await,
        Action::PinResourceVersion => versions::pin(call).await,
        Action::UnpinResource => resources::unpin(call).await,
        Action::SetPinCommentOnResource => resources::pin_comment(call).await,
        Action::ListBuildsWithVersionAsInput => versions::input_to(call).await,
        Action::ListBuildsWithVersionAsOutput => versions::output_of(call).await,
        Action::GetDownstreamResourceCausality => causality::get(call, Direction::Downstream).await,
        Action::GetUpstreamResourceCausality => causality::get(call, Direction::Upstream).await,
        Action::GetCC => cc::get(call).await,
        Action::ListWorkers => workers::list(call).await,
        Action::RegisterWorker | Action::HeartbeatWorker | Action::DeleteWorker => {
            Ok(workers::no_remote_workers())
        }
        Action::LandWorker | Action::RetireWorker => Ok(workers::no_remote_workers()),
        Action::PruneWorker => workers::prune(call).await,
        Action::GetLogLevel => Ok(system::log_level(&call)),
        Action::SetLogLevel => system::set_log_level(call).await,
        Action::DownloadCLI => system::cli(&call),
        Action::GetInfo => Ok(system::info(&call)),
        Action::GetInfoCreds => Ok(system::creds()),
        Action::GetHealth => system::health(call).await,
        Action::GetUser => Ok(system::user(&call)),
        Action::ListActiveUsersSince => system::users(call).await,
        Action::ListDestroyingContainers | Action::ListDestroyingVolumes => {
            Ok(workers::nothing_to_destroy())
        }
        Action::ReportWorkerContainers | Action::ReportWorkerVolumes => {
            Ok(workers::no_remote_workers())
        }
        Action::ListContainers => containers::list(call).await,
        Action::GetContainer => containers::get(call).await,
        Action::HijackContainer => hijack::open(call).await,
        Action::ListVolumes => containers::volumes(call).await,
        Action::ListTeams => teams::list(call).await,
        Action::GetTeam => teams::get(call).await,
        Action::SetTeam => teams::set(call).await,
        Action::RenameTeam => teams::rename(call).await,
        Action::DestroyTeam => teams::destroy(call).await,
        Action::ListTeamBuilds => teams::builds(call).await,
        Action::TeamAgentUsage => usage::of_team(call).await,
        Action::CreateArtifact => artifacts::create(call).await,
        Action::GetArtifact => artifacts::get(call).await,
        Action::GetWall => system::wall(call).await,
        Action::SetWall => system::set_wall(call).await,
        Action::ClearWall => system::clear_wall(call).await,
        Action::GetOpenIDConfiguration => Ok(system::openid_configuration(&call)),
        Action::GetSigningKeys => Ok(system::signing_keys()),
        Action::GetComponents => system::components(call).await,
        Action::PauseAllComponents => system::pause_all_components(call, true).await,
        Action::UnpauseAllComponents => system::pause_all_components(call, false).await,
        Action::PauseComponent => system::pause_component(call, true).await,
        Action::UnpauseComponent => system::pause_component(call, false).await,
    }
}
