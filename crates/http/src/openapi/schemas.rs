//! What each route takes and gives.

use jb_authz::Action;
use jb_model::{Object, Value};
use serde_json::json;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const TAR: &str = "application/octet-stream";

/// A route's request and responses.
pub(crate) struct Shape {
    pub(crate) summary: &'static str,
    pub(crate) query: &'static [&'static str],
    /// Media type and schema of the request's body.
    pub(crate) request: Option<(&'static str, &'static str)>,
    /// The statuses of success.
    pub(crate) statuses: &'static [u16],
    /// Media type and schema of their body.
    pub(crate) response: Option<(&'static str, &'static str)>,
}

const PAGE: &[&str] = &["limit", "from", "to", "timestamps"];

/// Seconds since the epoch: from when, and until before when, steps began to use a model.
const PERIOD: &[&str] = &["since", "until"];

/// Does something and says no more than that it worked.
const fn act(summary: &'static str) -> Shape {
    Shape { summary, query: &[], request: None, statuses: &[200], response: None }
}

const fn get(summary: &'static str, schema: &'static str) -> Shape {
    Shape { response: Some((JSON, schema)), ..act(summary) }
}

const fn send(summary: &'static str, request: &'static str) -> Shape {
    Shape { request: Some((JSON, request)), ..act(summary) }
}

impl Shape {
    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    const fn gives(self, statuses: &'static [u16], schema: &'static str) -> Self {
        Self { statuses, response: Some((JSON, schema)), ..self }
    }

    const fn says(self, statuses: &'static [u16]) -> Self {
        Self { statuses, ..self }
    }
}

