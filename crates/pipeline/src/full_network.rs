//! The agents that have the network of tasks, which not everybody may bring in.

use jb_model::agent::{AgentConfig, AgentNetwork};
use jb_model::config::StepKind;
use jb_model::{PipelineConfig, Plan, PlanStep};

use crate::validate::each_step;

fn has(agent: Option<&AgentConfig>) -> bool {
    agent.is_some_and(|agent| agent.network == AgentNetwork::Full)
}

/// Those of a pipeline, as `job/step`.
pub fn of_pipeline(config: &PipelineConfig) -> Vec<String> {
    let mut found = Vec::new();
    for job in &config.jobs {
        each_step(job, &mut |step| match &step.kind {
            StepKind::Task(task) if has(task.agent.as_deref()) => {
                found.push(format!("{}/{}", job.name, task.name));
            }
            _ => {}
        });
    }
    found
}

/// Those of a plan, by their steps' names, wherever in it they are.
pub fn of_plan(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    collect(plan, &mut found);
    found
}

fn collect(plan: &Plan, found: &mut Vec<String>) {
    let image = match &plan.step {
        PlanStep::Task(task) if has(task.agent.as_deref()) => {
            found.push(task.name.clone());
            None
        }
        PlanStep::Across(across) => {
            collect(&across.template, found);
            None
        }
        PlanStep::Get(get) => Some(&get.image),
        PlanStep::Put(put) => Some(&put.image),
        PlanStep::Check(check) => Some(&check.image),
        _ => None,
    };
    // Plans that are posted may have anything there.
    let images = image.into_iter().flat_map(|image| [&image.check, &image.get]);
    images.flatten().for_each(|plan| collect(plan, found));
    plan.children().into_iter().for_each(|child| collect(child, found));
}

#[cfg(test)]
mod tests {
    use crate::check_pipeline;

    #[test]
    fn they_are_found_wherever_they_are() {
        let yaml = "
prototypes: [{name: agent, type: builtin}]
jobs:
- name: j
  plan:
  - {agent: none, prompt: x, config: {platform: linux}}
  - {agent: some, prompt: x, config: {platform: linux}, network: [crates.io]}
  - in_parallel:
    - try: {agent: a, prompt: x, config: {platform: linux}, network: full}
      ensure: {run: b, type: agent, params: {prompt: x, config: {platform: linux}, network: full}}
  on_failure:
    agent: c
    prompt: x
    config: {platform: linux}
    network: full
    across: [{var: v, values: [1]}]
";
        let checked = check_pipeline(yaml);
        assert!(checked.is_valid(), "{:?}", checked.errors());
        assert_eq!(super::of_pipeline(&checked.config), ["j/a", "j/b", "j/c"]);
    }
}
