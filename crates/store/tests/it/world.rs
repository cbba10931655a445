//! Small worlds to test in.

use jb_model::{
    BuildId, BuildStatus, Object, PipelineId, ResourceId, ScopeId, TeamId, Timestamp, Value,
    Version, VersionId,
};
use jb_store::{
    BuildInput, BuildRecord, JobRecord, ResourceKind, ResourceRecord, SaveOutcome, SavePipeline,
    Store,
};
use serde_json::json;

/// A time, in seconds.
pub(crate) const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

pub(crate) fn version(text: &str) -> Version {
    text.split(',')
        .map(|field| field.split_once('=').unwrap_or(("ref", field)))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn object(value: &Value) -> Object {
    value.as_object().unwrap().clone()
}

/// `src` triggers `unit`, whose successes go to `ship`, which puts `out`; `tool` is got without trigger.
pub(crate) fn pipeline_config() -> Value {
    json!({
        "groups": [{"name": "all", "jobs": ["*"]}, {"name": "tests", "jobs": ["unit"]}],
        "resource_types": [{"name": "mytype", "type": "registry-image", "source": {"repository": "r"}}],
        "resources": [
            {"name": "src", "type": "git", "source": {"uri": "u", "private_key": "hunter2"}},
            {"name": "tool", "type": "mytype", "source": {}},
            {"name": "out", "type": "mytype", "source": {"x": 1}},
        ],
        "jobs": [
            {"name": "unit", "public": true, "serial": true, "plan": [
                {"get": "src", "trigger": true}, {"get": "tool"}, {"task": "t", "file": "src/t.yml"}]},
            {"name": "ship", "plan": [
                {"get": "src", "passed": ["unit"], "trigger": true}, {"put": "out"}]},
        ],
    })
}

/// A team with one unpaused pipeline.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) team: TeamId,
    pub(crate) pipeline: PipelineId,
}

pub(crate) async fn world(store: Store) -> World {
    let team = store.ensure_main_team(&json!({}), at(1)).await.unwrap().id;
    let pipeline = save(&store, team, "p", &pipeline_config()).await;
    World { store, team, pipeline }
}

/// Saves over whatever is there, unpaused.
pub(crate) async fn save(store: &Store, team: TeamId, name: &str, config: &Value) -> PipelineId {
    let vars = Object::new();
    let save = SavePipeline {
        team,
        name,
        instance_vars: &vars,
        config,
        from_version: None,
        initially_paused: false,
        set_by: None,
    };
    match store.save_pipeline(save, at(2)).await.unwrap() {
        SaveOutcome::Created { pipeline, .. }
        | SaveOutcome::Updated { pipeline, .. }
        | SaveOutcome::SetByNewerBuild { pipeline } => pipeline,
    }
}

impl World {
    pub(crate) async fn job(&self, name: &str) -> JobRecord {
        self.store.job_by_name(self.pipeline, name).await.unwrap().unwrap()
    }

    pub(crate) async fn resource(&self, name: &str) -> ResourceRecord {
        let kind = ResourceKind::Resource;
        self.store.resource_by_name(self.pipeline, kind, name).await.unwrap().unwrap()
    }

    /// A resource with a scope of its own that holds these versions.
    pub(crate) async fn checked(&self, name: &str, versions: &[&str]) -> Checked {
        let resource = self.resource(name).await.id;
        let (scope, _) = self.store.set_scope(resource, "hash", false, at(3)).await.unwrap();
        let versions: Vec<Version> = versions.iter().map(|text| version(text)).collect();
        let saved = self.store.save_versions(scope, &versions, at(3)).await.unwrap();
        Checked { resource, scope, ids: saved.ids }
    }

    /// A build of a job that used these versions and ended.
    pub(crate) async fn ended(
        &self,
        job: &str,
        used: &[(&Checked, usize)],
        status: BuildStatus,
    ) -> BuildRecord {
        let build = self.started(job, used).await;
        assert!(self.store.finish_build(build.id, status, None, at(20)).await.unwrap());
        self.store.build(build.id).await.unwrap().unwrap()
    }

    /// A running build of a job that uses these versions.
    pub(crate) async fn started(&self, job: &str, used: &[(&Checked, usize)]) -> BuildRecord {
        let job = self.job(job).await.id;
        self.store.save_next_inputs(job, &[], &[], true, false).await.unwrap();
        let build = self.store.create_job_build(job, Some("me"), at(10)).await.unwrap();
        let inputs: Vec<BuildInput> = used.iter().map(|(of, index)| of.input(*index)).collect();
        let plan = json!({"id": "1", "task": {"config": {"params": {"KEY": "hunter2"}}}});
        assert!(self.store.start_build(build.id, &plan, &inputs, &[], at(11)).await.unwrap());
        self.store.build(build.id).await.unwrap().unwrap()
    }

    /// A running one-off build.
    pub(crate) async fn one_off(&self) -> BuildId {
        let plan = json!({"id": "1"});
        let new = self.store.create_started_build(self.team, None, &plan, Some("me"), at(10));
        new.await.unwrap().id
    }
}

/// A resource with versions.
pub(crate) struct Checked {
    pub(crate) resource: ResourceId,
    pub(crate) scope: ScopeId,
    pub(crate) ids: Vec<VersionId>,
}

impl Checked {
    pub(crate) fn input(&self, index: usize) -> BuildInput {
        BuildInput {
            name: "in".into(),
            resource: self.resource,
            resource_name: String::new(),
            pipeline: PipelineId(0),
            version_id: self.ids[index],
            version: Version::new(),
            first_occurrence: true,
        }
    }
}

impl World {
    /// The id of a job, read through another store of the same database.
    pub(crate) async fn job_in(&self, store: &Store, name: &str) -> jb_model::JobId {
        store.job_by_name(self.pipeline, name).await.unwrap().unwrap().id
    }
}
