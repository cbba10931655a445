//! `jetbridge web`: the server.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::{HeaderValue, Uri};
use jb_engine::Engine;
use jb_engine::places::Places;
use jb_http::{Clock as _, LocalUser, System};
use jb_metrics::Metrics;
use jb_model::config::ContainerLimits;
use jb_runtime::measured::Measured;
use jb_store::{EncryptionKey, Store};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{AuthOptions, DatabaseOptions, ListenOptions, ResponseOptions, WebOptions};
use crate::engine_port::EnginePort;
use crate::logging::Logging;
use crate::traces::Traces;
use crate::{base_defaults, kubernetes, local};

/// Requests under way when the server is told to end may take this long.
const DRAIN: Duration = Duration::from_secs(3);

pub(crate) async fn run(options: WebOptions) -> anyhow::Result<ExitCode> {
    let logging = Logging::start(&options.log_level, options.log_json)?;
    let state = local::state_dir(&options.state)?;
    std::fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
    let address = (options.listen.bind_ip, options.listen.bind_port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("listen on {}:{}; choose another with --bind-port", address.0, address.1)
    })?;
    let external_url = external_url(&options.listen, listener.local_addr()?.port())?;

    let metrics = Metrics::new();
    let store = open_store(&options.database, &state, metrics.clone()).await?;
    let users = local_users(&options.auth)?;
    warn_of_nobody(&options.auth, &users);
    store.ensure_main_team(&main_team_auth(&options.auth), System.now()).await?;
    let (places, gateway) = places(&options, &state, &metrics).await?;
    let traces = Traces::start(&options.traces)?;
    let settings = jb_engine::Settings {
        metrics: metrics.clone(),
        tracer: traces.tracer(),
        ..engine_settings(&options, external_url.clone(), lease_owner(&state))?
    };
    base_defaults::warn_of_unused(&settings.base_defaults, &places.first().runtime.base_types());
    let engine = Engine::new(store.clone(), places, settings, Arc::new(|| System.now()));

    let port =
        EnginePort { engine: engine.clone(), logging, started_at: System.now(), address: gateway };
    let signing_key = signing_key(&store).await?;
    let http = jb_http::Settings {
        metrics: metrics.clone(),
        ..http_settings(&options, external_url.clone(), users, signing_key)?
    };
    let port: Arc<dyn jb_http::Engine> = Arc::new(port);
    crate::metrics::serve(&options.metrics, metrics, store.clone(), port.clone()).await?;
    let state =
        jb_http::AppState::new(store.clone(), port, http, Arc::new(System), Arc::new(System));
    let (stop, stopped) = watch::channel(false);
    let loops = tokio::spawn(engine.run(stopped.clone()));
    tracing::info!(%external_url, "ready");
    serve(listener, jb_http::router(state), stop, stopped).await?;
    loops.await.context("the engine's loops")?;
    traces.end().await;
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Where steps run, and where they reach this server's machine, if that is known.
async fn places(
    options: &WebOptions,
    state: &std::path::Path,
    metrics: &Metrics,
) -> anyhow::Result<(Places, String)> {
    if let Some(namespace) = &options.kubernetes.kubernetes_namespace {
        let name = options.state.name.as_deref();
        let places = kubernetes::places(&options.kubernetes, namespace, name, metrics).await?;
        return Ok((places, String::new()));
    }
    let runtime = local::runtime(&options.state, state)?;
    let gateway = runtime.host_gateway().to_string();
    let runtime = Arc::new(Measured::new(runtime, metrics.operations.clone()));
    Ok((runtime.into(), gateway))
}

