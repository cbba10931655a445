//! Commands and flags. Names are Concourse's where Concourse has the flag.

use std::net::IpAddr;
use std::path::PathBuf;

use axum::http::HeaderValue;
use clap::{Args, Parser, Subcommand};
use jb_authz::Role;

use crate::agents::AgentOptions;

mod client;
mod kubernetes;

pub(crate) use client::{AnswerOptions, ApprovalsOptions, ServerOptions};
pub(crate) use kubernetes::{Detection, KubernetesOptions, PodSecurityLevel};

#[derive(Parser)]
#[command(
    name = "jetbridge",
    version,
    about = "Concourse pipelines and coding agents, on one machine or on Kubernetes",
    after_help = "Every flag of `web` can be given as JETBRIDGE_<FLAG> or CONCOURSE_<FLAG> in the environment."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve the API and run pipelines
    Web(Box<WebOptions>),
    /// Run one job of a pipeline file, without a server
    Run(Box<RunOptions>),
    /// List what builds ask people
    Approvals(ApprovalsOptions),
    /// Approve what a build asks
    Approve(AnswerOptions),
    /// Reject what a build asks
    Deny(AnswerOptions),
    /// Remove the containers, network and control groups that a stopped server left on this machine
    Clean(CleanOptions),
    /// Say what this machine offers for running containers, and what is missing
    Doctor(DoctorOptions),
}

#[derive(Args)]
pub(crate) struct StateOptions {
    /// Where the database, containers and volumes are kept [default: ~/.local/share/jetbridge, /var/lib/jetbridge as root]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Addresses for containers, an IPv4 network
    #[arg(long, value_name = "CIDR", default_value = "10.88.0.0/16")]
    pub local_network_pool: String,
    /// The worker's name [default: this machine's host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Args)]
pub(crate) struct WebOptions {
    #[command(flatten)]
    pub state: StateOptions,
    #[command(flatten)]
    pub listen: ListenOptions,
    #[command(flatten)]
    pub database: DatabaseOptions,
    #[command(flatten)]
    pub auth: AuthOptions,
    #[command(flatten)]
    pub builds: BuildOptions,
    #[command(flatten)]
    pub agents: AgentOptions,
    /// The least role on a team of who may bring in agents with `network: full`, by a pipeline or a one-off build: viewer,
    /// pipeline-operator, member or owner
    #[arg(long, value_name = "ROLE", default_value_t = Role::Owner)]
    pub agent_full_network_role: Role,
    #[command(flatten)]
    pub types: TypeOptions,
    #[command(flatten)]
    pub responses: ResponseOptions,
    #[command(flatten)]
    pub kubernetes: KubernetesOptions,
    #[command(flatten)]
    pub metrics: MetricsOptions,
    #[command(flatten)]
    pub traces: TraceOptions,
    /// Log lines as JSON instead of text
    #[arg(long)]
    pub log_json: bool,
    /// How much to log: error, warn, info, debug or trace; or by module, such as `warn,jb_engine=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
}

#[derive(Args)]
pub(crate) struct ListenOptions {
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind_ip: IpAddr,
    /// Port to listen on; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub bind_port: u16,
    /// Where people and webhooks reach this server [default: http://127.0.0.1:PORT]
    #[arg(long, value_name = "URL")]
    pub external_url: Option<String>,
    /// A name for this installation, shown to its users
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub cluster_name: String,
    /// Tell which builds and versions a version led to and came from; may be expensive for the database
    #[arg(long)]
    pub enable_resource_causality: bool,
}

#[derive(Args)]
pub(crate) struct DatabaseOptions {
    /// PostgreSQL server; SQLite in the state directory when neither host, socket nor user is given
    #[arg(long, value_name = "HOST")]
    pub postgres_host: Option<String>,
    /// PostgreSQL's port, also in the name of its socket
    #[arg(long, value_name = "PORT", default_value_t = 5432)]
    pub postgres_port: u16,
    /// A directory with PostgreSQL's socket, instead of a host
    #[arg(long, value_name = "DIR")]
    pub postgres_socket: Option<PathBuf>,
    /// Whom PostgreSQL knows this server as
    #[arg(long, value_name = "USER")]
    pub postgres_user: Option<String>,
    /// That user's password
    #[arg(long, value_name = "PASSWORD", hide_env_values = true)]
    pub postgres_password: Option<String>,
    /// The database to use; it has to exist
    #[arg(long, value_name = "NAME", default_value = "atc")]
    pub postgres_database: String,
    /// Whether to speak TLS with PostgreSQL, and what to verify
    #[arg(long, value_name = "MODE", default_value = "disable",
        value_parser = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])]
    pub postgres_sslmode: String,
    /// Encrypt sources, params and vars with this key, 16 or 32 characters long
    #[arg(long, value_name = "KEY", hide_env_values = true)]
    pub encryption_key: Option<String>,
    /// The key in use until now, when changing or removing it
    #[arg(long, value_name = "KEY", hide_env_values = true)]
    pub old_encryption_key: Option<String>,
}

