//! A task's configuration: from its file or its step, with the step's own words over it.

use jb_model::config::{ImageResource, TaskConfig};
use jb_model::event::LogSource;
use jb_model::plan::TaskPlan;
use jb_pipeline::task_file::{
    TaskFileError, TaskOverrides, read_task_file, resolve_embedded_task, resolve_task_file,
};

use super::BuildContext;
use crate::leaf::{Leaf, Trouble};

/// A task file may not be larger than this.
const TASK_FILE_BYTES_MAX: usize = 1024 * 1024;

impl BuildContext {
    /// The configuration with its references to secrets still in it, for planning its image.
    pub(crate) async fn task_config_unresolved(
        &self,
        leaf: &Leaf,
        plan: &TaskPlan,
    ) -> Result<TaskConfig, Trouble> {
        if let Some(config) = embedded(plan) {
            return Ok(config.clone());
        }
        let text = self.task_file(leaf, plan).await?;
        let read = read_task_file::<String>(&text, &plan.vars);
        read.map(|(config, _)| config).map_err(|error| trouble(plan, &error))
    }

    /// The configuration that runs. Warnings go to the step's log.
    pub(crate) async fn task_config(
        &self,
        leaf: &Leaf,
        plan: &TaskPlan,
    ) -> Result<TaskConfig, Trouble> {
        let overrides =
            TaskOverrides { vars: &plan.vars, params: &plan.params, limits: plan.limits };
        // The image has its own steps, which resolve its source with the type's defaults.
        let no_defaults = |_: &mut ImageResource| ();
        let resolved = match embedded(plan) {
            Some(config) => {
                self.with_vars(leaf, |lookup| {
                    resolve_embedded_task(config, overrides, no_defaults, lookup)
                })
                .await?
            }
            None => {
                let text = self.task_file(leaf, plan).await?;
                self.with_vars(leaf, |lookup| {
                    resolve_task_file(&text, overrides, no_defaults, lookup)
                })
                .await?
            }
        };
        let resolved = resolved.map_err(|error| trouble(plan, &error))?;
        for warning in &resolved.warnings {
            self.say_on(leaf, LogSource::Stderr, &format!("{warning}\n")).await?;
        }
        Ok(resolved.config)
    }

    async fn task_file(&self, leaf: &Leaf, plan: &TaskPlan) -> Result<String, Trouble> {
        let path = self.interpolate_text(leaf, &plan.config_path).await?;
        let content = self.read_artifact_file(leaf, &path, TASK_FILE_BYTES_MAX).await?;
        String::from_utf8(content).map_err(|_| Trouble::new(format!("{path} is no UTF-8 text")))
    }
}

/// The configuration in the plan, unless a file is named.
fn embedded(plan: &TaskPlan) -> Option<&TaskConfig> {
    plan.config.as_ref().filter(|_| plan.config_path.is_empty())
}

fn trouble(plan: &TaskPlan, error: &TaskFileError<String>) -> Trouble {
    if plan.config_path.is_empty() {
        Trouble::new(error.to_string())
    } else {
        Trouble::new(format!("{}: {error}", plan.config_path))
    }
}
