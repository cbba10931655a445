//! Builds as metrics see them.

use std::time::Duration;

use jb_metrics::{Build, BuildEnd, Running};
use jb_model::BuildStatus;
use jb_store::BuildRecord;

use crate::Engine;

pub(super) fn described(build: &BuildRecord) -> Build<'_> {
    Build {
        team: &build.team_name,
        pipeline: build
            .pipeline
            .as_ref()
            .map(|pipeline| pipeline.name.as_str())
            .unwrap_or_default(),
        job: build.job_name.as_deref().unwrap_or_default(),
        is_check: build.resource_id.is_some(),
    }
}

impl Engine {
    pub(crate) fn count_start(&self, build: &BuildRecord) {
        self.settings.metrics.builds.started(&described(build));
    }

    /// Counts a build as running until what this returns is dropped.
    pub(crate) fn count_running(&self, build: &BuildRecord) -> Running {
        self.settings.metrics.builds.running(&described(build))
    }

    pub(crate) fn count_end(&self, build: &BuildRecord, status: BuildStatus) {
        let end = match status {
            BuildStatus::Succeeded => BuildEnd::Succeeded,
            BuildStatus::Failed => BuildEnd::Failed,
            BuildStatus::Errored => BuildEnd::Errored,
            BuildStatus::Aborted => BuildEnd::Aborted,
            BuildStatus::Pending | BuildStatus::Started => return,
        };
        let took = build.start_time.map_or(Duration::ZERO, |start| self.now().since(start));
        self.settings.metrics.builds.finished(&described(build), end, took);
    }
}
