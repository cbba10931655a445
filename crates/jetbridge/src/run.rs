//! `jetbridge run`: one job of a pipeline file, with the same engine and no server.

mod answers;
mod inputs;
mod recording;
mod vars;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jb_build::planner::{PlanIds, PlanOptions};
use jb_engine::Engine;
use jb_http::{Clock as _, System};
use jb_model::{BuildId, BuildStatus, JobConfig, Object, PipelineConfig, PipelineId, TeamId};
use jb_runtime::Runtime as _;
use jb_store::{BuildInput, SaveOutcome, SavePipeline, Store};
use serde_json::json;
use tokio::sync::watch;

use crate::cli::RunOptions;
use crate::logging::Logging;
use crate::{base_defaults, local, terminal};
use answers::{Answers, Said};

/// A pipeline's file may not be larger than this.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Bytes of log read in one go.
const PAGE_BYTES: usize = 1024 * 1024;
/// The pipeline's name while it runs.
const PIPELINE: &str = "run";

pub(crate) async fn run(options: RunOptions) -> anyhow::Result<ExitCode> {
    Logging::start("warn", false)?;
    let base_defaults = base_defaults::read(&options.types)?;
    let text = read(&options.pipeline)?;
    let vars = vars::collect(&options)?;
    let checked = jb_pipeline::check_pipeline_with_vars(&text, &[&vars]);
    for warning in checked.warnings() {
        eprintln!("warning: {}", warning.message);
    }
    if !checked.is_valid() {
        let errors = checked.errors().join("\n");
        bail!("{} is no valid pipeline:\n{errors}", options.pipeline.display());
    }
    let mut pipeline = checked.config;
    let job = job(&pipeline, options.job.as_deref())?.clone();
    // Nothing has passed any job here: every input takes its newest version.
    inputs::forget_passed(&mut pipeline);

    let mut agents = crate::agents::settings(&options.agents)?;
    agents.recordings = recording::recordings(&options)?;
    let recordings = agents.recordings.clone();
    let answers = Answers::new(&options)?;

    // A run keeps its own containers and volumes apart from those of a server.
    let state = local::state_dir(&options.state)?.join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
    let store = Store::open("sqlite::memory:", jb_store::Options::default(), System.now()).await?;
    let team = store.ensure_main_team(&json!({}), System.now()).await?;
    let local = local::runtime(&options.state, &state)?;
    let runtime = local.clone();
    let settings = settings(agents, base_defaults);
    base_defaults::warn_of_unused(&settings.base_defaults, &runtime.base_types());
    let engine = Engine::new(store.clone(), runtime, settings, Arc::new(|| System.now()));
    let (stop, stopped) = watch::channel(false);
    let loops = tokio::spawn(engine.clone().run(stopped));

    let followed = async {
        let pipeline_id = save(&store, team.id, &checked.normalised).await?;
        let session = Session { engine: engine.clone(), team: team.id, pipeline_id, pipeline };
        let build = session.start(&job, &options).await?;
        let followed = session.follow(build, answers).await;
        if let Some(path) = &options.transcript {
            session.write_transcript(build, path).await?;
        }
        followed
    };
    let followed = followed.await;
    stop.send_replace(true);
    loops.await.context("the engine's loops")?;
    let removed = remove_containers(&engine).await.context("remove the run's containers");
    // The bridge goes with the run; what cannot be removed is only a leftover, not a failure of the job.
    if let Err(error) = local.release() {
        tracing::warn!(%error, "giving back the run's network");
    }
    drop(engine);
    if let Err(error) = std::fs::remove_dir_all(&state) {
        tracing::warn!(%error, state = %state.display(), "removing the run's state");
    }
    let (status, answers) = followed?;
    removed?;
    if let Some(dir) = &options.record {
        recording::write(dir, &recordings, &answers)?;
    }
    Ok(exit_code(status))
}

/// Those of a server, as far as they matter to a single build.
fn settings(
    agents: jb_engine::agents::AgentSettings,
    base_defaults: BTreeMap<String, Object>,
) -> jb_engine::Settings {
    jb_engine::Settings {
        owner: format!("run-{}", std::process::id()),
        external_url: "http://127.0.0.1:8080".to_owned(),
        default_task_limits: Default::default(),
        default_timeouts: Default::default(),
        checks: Default::default(),
        grace: Default::default(),
        retention: Default::default(),
        agents,
        base_defaults,
        metrics: Default::default(),
        tracer: Default::default(),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let source: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?)
    };
    let mut text = String::new();
    source
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("read {}", path.display()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        bail!("{} is larger than {FILE_BYTES_MAX} bytes", path.display());
    }
    Ok(text)
}