/// A new route does not compile without an entry here.
#[expect(clippy::too_many_lines, reason = "one entry per route")]
pub(crate) fn shape(action: Action) -> Shape {
    match action {
        Action::SaveConfig => Shape {
            request: Some(("application/x-yaml", "PipelineConfig")),
            ..get("Set a pipeline", "SaveConfigResponse")
        }
        .query(&["check_creds"])
        .gives(&[200, 201], "SaveConfigResponse"),
        Action::GetConfig => get("A pipeline's configuration", "ConfigResponse"),
        Action::CreateBuild => {
            send("Start a one-off build of a plan", "Plan").gives(&[201], "Build")
        }
        Action::ListBuilds => get("Builds of all teams", "Builds").query(PAGE),
        Action::GetBuild => get("A build", "Build"),
        Action::GetBuildPlan => get("A build's plan, without secrets", "PublicPlan"),
        Action::BuildEvents => Shape {
            response: Some(("text/event-stream", "EventStream")),
            ..act("A build's events as they happen")
        },
        Action::BuildTranscript => Shape {
            response: Some(("text/event-stream", "TranscriptStream")),
            ..act("What a build's agents say and do, as it happens")
        },
        Action::BuildAgentUsage => get("What a build's agents used of models", "BuildAgentUsage"),
        Action::BuildResources => get("The versions a build used and made", "BuildResources"),
        Action::AbortBuild => act("Stop a build").query(&["force"]).says(&[204]),
        Action::GetBuildPreparation => get("What a build waits for", "BuildPreparation"),
        Action::ListBuildArtifacts => get("A build's artifacts", "Artifacts"),
        Action::ListBuildPods => get("The pods in which a build's steps run", "Pods"),
        Action::WatchBuildPods => Shape {
            response: Some(("text/event-stream", "EventStream")),
            ..act("A build's pods as they change: each event has all of them")
        },
        Action::ListBuildApprovals => get("What a build asked people", "Approvals"),
        Action::GrantApproval => send("Approve", "AnswerRequest").gives(&[200], "Approval"),
        Action::DenyApproval => send("Reject", "AnswerRequest").gives(&[200], "Approval"),
        Action::ListApprovals => get("What waits for people, oldest first", "Approvals"),
        Action::SetBuildComment => send("Comment a build", "Comment"),
        Action::ListAllJobs => get("Jobs of all teams", "JobSummaries"),
        Action::ListJobs => get("A pipeline's jobs", "JobSummaries"),
        Action::GetJob => get("A job", "Job"),
        Action::ListJobBuilds => get("A job's builds", "Builds").query(PAGE),
        Action::JobAgentUsage => {
            get("What the agents of a job's builds used of models", "JobAgentUsage").query(PERIOD)
        }
        Action::CreateJobBuild => get("Trigger a job", "Build"),
        Action::RerunJobBuild => get("Run a build again with the same inputs", "Build"),
        Action::ListJobInputs => get("The inputs of a job's next build", "BuildInputs"),
        Action::GetJobBuild => get("A job's build by name", "Build"),
        Action::PauseJob => act("Pause a job"),
        Action::UnpauseJob => act("Unpause a job"),
        Action::ScheduleJob => act("Ask for a job to be scheduled"),
        Action::JobBadge | Action::PipelineBadge => {
            Shape { response: Some(("image/svg+xml", "Text")), ..act("A badge") }.query(&["title"])
        }
        Action::MainJobBadge => act("The badge of a job of the main team").says(&[301]),
        Action::ClearTaskCache => {
            get("Clear a task's caches", "CachesRemoved").query(&["cache_path"])
        }
        Action::ListAllPipelines => get("Pipelines of all teams", "Pipelines"),
        Action::ListPipelines => get("A team's pipelines", "Pipelines"),
        Action::GetPipeline => get("A pipeline", "Pipeline"),
        Action::DeletePipeline => act("Destroy a pipeline").says(&[204]),
        Action::OrderPipelines => send("Order a team's pipelines", "Names"),
        Action::OrderPipelinesWithinGroup => send("Order a pipeline's instances", "InstanceVars"),
        Action::PausePipeline => act("Pause a pipeline"),
        Action::ArchivePipeline => act("Archive a pipeline"),
        Action::UnpausePipeline => act("Unpause a pipeline"),
        Action::ExposePipeline => act("Make a pipeline public"),
        Action::HidePipeline => act("Make a pipeline private"),
        Action::GetVersionsDB => get("A dump of versions for debugging", "VersionsDB"),
        Action::RenamePipeline => {
            send("Rename a pipeline", "NewName").gives(&[200], "SaveConfigResponse")
        }
        Action::ListPipelineBuilds => get("A pipeline's builds", "Builds").query(PAGE),
        Action::CreatePipelineBuild => {
            send("Start a one-off build in a pipeline", "Plan").gives(&[201], "Build")
        }
        Action::ListAllResources => get("Resources of all teams", "Resources"),
        Action::ListResources => get("A pipeline's resources", "Resources"),
        Action::ListSharedForResource => get("Who shares a resource's versions", "Shared"),
        Action::ListSharedForResourceType => get("Who shares a type's versions", "Shared"),
        Action::ListResourceTypes => get("A pipeline's resource types", "Objects"),
        Action::GetResource => get("A resource", "Resource"),
        Action::CheckResource => send("Check a resource", "Check").gives(&[201], "Build"),
        Action::CheckResourceWebHook => {
            act("Check a resource, for a forge").query(&["webhook_token"]).gives(&[201], "Build")
        }
        Action::CheckResourceType => send("Check a resource type", "Check").gives(&[201], "Build"),
        Action::CheckPrototype => send("Check a prototype", "Check").gives(&[201], "Build"),
        Action::ClearResourceCache => {
            send("Clear a resource's caches", "VersionBody").gives(&[200], "CachesRemoved")
        }
        Action::ListResourceVersions => get("A resource's versions", "ResourceVersions")
            .query(&["limit", "from", "to", "filter"]),
        Action::ClearResourceVersions => get("Forget a resource's versions", "VersionsRemoved"),
        Action::ClearResourceTypeVersions => get("Forget a type's versions", "VersionsRemoved"),
        Action::GetResourceVersion => get("A version", "ResourceVersion"),
        Action::EnableResourceVersion => act("Enable a version"),
        Action::DisableResourceVersion => act("Disable a version"),
        Action::PinResourceVersion => act("Pin a version"),
        Action::UnpinResource => act("Unpin a resource"),
        Action::SetPinCommentOnResource => send("Comment a pin", "PinComment"),
        Action::ListBuildsWithVersionAsInput => get("Builds that used a version", "Builds"),
        Action::ListBuildsWithVersionAsOutput => get("Builds that made a version", "Builds"),
        Action::GetDownstreamResourceCausality => get("What a version led to", "Causality"),
        Action::GetUpstreamResourceCausality => get("What a version came from", "Causality"),
        Action::GetCC => {
            Shape { response: Some(("application/xml", "Text")), ..act("Jobs for build monitors") }
        }
        Action::ListWorkers => get("Workers", "Workers"),
        Action::RegisterWorker => act("Register a worker"),
        Action::LandWorker => act("Let a worker finish its work"),
        Action::RetireWorker => act("Retire a worker"),
        Action::PruneWorker => act("Forget a worker"),
        Action::HeartbeatWorker => act("Keep a worker registered"),
        Action::DeleteWorker => act("Remove a worker"),
        Action::GetLogLevel => {
            Shape { response: Some((TEXT, "LogLevel")), ..act("How much the server logs") }
        }
        Action::SetLogLevel => {
            Shape { request: Some((TEXT, "LogLevel")), ..act("Set how much the server logs") }
        }
        Action::DownloadCLI => act("The command line client").query(&["platform", "arch"]),
        Action::GetInfo => get("The server's version and features", "Info"),
        Action::GetInfoCreds => get("The configured credential managers", "Object"),
        Action::GetHealth => get("How the server is", "Health").gives(&[200, 503], "Health"),
        Action::GetUser => get("The caller", "UserInfo"),
        Action::ListActiveUsersSince => get("Who logged in", "Users").query(&["since"]),
        Action::ListDestroyingContainers => {
            get("Containers a worker shall destroy", "Names").query(&["worker_name"])
        }
        Action::ReportWorkerContainers => {
            send("Report a worker's containers", "Names").says(&[204])
        }
        Action::ListContainers => get("A team's containers", "Containers").query(&[
            "type",
            "step_name",
            "attempt",
            "pipeline_name",
            "job_name",
            "build_name",
            "resource_name",
            "pipeline_id",
            "job_id",
            "build_id",
        ]),
        Action::GetContainer => get("A container", "Container"),
        Action::HijackContainer => act("A process in a container, over a WebSocket").says(&[101]),
        Action::ListVolumes => get("A team's volumes", "Objects"),
        Action::ListDestroyingVolumes => {
            get("Volumes a worker shall destroy", "Names").query(&["worker_name"])
        }
        Action::ReportWorkerVolumes => send("Report a worker's volumes", "Names").says(&[204]),
        Action::ListTeams => get("The caller's teams", "Teams"),
        Action::GetTeam => get("A team", "Team"),
        Action::SetTeam => {
            send("Create or change a team", "TeamAuth").gives(&[200, 201], "TeamResponse")
        }
        Action::RenameTeam => send("Rename a team", "NewName").gives(&[200], "SaveConfigResponse"),
        Action::DestroyTeam => act("Destroy a team").says(&[204]),
        Action::TeamAgentUsage => {
            get("What a team's agents used of models", "TeamAgentUsage").query(PERIOD)
        }
        Action::ListTeamBuilds => get("A team's builds", "Builds").query(PAGE),
        Action::CreateArtifact => Shape {
            request: Some((TAR, "Binary")),
            ..get("Upload an artifact: a gzipped tar archive", "Artifact")
        }
        .query(&["platform", "tags"])
        .says(&[201]),
        Action::GetArtifact => Shape {
            response: Some((TAR, "Binary")),
            ..act("Download an artifact: a gzipped tar archive")
        },
        Action::GetWall => get("The message for everyone", "Wall"),
        Action::SetWall => send("Set the message for everyone", "Wall"),
        Action::ClearWall => act("Remove the message for everyone"),
        Action::GetOpenIDConfiguration => {
            get("Where identity tokens come from", "OpenIDConfiguration")
        }
        Action::GetSigningKeys => get("The keys of identity tokens", "KeySet"),
        Action::GetComponents => get("The server's periodic parts", "Components"),
        Action::PauseAllComponents => act("Pause all components"),
        Action::UnpauseAllComponents => act("Unpause all components"),
        Action::PauseComponent => act("Pause a component"),
        Action::UnpauseComponent => act("Unpause a component"),
    }
}

