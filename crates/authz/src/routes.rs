//! Every route of the API in one table: what it is called, where it lives and who may use it.
//!
//! The columns are: action, method, where the path starts, the rest of the path, the guard, the
//! least role on the team (`None`: no role but an administrator's is enough where a role is asked
//! for), and whether the route is refused for archived pipelines.

use crate::{Guard, Role};

/// The HTTP methods that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
}

impl Method {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub action: Action,
    pub method: Method,
    /// Parameters are whole segments in braces.
    pub path: &'static str,
    pub guard: Guard,
    /// The least role, unless the operator of the server sets another one.
    pub role: Option<Role>,
    /// The route answers 409 when its pipeline is archived, before it asks who is calling.
    pub rejects_archived: bool,
}

macro_rules! base {
    (site) => { "" };
    (api) => { "/api/v1" };
    (team) => { "/api/v1/teams/{team_name}" };
    (pipeline) => { "/api/v1/teams/{team_name}/pipelines/{pipeline_name}" };
    (job) => { "/api/v1/teams/{team_name}/pipelines/{pipeline_name}/jobs/{job_name}" };
    (resource) => {
        "/api/v1/teams/{team_name}/pipelines/{pipeline_name}/resources/{resource_name}"
    };
    (version) => {
        "/api/v1/teams/{team_name}/pipelines/{pipeline_name}/resources/{resource_name}/versions/{resource_config_version_id}"
    };
}

macro_rules! role {
    (None) => {
        None
    };
    ($role:ident) => {
        Some(Role::$role)
    };
}

macro_rules! archived {
    () => {
        false
    };
    (unless_archived) => {
        true
    };
}

macro_rules! routes {
    ($($action:ident $method:ident $base:ident $path:literal $guard:ident $role:ident $($archived:ident)?;)*) => {
        /// What a route does, under the name that `--config-rbac` knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($action,)*
        }

        impl Action {
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$action => stringify!($action),)*
                }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($action) => Some(Self::$action),)*
                    _ => None,
                }
            }

            /// The action's row.
            pub fn route(self) -> &'static Route {
                &ROUTES[self as usize]
            }
        }

        /// All routes, in the order of [`Action`].
        pub static ROUTES: [Route; 118] = [
            $(Route {
                action: Action::$action,
                method: Method::$method,
                path: concat!(base!($base), $path),
                guard: Guard::$guard,
                role: role!($role),
                rejects_archived: archived!($($archived)?),
            },)*
        ];
    };
}