fn job<'a>(pipeline: &'a PipelineConfig, name: Option<&str>) -> anyhow::Result<&'a JobConfig> {
    let names = || pipeline.jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, pipeline.jobs.as_slice()) {
        (Some(name), jobs) => jobs
            .iter()
            .find(|job| job.name == name)
            .with_context(|| format!("there is no job `{name}`; there are {}", names())),
        (None, [only]) => Ok(only),
        (None, _) => bail!("say which job to run with -j: {}", names()),
    }
}

async fn save(
    store: &Store,
    team: TeamId,
    config: &serde_json::Value,
) -> anyhow::Result<PipelineId> {
    let save = SavePipeline {
        team,
        name: PIPELINE,
        instance_vars: &Default::default(),
        config,
        from_version: None,
        initially_paused: true,
        set_by: None,
    };
    Ok(match store.save_pipeline(save, System.now()).await? {
        SaveOutcome::Created { pipeline, .. }
        | SaveOutcome::Updated { pipeline, .. }
        | SaveOutcome::SetByNewerBuild { pipeline } => pipeline,
    })
}

struct Session {
    engine: Arc<Engine>,
    team: TeamId,
    pipeline_id: PipelineId,
    pipeline: PipelineConfig,
}

impl Session {
    /// Finds versions for the inputs, plans the job and starts its build.
    async fn start(&self, job: &JobConfig, options: &RunOptions) -> anyhow::Result<BuildId> {
        let store = &self.engine.store;
        let local = inputs::upload(&self.engine, self.team, &options.input).await?;
        let gets = inputs::gets(&self.pipeline, &job.name);
        for name in local.keys() {
            if !gets.iter().any(|get| get.name == *name) {
                bail!("-i {name}: the job `{}` has no get step of that name", job.name);
            }
        }
        let (mut versions, mut taken) = (std::collections::BTreeMap::new(), Vec::new());
        for get in gets.iter().filter(|get| !local.contains_key(&get.name)) {
            let input = self.newest(get).await?;
            versions.insert(get.name.clone(), input.version.clone());
            taken.push(input);
        }
        for name in local.keys() {
            versions.insert(name.clone(), Default::default());
        }
        let planned = self.pipeline.jobs.iter().find(|known| known.name == job.name);
        let planned = planned.context("the job is in the pipeline")?;
        let mut plan = jb_build::planner::plan_job(
            &self.pipeline,
            planned,
            &versions,
            &mut PlanIds::after(0),
            &PlanOptions {
                manual: true,
                base_defaults: self.engine.settings.base_defaults.clone(),
            },
        )?;
        inputs::use_local(&mut plan, &local);
        if options.record.is_some() || options.replay.is_some() {
            recording::check_names(&plan)?;
        }
        let row = store.job_by_name(self.pipeline_id, &job.name).await?;
        let row = row.context("the job was saved")?;
        let now = System.now();
        let build = store.create_job_build(row.id, None, now).await?;
        let plan = serde_json::from_str(&jb_wire::plan::to_private(&plan)?)?;
        if !store.start_build(build.id, &plan, &taken, &[], now).await? {
            bail!("the build could not be started");
        }
        Ok(build.id)
    }

    /// Checks a resource and takes its newest version, or the pinned one.
    async fn newest(&self, get: &jb_model::config::GetStep) -> anyhow::Result<BuildInput> {
        let store = &self.engine.store;
        let name = get.resource_name();
        let kind = jb_store::ResourceKind::Resource;
        let resource = store.resource_by_name(self.pipeline_id, kind, name).await?;
        let resource = resource.with_context(|| format!("resource `{name}`"))?;
        eprintln!("checking {name}");
        let request = jb_engine::checks::CheckRequest::default();
        let check = self.engine.checks.check_now(resource.id, &request, System.now()).await?;
        let check = check.with_context(|| format!("`{name}` cannot be checked"))?.id;
        if self.follow_quietly(check).await? != BuildStatus::Succeeded {
            self.show(check, 0).await?;
            bail!("checking the resource `{name}` did not succeed");
        }
        let resource = store.resource(resource.id).await?.context("the resource is there")?;
        let scope = resource.scope.with_context(|| format!("`{name}` has no versions"))?;
        let pinned = match &get.version {
            jb_model::config::VersionChoice::Pinned(version) => Some(version.clone()),
            _ => {
                let config = self.pipeline.resources.iter().find(|known| known.name == name);
                config.and_then(|config| config.version.clone())
            }
        };
        let found = match &pinned {
            Some(pinned) => store.find_version(scope, pinned).await?,
            None => store.latest_version(scope).await?,
        };
        let (version_id, version) =
            found.with_context(|| format!("the resource `{name}` has no version to get"))?;
        Ok(BuildInput {
            name: get.name.clone(),
            resource: resource.id,
            resource_name: name.to_owned(),
            pipeline: self.pipeline_id,
            version_id,
            version,
            first_occurrence: true,
        })
    }