/// Routes beside the API's own table.
pub(crate) fn beside() -> [(&'static str, &'static str, Value); 5] {
    let text = |summary: &str, status: &str| {
        json!({
            "summary": summary,
            "tags": ["system"],
            "responses": {status: {"description": summary, "content": {"text/plain": {}}}},
        })
    };
    let token = json!({
        "summary": "A token for a name and a password",
        "tags": ["login"],
        "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {
            "type": "object",
            "properties": {
                "grant_type": {"const": "password"},
                "username": {"type": "string"},
                "password": {"type": "string"},
                "scope": {"type": "string"},
            },
        }}}},
        "responses": {
            "200": {"description": "A token."},
            "401": {"description": "The client, the name or the password is wrong."},
            "429": {"description": "Too many failed logins."},
        },
    });
    [
        ("/healthz", "get", text("The process answers", "200")),
        ("/readyz", "get", text("The store answers", "200")),
        ("/sky/issuer/token", "post", token),
        ("/sky/login", "get", text("Log in with a browser", "307")),
        ("/sky/logout", "get", text("Log out of a browser", "200")),
    ]
}

pub(crate) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// A schema in short: `name: type`, a list as `[type]`, another schema by its name; `?` for what may be missing.
const OBJECTS: &[(&str, &str)] = &[
    (
        "Build",
        "id: integer, team_name: string, name: string, status: BuildStatus, api_url: string, \
         comment?: string, job_name?: string, resource_name?: string, pipeline_id?: integer, \
         pipeline_name?: string, pipeline_instance_vars?: Object, start_time?: integer, \
         end_time?: integer, reap_time?: integer, rerun_number?: integer, rerun_of?: RerunOf, \
         created_by?: string",
    ),
    ("RerunOf", "id: integer, name: string"),
    (
        "BuildSummary",
        "id: integer, name: string, status: BuildStatus, start_time?: integer, \
         end_time?: integer, team_name: string, pipeline_id: integer, pipeline_name: string, \
         pipeline_instance_vars?: Object, job_name?: string, plan?: Object",
    ),
    (
        "JobSummary",
        "id: integer, name: string, team_name: string, pipeline_id: integer, \
         pipeline_name: string, pipeline_instance_vars?: Object, paused?: boolean, \
         paused_by?: string, paused_at?: integer, has_new_inputs?: boolean, groups?: [string], \
         finished_build?: BuildSummary, next_build?: BuildSummary, \
         transition_build?: BuildSummary, inputs?: [JobInput], outputs?: [JobOutput]",
    ),
    (
        "Job",
        "id: integer, name: string, team_name: string, pipeline_id: integer, \
         pipeline_name: string, pipeline_instance_vars?: Object, paused?: boolean, \
         paused_by?: string, paused_at?: integer, has_new_inputs?: boolean, groups?: [string], \
         first_logged_build_id?: integer, disable_manual_trigger?: boolean, \
         disable_reruns?: boolean, next_build: Build, finished_build: Build, \
         transition_build?: Build, inputs?: [JobInput], outputs?: [JobOutput]",
    ),
    ("JobInput", "name: string, resource: string, passed?: [string], trigger?: boolean"),
    ("JobOutput", "name: string, resource: string"),
    (
        "BuildInput",
        "name: string, resource: string, type: string, source: Object, params?: Object, \
         version: Version, tags?: [string]",
    ),
    (
        "Approval",
        "id: integer, name: string, message?: string, status: string, quorum: integer, \
         roles: [string], users: [string], groups: [string], artifacts: [ApprovalArtifact], \
         answers: [ApprovalAnswer], may_answer: boolean, build_id: integer, build_name: string, \
         plan_id: string, call_id?: string, team_name: string, pipeline_id?: integer, pipeline_name?: string, \
         pipeline_instance_vars?: Object, job_name?: string, asked_by?: string, \
         asked_at: integer, expires_at?: integer, ended_at?: integer",
    ),
    ("ApprovalArtifact", "id: integer, name: string"),
    ("ApprovalAnswer", "name: string, approves: boolean, comment?: string, answered_at: integer"),
    ("AnswerRequest", "comment?: string"),
    (
        "AgentUsage",
        "turns: integer, input_tokens: integer, output_tokens: integer, \
         cache_read_tokens: integer, cache_write_tokens: integer, cost_micros: integer",
    ),
    ("BuildAgentUsage", "total: AgentUsage, steps: [StepAgentUsage]"),
    (
        "StepAgentUsage",
        "plan_id: string, name: string, model: string, turns: integer, input_tokens: integer, output_tokens: integer, \
         cache_read_tokens: integer, cache_write_tokens: integer, cost_micros: integer",
    ),
    ("JobAgentUsage", "total: AgentUsage, builds: [OneBuildAgentUsage]"),
    (
        "OneBuildAgentUsage",
        "build_id: integer, build_name?: string, turns: integer, input_tokens: integer, output_tokens: integer, \
         cache_read_tokens: integer, cache_write_tokens: integer, cost_micros: integer",
    ),
    ("TeamAgentUsage", "total: AgentUsage, jobs: [OneJobAgentUsage]"),
    (
        "OneJobAgentUsage",
        "pipeline_id?: integer, pipeline_name?: string, pipeline_instance_vars?: Object, \
         job_name?: string, turns: integer, input_tokens: integer, output_tokens: integer, \
         cache_read_tokens: integer, cache_write_tokens: integer, cost_micros: integer",
    ),
    ("BuildResources", "inputs: [BuildResourceInput], outputs: [BuildResourceOutput]"),
    (
        "BuildResourceInput",
        "name: string, version: Version, pipeline_id: integer, first_occurrence: boolean",
    ),
    ("BuildResourceOutput", "name: string, version: Version"),
    (
        "BuildPreparation",
        "build_id: integer, paused_pipeline: string, paused_job: string, \
         max_running_builds: string, inputs: Object, inputs_satisfied: string, \
         missing_input_reasons: Object",
    ),
    ("Artifact", "id: integer, name: string, build_id: integer, created_at: integer"),
    (
        "Pipeline",
        "id: integer, name: string, instance_vars?: Object, paused: boolean, \
         paused_by?: string, paused_at?: integer, public: boolean, archived: boolean, \
         groups?: [Group], team_name: string, display?: Object, user_data?: Object, \
         parent_build_id?: integer, parent_job_id?: integer, last_updated?: integer",
    ),
    ("Group", "name: string, jobs?: [string], resources?: [string]"),
    (
        "Resource",
        "name: string, pipeline_id: integer, pipeline_name: string, \
         pipeline_instance_vars?: Object, team_name: string, type: string, \
         last_checked?: integer, icon?: string, pinned_version?: Version, \
         pinned_in_config?: boolean, pin_comment?: string, build?: BuildSummary",
    ),
    (
        "ResourceVersion",
        "id: integer, metadata?: [MetadataField], version: Version, enabled: boolean",
    ),
    ("MetadataField", "name: string, value: string"),
    (
        "Causality",
        "jobs: [CausalityJob], builds: [CausalityBuild], resources: [CausalityResource], \
         resource_versions: [CausalityVersion]",
    ),
    ("CausalityJob", "id: integer, name: string, build_ids?: [integer]"),
    (
        "CausalityBuild",
        "id: integer, name: string, job_id: integer, status: BuildStatus, \
         resource_version_ids?: [integer]",
    ),
    ("CausalityResource", "id: integer, name: string, version_ids?: [integer]"),
    (
        "CausalityVersion",
        "id: integer, resource_id: integer, version: Version, build_ids?: [integer]",
    ),
    (
        "VersionsDB",
        "Jobs: [Object], Resources: [Object], ResourceVersions: [Object], \
         BuildOutputs: [Object], BuildInputs: [Object], BuildReruns: [Object]",
    ),
    ("Shared", "resources: [SharedBy], resource_types: [SharedBy]"),
    ("SharedBy", "name: string, pipeline_name: string, team_name: string"),
    (
        "Container",
        "id: string, worker_name: string, state?: string, type?: string, step_name?: string, \
         attempt?: string, pipeline_id?: integer, job_id?: integer, build_id?: integer, \
         pipeline_name?: string, pipeline_instance_vars?: Object, job_name?: string, \
         build_name?: string, user?: string, working_directory?: string, expires_in?: string",
    ),
    (
        "Pod",
        "name: string, namespace: string, container_id: string, type: string, step_name: string, \
         attempt?: string, phase: string, reason?: string, message?: string, node?: string, \
         created_at?: integer, scheduled_at?: integer, started_at?: integer, ready_at?: integer, \
         finished_at?: integer, containers: [PodContainer]",
    ),
    (
        "PodContainer",
        "name: string, image: string, init: boolean, state: string, reason?: string, \
         message?: string, restarts: integer, exit_code?: integer, started_at?: integer, \
         finished_at?: integer",
    ),
    (
        "Worker",
        "addr: string, baggageclaim_url: string, active_containers: integer, \
         active_volumes: integer, active_tasks: integer, max_active_tasks: integer, \
         resource_types: [Object], platform: string, team: string, name: string, \
         version: string, start_time: integer, ephemeral: boolean, state: string",
    ),
    ("Team", "id?: integer, name?: string, auth?: Object"),
    ("TeamAuth", "auth: Object"),
    ("TeamResponse", "errors?: [string], warnings?: [Warning], team: Team"),
    (
        "Info",
        "version: string, worker_version: string, feature_flags: Object, \
         external_url?: string, cluster_name?: string",
    ),
    (
        "UserInfo",
        "sub: string, name: string, user_id: string, user_name: string, email: string, \
         is_admin: boolean, is_system: boolean, teams: Object, connector: string, \
         display_user_id: string",
    ),
    ("User", "id?: integer, username?: string, connector?: string, last_login?: integer"),
    ("Wall", "message?: string, TTL?: integer"),
    ("Component", "name: string, interval: integer, last_ran: string, paused: boolean"),
    (
        "Health",
        "status: string, timestamp: string, database: Object, workers: Object, \
         components: [Object]",
    ),
    (
        "OpenIDConfiguration",
        "issuer: string, jwks_uri: string, claims_supported: [string], \
         response_types_supported: [string], id_token_signing_alg_values_supported: [string], \
         subject_types_supported: [string]",
    ),
    ("KeySet", "keys: [Object]"),
    ("Warning", "type: string, message: string"),
    ("SaveConfigResponse", "errors?: [string], warnings?: [Warning]"),
    ("ConfigResponse", "config: PipelineConfig"),
    ("PublicPlan", "schema: string, plan: Object"),
    ("NewName", "name: string"),
    ("Comment", "comment: string"),
    ("PinComment", "pin_comment: string"),
    ("Check", "from?: Version, shallow?: boolean"),
    ("VersionBody", "version?: Version"),
    ("CachesRemoved", "caches_removed: integer"),
    ("VersionsRemoved", "versions_removed: integer"),
];