/// Serves until SIGTERM or SIGINT. Streams that never end by themselves are cut after a while.
async fn serve(
    listener: TcpListener,
    router: axum::Router,
    stop: watch::Sender<bool>,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending; running steps go on and are taken up again at the next start");
        stop.send_replace(true);
    });
    let mut graceful = stopped.clone();
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        // The sender lives until a signal comes.
        let _ = graceful.wait_for(|stop| *stop).await;
    });
    tokio::select! {
        result = served.into_future() => result.context("serve HTTP")?,
        () = async {
            let _ = stopped.wait_for(|stop| *stop).await;
            tokio::time::sleep(DRAIN).await;
        } => {}
    }
    Ok(())
}

async fn open_store(
    options: &DatabaseOptions,
    state: &std::path::Path,
    metrics: Metrics,
) -> anyhow::Result<Store> {
    let key = |text: &Option<String>| text.as_deref().map(EncryptionKey::new).transpose();
    let encryption = jb_store::Options {
        encryption_key: key(&options.encryption_key)?,
        old_key: key(&options.old_encryption_key)?,
        metrics,
    };
    let url = database_url(options, state);
    let opened = Store::open(&url, encryption, System.now()).await;
    opened.with_context(|| format!("open {}", database_name(options, state)))
}

/// The database for messages, without what opens it.
fn database_name(options: &DatabaseOptions, state: &std::path::Path) -> String {
    if !is_postgres(options) {
        return state.join("jetbridge.db").display().to_string();
    }
    let socket = options.postgres_socket.as_ref().map(|path| path.display().to_string());
    let host = socket.or_else(|| options.postgres_host.clone());
    format!(
        "PostgreSQL's database {} on {}",
        options.postgres_database,
        host.unwrap_or_else(|| "127.0.0.1".to_owned())
    )
}

fn is_postgres(options: &DatabaseOptions) -> bool {
    options.postgres_host.is_some()
        || options.postgres_socket.is_some()
        || options.postgres_user.is_some()
}

/// PostgreSQL when any of its flags says so, else SQLite beside the rest of the state.
fn database_url(options: &DatabaseOptions, state: &std::path::Path) -> String {
    if !is_postgres(options) {
        return format!("sqlite:{}", state.join("jetbridge.db").display());
    }
    let mut url = String::from("postgres://");
    if let Some(user) = &options.postgres_user {
        url.push_str(&encoded(user));
        if let Some(password) = &options.postgres_password {
            url.push(':');
            url.push_str(&encoded(password));
        }
        url.push('@');
    }
    // An address needs a host beside a user; with a socket it is not used.
    let host = options.postgres_host.as_deref().unwrap_or("127.0.0.1");
    url.push_str(&format!("{host}:{}", options.postgres_port));
    url.push_str(&format!(
        "/{}?sslmode={}",
        encoded(&options.postgres_database),
        options.postgres_sslmode
    ));
    if let Some(socket) = &options.postgres_socket {
        let socket = encoded(&socket.to_string_lossy());
        url.push_str(&format!("&host={socket}"));
    }
    url
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Where people reach the server, without a slash at the end.
fn external_url(options: &ListenOptions, port: u16) -> anyhow::Result<String> {
    let Some(given) = &options.external_url else { return Ok(format!("http://127.0.0.1:{port}")) };
    let parsed = given.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
    });
    if parsed.is_none() {
        bail!("--external-url `{given}` is no address such as https://ci.example.com");
    }
    Ok(given.trim_end_matches('/').to_owned())
}