routes! {
    SaveConfig                     Put    pipeline "/config"                                          Team               Member;
    GetConfig                      Get    pipeline "/config"                                          Team               Viewer;
    CreateBuild                    Post   team     "/builds"                                          Team               Member;
    ListBuilds                     Get    api      "/builds"                                          Open               Viewer;
    GetBuild                       Get    api      "/builds/{build_id}"                               BuildRead          Viewer;
    GetBuildPlan                   Get    api      "/builds/{build_id}/plan"                          BuildReadPublicJob Viewer;
    BuildEvents                    Get    api      "/builds/{build_id}/events"                        BuildReadPublicJob Viewer;
    BuildTranscript                Get    api      "/builds/{build_id}/transcript"                    BuildReadPublicJob Viewer;
    BuildAgentUsage                Get    api      "/builds/{build_id}/agent-usage"                   BuildReadPublicJob Viewer;
    BuildResources                 Get    api      "/builds/{build_id}/resources"                     BuildRead          Viewer;
    AbortBuild                     Put    api      "/builds/{build_id}/abort"                         BuildWrite         Operator;
    GetBuildPreparation            Get    api      "/builds/{build_id}/preparation"                   BuildReadPublicJob Viewer;
    ListBuildArtifacts             Get    api      "/builds/{build_id}/artifacts"                     BuildReadPublicJob Viewer;
    ListBuildPods                  Get    api      "/builds/{build_id}/pods"                          BuildWrite         Viewer;
    WatchBuildPods                 Get    api      "/builds/{build_id}/pods/watch"                    BuildWrite         Viewer;
    ListBuildApprovals             Get    api      "/builds/{build_id}/approvals"                     BuildWrite         Viewer;
    GrantApproval                  Put    api      "/builds/{build_id}/approvals/{approval_id}/approve" BuildWrite       Viewer;
    DenyApproval                   Put    api      "/builds/{build_id}/approvals/{approval_id}/deny"  BuildWrite         Viewer;
    ListApprovals                  Get    api      "/approvals"                                       AnyTeam            Viewer;
    SetBuildComment                Put    api      "/builds/{build_id}/comment"                       BuildWrite         Operator;
    ListAllJobs                    Get    api      "/jobs"                                            Open               Viewer;
    ListJobs                       Get    pipeline "/jobs"                                            Pipeline           Viewer;
    GetJob                         Get    job      ""                                                 Pipeline           Viewer;
    ListJobBuilds                  Get    job      "/builds"                                          Pipeline           Viewer;
    JobAgentUsage                  Get    job      "/agent-usage"                                     Pipeline           Viewer;
    CreateJobBuild                 Post   job      "/builds"                                          Team               Operator unless_archived;
    RerunJobBuild                  Post   job      "/builds/{build_name}"                             Team               Operator unless_archived;
    ListJobInputs                  Get    job      "/inputs"                                          Team               Viewer;
    GetJobBuild                    Get    job      "/builds/{build_name}"                             Pipeline           Viewer;
    PauseJob                       Put    job      "/pause"                                           Team               Operator;
    UnpauseJob                     Put    job      "/unpause"                                         Team               Operator;
    ScheduleJob                    Put    job      "/schedule"                                        Team               Operator unless_archived;
    JobBadge                       Get    job      "/badge"                                           Pipeline           Viewer;
    MainJobBadge                   Get    api      "/pipelines/{pipeline_name}/jobs/{job_name}/badge" Open               Viewer;
    ClearTaskCache                 Delete job      "/tasks/{step_name}/cache"                         Team               Operator;
    ListAllPipelines               Get    api      "/pipelines"                                       Open               Viewer;
    ListPipelines                  Get    team     "/pipelines"                                       Open               Viewer;
    GetPipeline                    Get    pipeline ""                                                 Pipeline           Viewer;
    DeletePipeline                 Delete pipeline ""                                                 Team               Member;
    OrderPipelines                 Put    team     "/pipelines/ordering"                              Team               Member;
    OrderPipelinesWithinGroup      Put    pipeline "/ordering"                                        Team               Member;
    PausePipeline                  Put    pipeline "/pause"                                           Team               Operator unless_archived;
    ArchivePipeline                Put    pipeline "/archive"                                         Team               Member;
    UnpausePipeline                Put    pipeline "/unpause"                                         Team               Operator unless_archived;
    ExposePipeline                 Put    pipeline "/expose"                                          Team               Member;
    HidePipeline                   Put    pipeline "/hide"                                            Team               Member;
    GetVersionsDB                  Get    pipeline "/versions-db"                                     Team               Viewer;
    RenamePipeline                 Put    pipeline "/rename"                                          Team               Member;
    ListPipelineBuilds             Get    pipeline "/builds"                                          Pipeline           Viewer;
    CreatePipelineBuild            Post   pipeline "/builds"                                          Team               Member;
    PipelineBadge                  Get    pipeline "/badge"                                           Pipeline           Viewer;
    ListAllResources               Get    api      "/resources"                                       Open               Viewer;
    ListResources                  Get    pipeline "/resources"                                       Pipeline           Viewer;
    ListSharedForResource          Get    resource "/shared"                                          Admin              None;
    ListSharedForResourceType      Get    pipeline "/resource-types/{resource_type_name}/shared"      Admin              None;
    ListResourceTypes              Get    pipeline "/resource-types"                                  Pipeline           Viewer;
    GetResource                    Get    resource ""                                                 Pipeline           Viewer;
    CheckResource                  Post   resource "/check"                                           Team               Operator unless_archived;
    CheckResourceWebHook           Post   resource "/check/webhook"                                   Open               Operator;
    CheckResourceType              Post   pipeline "/resource-types/{resource_type_name}/check"       Team               Operator unless_archived;
    CheckPrototype                 Post   pipeline "/prototypes/{prototype_name}/check"               Team               Operator unless_archived;
    ClearResourceCache             Delete resource "/cache"                                           Team               Operator;
    ListResourceVersions           Get    resource "/versions"                                        Pipeline           Viewer;
    ClearResourceVersions          Delete resource "/versions"                                        Admin              None;
    ClearResourceTypeVersions      Delete pipeline "/resource-types/{resource_type_name}/versions"    Admin              None;
    GetResourceVersion             Get    version  ""                                                 Pipeline           Viewer;
    EnableResourceVersion          Put    version  "/enable"                                          Team               Operator unless_archived;
    DisableResourceVersion         Put    version  "/disable"                                         Team               Operator unless_archived;
    PinResourceVersion             Put    version  "/pin"                                             Team               Operator unless_archived;
    UnpinResource                  Put    resource "/unpin"                                           Team               Operator unless_archived;
    SetPinCommentOnResource        Put    resource "/pin_comment"                                     Team               Operator unless_archived;
    ListBuildsWithVersionAsInput   Get    version  "/input_to"                                        Pipeline           Viewer;
    ListBuildsWithVersionAsOutput  Get    version  "/output_of"                                       Pipeline           Viewer;
    GetDownstreamResourceCausality Get    version  "/downstream"                                      Pipeline           Viewer;
    GetUpstreamResourceCausality   Get    version  "/upstream"                                        Pipeline           Viewer;
    GetCC                          Get    team     "/cc.xml"                                          Open               Viewer;
    ListWorkers                    Get    api      "/workers"                                         AnyTeam            Viewer;
    RegisterWorker                 Post   api      "/workers"                                         System             Member;
    LandWorker                     Put    api      "/workers/{worker_name}/land"                      Worker             Member;
    RetireWorker                   Put    api      "/workers/{worker_name}/retire"                    Worker             Member;
    PruneWorker                    Put    api      "/workers/{worker_name}/prune"                     Worker             Member;
    HeartbeatWorker                Put    api      "/workers/{worker_name}/heartbeat"                 System             Member;
    DeleteWorker                   Delete api      "/workers/{worker_name}"                           System             Member;
    GetLogLevel                    Get    api      "/log-level"                                       Admin              Viewer;
    SetLogLevel                    Put    api      "/log-level"                                       Admin              Member;
    DownloadCLI                    Get    api      "/cli"                                             Open               Viewer;
    GetInfo                        Get    api      "/info"                                            Open               Viewer;
    GetInfoCreds                   Get    api      "/info/creds"                                      Admin              Viewer;
    GetHealth                      Get    api      "/health"                                          Open               None;
    GetUser                        Get    api      "/user"                                            Authenticated      None;
    ListActiveUsersSince           Get    api      "/users"                                           Admin              None;
    ListDestroyingContainers       Get    api      "/containers/destroying"                           Worker             Viewer;
    ReportWorkerContainers         Put    api      "/containers/report"                               Worker             Member;
    ListContainers                 Get    team     "/containers"                                      Team               Viewer;
    GetContainer                   Get    team     "/containers/{id}"                                 Team               Viewer;
    HijackContainer                Get    team     "/containers/{id}/hijack"                          Team               Member;
    ListVolumes                    Get    team     "/volumes"                                         Team               Viewer;
    ListDestroyingVolumes          Get    api      "/volumes/destroying"                              Worker             Viewer;
    ReportWorkerVolumes            Put    api      "/volumes/report"                                  Worker             Member;
    ListTeams                      Get    api      "/teams"                                           Open               Viewer;
    GetTeam                        Get    team     ""                                                 Team               Viewer;
    SetTeam                        Put    team     ""                                                 Team               Owner;
    RenameTeam                     Put    team     "/rename"                                          Team               Owner;
    DestroyTeam                    Delete team     ""                                                 Admin              Owner;
    ListTeamBuilds                 Get    team     "/builds"                                          Team               Viewer;
    TeamAgentUsage                 Get    team     "/agent-usage"                                     Team               Viewer;
    CreateArtifact                 Post   team     "/artifacts"                                       Team               Member;
    GetArtifact                    Get    team     "/artifacts/{artifact_id}"                         Team               Member;
    GetWall                        Get    api      "/wall"                                            Open               Viewer;
    SetWall                        Put    api      "/wall"                                            Admin              None;
    ClearWall                      Delete api      "/wall"                                            Admin              None;
    GetOpenIDConfiguration         Get    site     "/.well-known/openid-configuration"                Open               None;
    GetSigningKeys                 Get    site     "/.well-known/jwks.json"                           Open               None;
    GetComponents                  Get    api      "/components"                                      Admin              None;
    PauseAllComponents             Put    api      "/components/pause"                                Admin              None;
    UnpauseAllComponents           Put    api      "/components/unpause"                              Admin              None;
    PauseComponent                 Put    api      "/components/{component_name}/pause"               Admin              None;
    UnpauseComponent               Put    api      "/components/{component_name}/unpause"             Admin              None;
}
