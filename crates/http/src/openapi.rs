//! `/openapi.json`: the API for machines, made from the route table.

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use jb_authz::{Action, Guard, ROUTES, Route};
use jb_model::{Object, Value};
use serde_json::json;

use crate::reply::respond;
use crate::settings::VERSION;

mod schemas;
#[cfg(test)]
mod tests;
mod transcript;

/// The document as text.
static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(crate) async fn serve() -> Response {
    respond(StatusCode::OK, "application/json", TEXT.as_str())
}

/// The OpenAPI 3.1 document of every route.
pub fn document() -> Value {
    let mut paths = Object::new();
    for route in &ROUTES {
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        methods[route.method.as_str().to_lowercase()] = operation(route);
    }
    for (path, method, operation) in schemas::beside() {
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "JetBridge",
            "version": VERSION,
            "description": "Concourse's API as fly speaks it.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas::schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "skymarshal_auth"},
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let shape = schemas::shape(route.action);
    let mut operation = Object::new();
    operation.insert("operationId".to_owned(), route.action.name().into());
    operation.insert("summary".to_owned(), shape.summary.into());
    operation.insert("tags".to_owned(), json!([tag(route)]));
    operation.insert("description".to_owned(), rights(route).into());
    if route.guard != Guard::Open {
        let optional =
            matches!(route.guard, Guard::Pipeline | Guard::BuildRead | Guard::BuildReadPublicJob);
        let mut ways = vec![json!({"bearer": []}), json!({"cookie": []})];
        if optional {
            ways.push(json!({}));
        }
        operation.insert("security".to_owned(), ways.into());
    }
    let parameters = parameters(route, shape.query);
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), parameters.into());
    }
    if let Some((kind, schema)) = shape.request {
        let content = json!({kind: {"schema": schemas::reference(schema)}});
        operation.insert("requestBody".to_owned(), json!({"content": content}));
    }
    operation.insert("responses".to_owned(), responses(route, &shape));
    Value::Object(operation)
}

fn tag(route: &Route) -> &'static str {
    let last = |word: &str| route.path.contains(word);
    match route.path {
        _ if last("/approvals") => "approvals",
        _ if last("/builds/{build_id}") => "builds",
        _ if last("/jobs") => "jobs",
        _ if last("/resources") || last("/resource-types") || last("/prototypes") => "resources",
        _ if last("/pipelines") => "pipelines",
        _ if last("/containers") || last("/volumes") || last("/workers") => "runtime",
        _ if last("/builds") => "builds",
        _ if last("/artifacts") => "artifacts",
        _ if last("/teams") => "teams",
        _ => "system",
    }
}

fn rights(route: &Route) -> String {
    let role = route.role.map_or("administrator", |role| role.as_str());
    match route.guard {
        Guard::Open => "Anyone; a token that is sent must be valid.".to_owned(),
        Guard::Authenticated => "Any valid token.".to_owned(),
        Guard::AnyTeam => "A role on any team.".to_owned(),
        Guard::Team => format!("Role {role} on the team."),
        Guard::Pipeline => format!("Role {role} on the team, or a public pipeline."),
        Guard::BuildRead => format!("Role {role} on the build's team, or a public pipeline."),
        Guard::BuildReadPublicJob => {
            format!("Role {role} on the build's team, or a public job of a public pipeline.")
        }
        Guard::BuildWrite => format!("Role {role} on the build's team."),
        Guard::Worker => "The system, or the worker's own team.".to_owned(),
        Guard::System => "The system.".to_owned(),
        Guard::Admin => "An owner of the main team.".to_owned(),
    }
}

fn parameters(route: &Route, query: &[&str]) -> Vec<Value> {
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let number = matches!(
                name,
                "build_id" | "approval_id" | "resource_config_version_id" | "artifact_id"
            );
            let kind = if number { "integer" } else { "string" };
            json!({"name": name, "in": "path", "required": true, "schema": {"type": kind}})
        })
        .collect();
    if route.path.contains("{pipeline_name}") {
        parameters.push(json!({
            "name": "vars",
            "in": "query",
            "description": "Instance vars: a JSON object; or one vars.<path>=<json> per leaf.",
            "schema": {"type": "string"},
        }));
    }
    for name in query {
        let number = match *name {
            "limit" | "from" | "to" | "until" => true,
            // Alone it is a date.
            "since" => query.contains(&"until"),
            _ => false,
        };
        let kind = if number { "integer" } else { "string" };
        parameters.push(json!({"name": name, "in": "query", "schema": {"type": kind}}));
    }
    parameters
}

fn responses(route: &Route, shape: &schemas::Shape) -> Value {
    let mut responses = Object::new();
    let mut success = json!({"description": shape.summary});
    if let Some((kind, schema)) = shape.response {
        success["content"] = json!({kind: {"schema": schemas::reference(schema)}});
    }
    for status in shape.statuses {
        responses.insert(status.to_string(), success.clone());
    }
    let mut refuse = |status: &str, why: &str| {
        responses.insert(status.to_owned(), json!({"description": why}));
    };
    refuse("401", "The token is missing or not valid.");
    if !matches!(route.guard, Guard::Open | Guard::Authenticated) {
        refuse("403", "The caller is known and may not.");
    }
    if route.path.contains('{') {
        refuse("404", "There is no such thing.");
    }
    if route.rejects_archived || route.action == Action::CreateJobBuild {
        refuse("409", "The pipeline is archived, or the job does not allow this.");
    }
    if matches!(route.action, Action::GrantApproval | Action::DenyApproval) {
        refuse("409", "It waits no more, or the caller has answered otherwise before.");
    }
    if takes_remote_workers(route.action) {
        responses.retain(|status, _| !status.starts_with('2'));
        let why = "Containers run where the server says; no worker registers from outside.";
        responses.insert("501".to_owned(), json!({"description": why}));
    }
    Value::Object(responses)
}

/// Routes for workers on other machines, of which this server has none.
fn takes_remote_workers(action: Action) -> bool {
    matches!(
        action,
        Action::RegisterWorker
            | Action::HeartbeatWorker
            | Action::LandWorker
            | Action::RetireWorker
            | Action::DeleteWorker
            | Action::ReportWorkerContainers
            | Action::ReportWorkerVolumes
    )
}