fn http_settings(
    options: &WebOptions,
    external_url: String,
    local_users: Vec<LocalUser>,
    signing_key: Vec<u8>,
) -> anyhow::Result<jb_http::Settings> {
    let responses = &options.responses;
    let text = |flag: &str, value: &HeaderValue| {
        let text = value.to_str().with_context(|| format!("{flag}: only ASCII can be sent"))?;
        anyhow::Ok(text.to_owned())
    };
    let hsts = responses.strict_transport_security.as_ref();
    let idle = duration("--intercept-idle-timeout", &responses.intercept_idle_timeout)?;
    Ok(jb_http::Settings {
        external_url,
        cluster_name: options.listen.cluster_name.clone(),
        local_users,
        auth_duration: at_least_a_second("--auth-duration", &options.auth.auth_duration)?,
        cookie_secure: options.auth.cookie_secure,
        signing_key,
        role_overrides: role_overrides(&options.auth)?,
        agent_full_network_role: options.agent_full_network_role,
        features: jb_http::Features {
            resource_causality: options.listen.enable_resource_causality,
            ..Default::default()
        },
        x_frame_options: text("--x-frame-options", &responses.x_frame_options)?,
        content_security_policy: text(
            "--content-security-policy",
            &responses.content_security_policy,
        )?,
        strict_transport_security: hsts
            .map(|value| text("--strict-transport-security", value))
            .transpose()?
            .unwrap_or_default(),
        intercept_idle_timeout: Some(idle).filter(|idle| !idle.is_zero()),
        list_all_jobs_limit: list_all_jobs_limit(responses)?,
        ..Default::default()
    })
}

fn list_all_jobs_limit(options: &ResponseOptions) -> anyhow::Result<Option<usize>> {
    let Some(given) = &options.concurrent_request_limit else { return Ok(None) };
    let limit = given.strip_prefix("ListAllJobs:").and_then(|number| number.parse().ok());
    // More than a semaphore can count is no limit to speak of.
    let limit = limit.filter(|limit| *limit <= tokio::sync::Semaphore::MAX_PERMITS);
    let limit = limit.with_context(|| {
        format!("--concurrent-request-limit `{given}` is not written as ListAllJobs:N, the only action it is for")
    })?;
    Ok(Some(limit))
}

/// An installation that nobody can log in to is allowed, but rarely meant.
fn warn_of_nobody(options: &AuthOptions, users: &[LocalUser]) {
    if options.main_team_local_user.is_empty() {
        tracing::warn!("the main team has no owner: name one with --main-team-local-user");
    }
    for owner in &options.main_team_local_user {
        if !users.iter().any(|user| user.name == *owner) {
            tracing::warn!(
                "--main-team-local-user {owner}: there is no such user to log in as; add it with --add-local-user"
            );
        }
    }
}

fn local_users(options: &AuthOptions) -> anyhow::Result<Vec<LocalUser>> {
    options
        .add_local_user
        .iter()
        .map(|user| {
            LocalUser::parse(user).map_err(|error| anyhow::anyhow!("--add-local-user: {error}"))
        })
        .collect()
}

/// The named local users own the main team; without any name, nobody can log in to it.
fn main_team_auth(options: &AuthOptions) -> serde_json::Value {
    let users: Vec<String> =
        options.main_team_local_user.iter().map(|user| format!("local:{user}")).collect();
    json!({"owner": {"users": users, "groups": []}})
}

/// A key that all servers of an installation share, made once.
async fn signing_key(store: &Store) -> anyhow::Result<Vec<u8>> {
    let mut fresh = [0_u8; 32];
    getrandom::fill(&mut fresh).map_err(|error| anyhow::anyhow!("read random bytes: {error}"))?;
    let kept = store.setting_or("login-signing-key", &json!(fresh)).await?;
    let bytes = kept.as_array().into_iter().flatten();
    let key: Vec<u8> =
        bytes.filter_map(|byte| byte.as_u64()).filter_map(|byte| u8::try_from(byte).ok()).collect();
    if key.len() != fresh.len() {
        bail!("the stored login signing key is damaged");
    }
    Ok(key)
}