    /// Shows a build's log until the build ends, and answers what it asks. Ctrl-C aborts it; a second one gives up.
    async fn follow(
        &self,
        build: BuildId,
        mut answers: Answers,
    ) -> anyhow::Result<(BuildStatus, Said)> {
        let mut changes = self.engine.store.subscribe();
        let (mut next, mut interrupts, mut unanswered) = (0, 0, None);
        loop {
            next = self.show(build, next).await?;
            if let Some(status) = self.ended(build).await? {
                self.show(build, next).await?;
                return match unanswered {
                    Some(error) => Err(error),
                    None => Ok((status, answers.said)),
                };
            }
            if unanswered.is_none()
                && let Err(error) = answers.give(&self.engine, build).await
            {
                unanswered = Some(error);
                self.engine.abort(build, false).await?;
            }
            tokio::select! {
                // Whatever changed, the log is read again from where it was.
                _ = changes.recv() => {}
                () = answers.typed() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                interrupt = tokio::signal::ctrl_c() => {
                    interrupt?;
                    interrupts += 1;
                    eprintln!("aborting");
                    self.engine.abort(build, interrupts > 1).await?;
                }
            }
        }
    }

    async fn follow_quietly(&self, build: BuildId) -> anyhow::Result<BuildStatus> {
        let mut changes = self.engine.store.subscribe();
        loop {
            if let Some(status) = self.ended(build).await? {
                return Ok(status);
            }
            tokio::select! {
                _ = changes.recv() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// What the build's agents said and did, an entry a line.
    async fn write_transcript(&self, build: BuildId, path: &Path) -> anyhow::Result<()> {
        use std::io::Write as _;
        let what = || format!("--transcript: write {}", path.display());
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).with_context(what)?);
        let mut next = 0;
        loop {
            let entries = self.engine.store.transcript(build, next, PAGE_BYTES).await?;
            let Some(last) = entries.last() else { return file.flush().with_context(what) };
            next = last.seq + 1;
            for entry in &entries {
                writeln!(file, "{}", entry.json).with_context(what)?;
            }
        }
    }

    async fn ended(&self, build: BuildId) -> anyhow::Result<Option<BuildStatus>> {
        let build = self.engine.store.build(build).await?.context("the build is there")?;
        Ok(Some(build.status).filter(|status| status.is_final()))
    }

    /// Prints events from a number on; returns the number to go on from.
    async fn show(&self, build: BuildId, mut next: u64) -> anyhow::Result<u64> {
        let mut out = std::io::stdout();
        let colours = out.is_terminal();
        loop {
            let events = self.engine.store.events(build, next, PAGE_BYTES).await?;
            if events.is_empty() {
                return Ok(next);
            }
            for stored in events {
                next = stored.seq + 1;
                let (_, event) = jb_wire::event::from_envelope(&stored.json)?;
                terminal::print(&mut out, &event, colours)?;
            }
        }
    }
}

/// Nothing of a run is of use to the next but its volumes' caches, which have no row any more either.
async fn remove_containers(engine: &Engine) -> anyhow::Result<()> {
    let runtime = &engine.places.first().runtime;
    for container in runtime.list().await? {
        runtime.destroy(&container.handle).await?;
    }
    for volume in runtime.list_volumes().await? {
        runtime.destroy_volume(&volume).await?;
    }
    Ok(())
}

/// As `fly` exits after watching a build.
fn exit_code(status: BuildStatus) -> ExitCode {
    ExitCode::from(match status {
        BuildStatus::Succeeded => 0,
        BuildStatus::Errored => 2,
        BuildStatus::Aborted => 3,
        BuildStatus::Failed | BuildStatus::Pending | BuildStatus::Started => 1,
    })
}