/// Lists, and what is not an object with fixed fields.
fn others() -> Vec<(&'static str, Value)> {
    let list = |of: &str| json!({"type": "array", "items": kind(of)});
    let statuses = ["pending", "started", "succeeded", "failed", "errored", "aborted"];
    vec![
        ("Builds", list("Build")),
        ("BuildInputs", list("BuildInput")),
        ("Approvals", list("Approval")),
        ("Artifacts", list("Artifact")),
        ("JobSummaries", list("JobSummary")),
        ("Pipelines", list("Pipeline")),
        ("Resources", list("Resource")),
        ("ResourceVersions", list("ResourceVersion")),
        ("Containers", list("Container")),
        ("Pods", list("Pod")),
        ("Workers", list("Worker")),
        ("Teams", list("Team")),
        ("Users", list("User")),
        ("Components", list("Component")),
        ("Names", list("string")),
        ("Objects", list("Object")),
        ("InstanceVars", list("Object")),
        ("Object", json!({"type": "object"})),
        ("Plan", json!({"type": "object", "description": "A plan node with all its details."})),
        ("PipelineConfig", json!({"type": "object", "description": "A pipeline's file."})),
        ("Version", json!({"type": "object", "additionalProperties": {"type": "string"}})),
        ("BuildStatus", json!({"type": "string", "enum": statuses})),
        ("LogLevel", json!({"type": "string", "enum": ["debug", "info", "error", "fatal"]})),
        ("Text", json!({"type": "string"})),
        ("EventStream", json!({"type": "string", "description": "Server-sent events."})),
        (
            "TranscriptStream",
            json!({
                "type": "string",
                "description": "Server-sent events of the type `transcript`, each with a TranscriptEntry; \
                    the last is of the type `end`. `Last-Event-ID` resumes after an entry.",
                "contentMediaType": "text/event-stream",
                "contentSchema": reference("TranscriptEntry"),
            }),
        ),
        ("TranscriptEntry", crate::openapi::transcript::entry()),
        ("Binary", json!({"type": "string", "contentEncoding": "binary"})),
    ]
}

fn kind(name: &str) -> Value {
    match name {
        "string" | "integer" | "boolean" => json!({"type": name}),
        name => reference(name),
    }
}

pub(crate) fn schemas() -> Value {
    let mut schemas = Object::new();
    for (name, fields) in OBJECTS {
        let mut properties = Object::new();
        let mut required = Vec::new();
        for field in fields.split(", ") {
            let Some((field, of)) = field.split_once(": ") else { continue };
            let schema = match of.strip_prefix('[').and_then(|of| of.strip_suffix(']')) {
                Some(of) => json!({"type": "array", "items": kind(of)}),
                None => kind(of),
            };
            let name = field.trim_end_matches('?');
            if name == field {
                required.push(name);
            }
            properties.insert(name.to_owned(), schema);
        }
        let schema = json!({"type": "object", "properties": properties, "required": required});
        schemas.insert((*name).to_owned(), schema);
    }
    schemas.extend(others().into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    Value::Object(schemas)
}