fn role_overrides(options: &AuthOptions) -> anyhow::Result<jb_authz::RoleOverrides> {
    let Some(path) = &options.config_rbac else { return Ok(jb_authz::RoleOverrides::default()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--config-rbac: read {}", path.display()))?;
    let node = jb_yaml::parse(&text)
        .map_err(|error| anyhow::anyhow!("--config-rbac: {}: {error}", path.display()))?;
    let roles: BTreeMap<String, Vec<String>> =
        serde_json::from_value(node.to_json()).map_err(|error| {
            anyhow::anyhow!(
                "--config-rbac: {}: {error}; it has to be a map of roles to lists of actions",
                path.display()
            )
        })?;
    let entries = roles
        .iter()
        .map(|(role, actions)| (role.as_str(), actions.iter().map(String::as_str).collect()));
    jb_authz::RoleOverrides::new(entries)
        .map_err(|error| anyhow::anyhow!("--config-rbac: {}: {error}", path.display()))
}

pub(crate) fn duration(flag: &str, text: &str) -> anyhow::Result<Duration> {
    let parsed = jb_model::duration::parse_duration(text)
        .map_err(|error| anyhow::anyhow!("{flag} `{text}`: {error}"))?;
    parsed.to_std().with_context(|| format!("{flag} `{text}` is negative"))
}

/// For what must not happen all the time.
pub(crate) fn at_least_a_second(flag: &str, text: &str) -> anyhow::Result<Duration> {
    let duration = duration(flag, text)?;
    if duration < Duration::from_secs(1) {
        bail!("{flag} `{text}` is too short; give at least 1s");
    }
    Ok(duration)
}

/// Who holds the leases on builds: a server and its successors on the same state, of which only one
/// can run. So what a killed server held is taken up at once by the next.
fn lease_owner(state: &std::path::Path) -> String {
    let state = state.canonicalize().unwrap_or_else(|_| state.to_owned());
    format!("{}:{}", rustix::system::uname().nodename().to_string_lossy(), state.display())
}

fn engine_settings(
    options: &WebOptions,
    external_url: String,
    owner: String,
) -> anyhow::Result<jb_engine::Settings> {
    let base_defaults = base_defaults::read(&options.types)?;
    let agents = crate::agents::settings(&options.agents)?;
    let options = &options.builds;
    let memory = options.default_task_memory_limit.as_deref();
    let memory_bytes = memory
        .map(|text| {
            jb_pipeline::parse::parse_memory(text).with_context(|| {
                format!("--default-task-memory-limit `{text}` is no size such as 512MB or 2G")
            })
        })
        .transpose()?;
    let check_timeout = at_least_a_second(
        "--global-resource-check-timeout",
        &options.global_resource_check_timeout,
    )?;
    Ok(jb_engine::Settings {
        owner,
        external_url,
        default_task_limits: ContainerLimits {
            cpu_shares: options.default_task_cpu_limit,
            memory_bytes,
        },
        default_timeouts: jb_engine::Timeouts { check: check_timeout, ..Default::default() },
        checks: jb_engine::checks::timing::CheckSettings {
            resource_interval: at_least_a_second(
                "--resource-checking-interval",
                &options.resource_checking_interval,
            )?,
            type_interval: at_least_a_second(
                "--resource-type-checking-interval",
                &options.resource_type_checking_interval,
            )?,
            webhook_interval: at_least_a_second(
                "--resource-with-webhook-checking-interval",
                &options.resource_with_webhook_checking_interval,
            )?,
            timeout: check_timeout,
            ..Default::default()
        },
        grace: jb_engine::gc::decide::GraceSettings {
            one_off: duration("--gc-one-off-grace-period", &options.gc_one_off_grace_period)?,
            hijack: duration("--gc-hijack-grace-period", &options.gc_hijack_grace_period)?,
            failed: duration("--gc-failed-grace-period", &options.gc_failed_grace_period)?,
            ..Default::default()
        },
        retention: jb_engine::retention::policy::RetentionLimits {
            default_builds: options.default_build_logs_to_retain,
            max_builds: options.max_build_logs_to_retain,
            default_days: options.default_days_to_retain_build_logs,
            max_days: options.max_days_to_retain_build_logs,
        },
        base_defaults,
        agents,
        metrics: Metrics::default(),
        tracer: Default::default(),
    })
}
