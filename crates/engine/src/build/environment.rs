//! What resource scripts learn from their environment.

use jb_model::Value;
use jb_runtime::ContainerKind;

use super::BuildContext;
use crate::leaf::{Leaf, Trouble};

impl BuildContext {
    /// The environment of a `check`, `get` or `put`.
    pub(crate) async fn resource_env(
        &self,
        leaf: &Leaf,
        kind: ContainerKind,
    ) -> Result<Vec<(String, String)>, Trouble> {
        let build = &self.build;
        let external = &self.engine.settings.external_url;
        let mut env = vec![
            ("ATC_EXTERNAL_URL".to_owned(), external.clone()),
            ("BUILD_ID".to_owned(), build.id.to_string()),
            ("BUILD_NAME".to_owned(), build.name.clone()),
            ("BUILD_TEAM_ID".to_owned(), build.team_id.to_string()),
            ("BUILD_TEAM_NAME".to_owned(), build.team_name.clone()),
            ("BUILD_URL_SHORT".to_owned(), format!("{external}/builds/{}", build.id)),
        ];
        if let Some(pipeline) = &build.pipeline {
            env.push(("BUILD_PIPELINE_ID".to_owned(), pipeline.id.to_string()));
            env.push(("BUILD_PIPELINE_NAME".to_owned(), pipeline.name.clone()));
            if !pipeline.instance_vars.is_empty() {
                let vars = Value::Object(pipeline.instance_vars.clone()).to_string();
                env.push(("BUILD_PIPELINE_INSTANCE_VARS".to_owned(), vars));
            }
            if let (Some(id), Some(job)) = (build.job_id, &build.job_name) {
                env.push(("BUILD_JOB_ID".to_owned(), id.to_string()));
                env.push(("BUILD_JOB_NAME".to_owned(), job.clone()));
            }
        }
        env.push(("BUILD_URL".to_owned(), self.url()));
        env.extend(self.trace_env(&leaf.plan.id));
        let exposes = matches!(&leaf.plan.step,
            jb_model::PlanStep::Put(put) if put.expose_build_created_by);
        if let (ContainerKind::Put, true, Some(by)) = (kind, exposes, &build.created_by) {
            env.push(("BUILD_CREATED_BY".to_owned(), by.clone()));
        }
        if let Some(status) = leaf.hook_status {
            env.push(("BUILD_STATUS".to_owned(), status.to_string()));
        }
        Ok(env)
    }

    /// Where people see the build.
    pub(crate) fn url(&self) -> String {
        let build = &self.build;
        let external = &self.engine.settings.external_url;
        let (Some(pipeline), Some(job)) = (&build.pipeline, &build.job_name) else {
            return format!("{external}/builds/{}", build.id);
        };
        let url = format!(
            "{external}/teams/{}/pipelines/{}/jobs/{job}/builds/{}",
            build.team_name, pipeline.name, build.name
        );
        let query = jb_pipeline::instance_vars::to_query(&pipeline.instance_vars);
        if query.is_empty() {
            return url;
        }
        let mut encoded = url::form_urlencoded::Serializer::new(String::new());
        format!("{url}?{}", encoded.extend_pairs(query).finish())
    }
}