#[derive(Args)]
pub(crate) struct AuthOptions {
    /// A local user as NAME:PASSWORD; the password may be a bcrypt hash
    #[arg(long, value_name = "NAME:PASSWORD", hide_env_values = true)]
    pub add_local_user: Vec<String>,
    /// A local user who owns the main team
    #[arg(long, value_name = "NAME")]
    pub main_team_local_user: Vec<String>,
    /// How long a login lasts; at least 1s
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub auth_duration: String,
    /// Send cookies over TLS only
    #[arg(long)]
    pub cookie_secure: bool,
    /// A YAML file of roles, each with the list of actions that need it, e.g. `viewer: [PauseJob]`
    #[arg(long, value_name = "FILE")]
    pub config_rbac: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct BuildOptions {
    /// How often resources are checked unless they say otherwise; at least 1s
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub resource_checking_interval: String,
    /// The same for resources with a webhook token
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub resource_with_webhook_checking_interval: String,
    /// The same for resource types
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub resource_type_checking_interval: String,
    /// The longest a check may take; at least 1s
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub global_resource_check_timeout: String,
    /// CPU shares of tasks that name none
    #[arg(long, value_name = "SHARES")]
    pub default_task_cpu_limit: Option<u64>,
    /// Memory of tasks that name none, e.g. 1GB
    #[arg(long, value_name = "SIZE")]
    pub default_task_memory_limit: Option<String>,
    /// Builds whose logs are kept, unless the job says otherwise; 0 keeps all
    #[arg(long, value_name = "BUILDS", default_value_t = 0)]
    pub default_build_logs_to_retain: u32,
    /// Most builds whose logs are kept; 0 means no bound
    #[arg(long, value_name = "BUILDS", default_value_t = 0)]
    pub max_build_logs_to_retain: u32,
    /// Days that logs are kept, unless the job says otherwise; 0 keeps all
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub default_days_to_retain_build_logs: u32,
    /// Most days that logs are kept; 0 means no bound
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub max_days_to_retain_build_logs: u32,
    /// How long containers of one-off builds are kept
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub gc_one_off_grace_period: String,
    /// How long containers stay after the last hijack
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub gc_hijack_grace_period: String,
    /// How long containers of failed builds stay for hijacking
    #[arg(long, value_name = "DURATION", default_value = "120h")]
    pub gc_failed_grace_period: String,
}

/// What the server sends with its answers, and how many of them.
#[derive(Args)]
pub(crate) struct ResponseOptions {
    /// Value of X-Frame-Options; empty for none
    #[arg(long, value_name = "VALUE", default_value = "deny")]
    pub x_frame_options: HeaderValue,
    /// Value of Content-Security-Policy; empty for none
    #[arg(long, value_name = "VALUE", default_value = "frame-ancestors 'none'")]
    pub content_security_policy: HeaderValue,
    /// Value of Strict-Transport-Security, e.g. `max-age=31536000`
    #[arg(long, value_name = "VALUE")]
    pub strict_transport_security: Option<HeaderValue>,
    /// How long a hijacked process may go without input; 0 for any time
    #[arg(long, value_name = "DURATION", default_value = "0")]
    pub intercept_idle_timeout: String,
    /// Requests for all jobs that may run at once, as `ListAllJobs:N`; 0 refuses them all
    #[arg(long, value_name = "ACTION:N")]
    pub concurrent_request_limit: Option<String>,
}

/// Where metrics are served; nowhere unless both are given.
#[derive(Args)]
pub(crate) struct MetricsOptions {
    /// Address to serve metrics on, as Prometheus reads them, at /metrics
    #[arg(long, value_name = "IP", requires = "prometheus_bind_port")]
    pub prometheus_bind_ip: Option<IpAddr>,
    /// Port to serve metrics on; 0 for any that is free
    #[arg(long, value_name = "PORT", requires = "prometheus_bind_ip")]
    pub prometheus_bind_port: Option<u16>,
}

/// Where traces of builds go; nowhere without an address.
#[derive(Args)]
pub(crate) struct TraceOptions {
    /// Send traces of builds to this collector, by OTLP over HTTP: HOST:PORT, or a URL
    #[arg(long, value_name = "ADDRESS")]
    pub tracing_otlp_address: Option<String>,
    /// A header for the collector
    #[arg(long, value_name = "NAME:VALUE", hide_env_values = true)]
    pub tracing_otlp_header: Vec<String>,
    /// Speak TLS with the collector, unless its address is a URL
    #[arg(long)]
    pub tracing_otlp_use_tls: bool,
    /// The service's name in traces
    #[arg(long, value_name = "NAME", default_value = "concourse-web")]
    pub tracing_service_name: String,
    /// An attribute of the service in traces
    #[arg(long, value_name = "NAME:VALUE")]
    pub tracing_attribute: Vec<String>,
}

#[derive(Args)]
pub(crate) struct TypeOptions {
    /// A YAML file of defaults for the source of each base resource type, e.g. `registry-image: {registry_mirror: {host: mirror.example.com}}`
    #[arg(long, value_name = "FILE")]
    pub base_resource_type_defaults: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Example: jetbridge run ci/pipeline.yml -j test -i repo=.")]
pub(crate) struct RunOptions {
    /// The pipeline's file; - reads it from stdin
    pub pipeline: PathBuf,
    /// The job to run; may be left out when the pipeline has only one
    #[arg(short, long, value_name = "JOB")]
    pub job: Option<String>,
    /// A var as text
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub var: Vec<String>,
    /// A var as YAML
    #[arg(short, long, value_name = "NAME=YAML")]
    pub yaml_var: Vec<String>,
    /// A file of vars
    #[arg(short, long, value_name = "FILE")]
    pub load_vars_from: Vec<PathBuf>,
    /// A local directory instead of a `get`
    #[arg(short, long, value_name = "NAME=DIR")]
    pub input: Vec<String>,
    /// Answer what an approve step asks, instead of at the terminal
    #[arg(long, value_name = "STEP=approve|deny")]
    pub answer: Vec<String>,
    /// Keep what models and people say in this directory, to run again without them
    #[arg(long, value_name = "DIR", conflicts_with = "replay")]
    pub record: Option<PathBuf>,
    /// Run again from what --record kept in this directory: no model, no key
    #[arg(long, value_name = "DIR")]
    pub replay: Option<PathBuf>,
    /// Write what agents say and do to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub transcript: Option<PathBuf>,
    #[command(flatten)]
    pub agents: AgentOptions,
    #[command(flatten)]
    pub types: TypeOptions,
    #[command(flatten)]
    pub state: StateOptions,
}

#[derive(Args)]
pub(crate) struct DoctorOptions {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub state: StateOptions,
}

#[derive(Args)]
#[command(
    after_help = "Volumes and the database stay; remove the state directory to be rid of them, too."
)]
pub(crate) struct CleanOptions {
    #[command(flatten)]
    pub state: StateOptions,
}
