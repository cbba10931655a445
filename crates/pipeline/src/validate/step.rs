//! The rules of steps.

use std::collections::BTreeSet;

use jb_model::PipelineConfig;
use jb_model::agent::AgentConfig;
use jb_model::approval::{ApproveStep, Approvers};
use jb_model::config::{
    Across, GetStep, JobConfig, LoadVarStep, MaxInFlight, RunStep, SetPipelineStep, Step, StepKind,
    TaskStep,
};

use super::Findings;
use super::job::Links;
use crate::diagnostic::{Code, PathStep, Section};
use crate::identifier::{IdentifierProblem, check_identifier};
use crate::task_file::validate_task;
use jb_model::duration::parse_duration;

/// Walks the steps of one job, keeping the place in Concourse's notation (`jobs.x.plan.do[0].task(t)`) and as a path.
pub(super) struct StepValidator<'a> {
    config: &'a PipelineConfig,
    links: &'a Links<'a>,
    findings: &'a mut Findings,
    context: Vec<String>,
    path: Vec<PathStep>,
    seen_gets: BTreeSet<&'a str>,
    /// Local vars by scope; each `across` opens one.
    scopes: Vec<BTreeSet<&'a str>>,
}

impl<'a> StepValidator<'a> {
    pub(super) fn new(
        config: &'a PipelineConfig,
        links: &'a Links<'a>,
        findings: &'a mut Findings,
        identifier: String,
        path: Vec<PathStep>,
    ) -> Self {
        StepValidator {
            config,
            links,
            findings,
            context: vec![identifier, ".plan".to_owned()],
            path,
            seen_gets: BTreeSet::new(),
            scopes: vec![BTreeSet::new()],
        }
    }

    pub(super) fn job(mut self, job: &'a JobConfig) {
        self.at(".do", &["plan".into()], |v| v.steps(&job.plan, ""));
        self.hook("on_success", job.on_success.as_deref());
        self.hook("on_failure", job.on_failure.as_deref());
        self.hook("on_abort", job.on_abort.as_deref());
        self.hook("on_error", job.on_error.as_deref());
        self.hook("ensure", job.ensure.as_deref());
    }

    /// Runs `check` deeper in the context and the path.
    fn at(&mut self, context: impl Into<String>, path: &[PathStep], check: impl FnOnce(&mut Self)) {
        let (contexts, paths) = (self.context.len(), self.path.len());
        self.context.push(context.into());
        self.path.extend_from_slice(path);
        check(self);
        self.context.truncate(contexts);
        self.path.truncate(paths);
    }

    fn error(&mut self, code: Code, message: &str) {
        let message = format!("{}: {message}", self.context.concat());
        self.findings.error(Section::Jobs, code, &self.path, message);
    }

    fn warning(&mut self, code: Code, message: &str) {
        let message = format!("{}: {message}", self.context.concat());
        self.findings.warning(Section::Jobs, code, &self.path, message);
    }

    /// An empty name is an error, one that looks wrong a warning. The error repeats the place, as Concourse's does.
    fn identifier(&mut self, name: &str) {
        match check_identifier(name, &self.context) {
            None => {}
            Some(IdentifierProblem::Empty(message)) => self.error(Code::MissingName, &message),
            Some(IdentifierProblem::Invalid(message)) => {
                self.findings.warning(Section::Jobs, Code::InvalidIdentifier, &self.path, message);
            }
        }
    }

    fn steps(&mut self, steps: &'a [Step], label: &str) {
        for (index, step) in steps.iter().enumerate() {
            self.at(format!("{label}[{index}]"), &[index.into()], |v| v.step(step));
        }
    }

    fn hook(&mut self, key: &str, hook: Option<&'a Step>) {
        if let Some(step) = hook {
            self.at(format!(".{key}"), &[key.into()], |v| v.step(step));
        }
    }

    fn step(&mut self, step: &'a Step) {
        match &step.modifiers.across {
            Some(across) => self.at(".across", &[], |v| v.across(across, step)),
            None => self.retried(step),
        }
        let modifiers = &step.modifiers;
        self.hook("on_success", modifiers.on_success.as_deref());
        self.hook("on_failure", modifiers.on_failure.as_deref());
        self.hook("on_abort", modifiers.on_abort.as_deref());
        self.hook("on_error", modifiers.on_error.as_deref());
        self.hook("ensure", modifiers.ensure.as_deref());
    }

    fn across(&mut self, across: &'a Across, step: &'a Step) {
        self.scopes.push(BTreeSet::new());
        if across.vars.is_empty() {
            self.error(Code::NoVars, "no vars specified");
        }
        for (index, var) in across.vars.iter().enumerate() {
            self.at(format!("[{index}]"), &["across".into(), index.into()], |v| {
                v.declare(&var.var);
                if var.max_in_flight == MaxInFlight::Limit(0) {
                    v.at(".max_in_flight", &["max_in_flight".into()], |v| {
                        v.error(Code::NotPositive, "must be greater than 0");
                    });
                }
            });
        }
        self.retried(step);
        self.scopes.pop();
    }

    fn retried(&mut self, step: &'a Step) {
        self.core(step);
        if step.modifiers.attempts == Some(0) {
            self.at(".attempts", &["attempts".into()], |v| {
                v.error(Code::NotPositive, "must be greater than 0");
            });
        }
    }

    fn core(&mut self, step: &'a Step) {
        match &step.kind {
            StepKind::Task(task) => {
                let kind = if task.agent.is_some() { "agent" } else { "task" };
                self.at(format!(".{kind}({})", task.name), &[], |v| v.task(task));
            }
            StepKind::Get(get) => self.at(format!(".get({})", get.name), &[], |v| v.get(get)),
            StepKind::Put(put) => self.at(format!(".put({})", put.name), &[], |v| {
                v.identifier(&put.name);
                v.known_resource(put.resource_name());
            }),
            StepKind::Run(run) => {
                self.at(format!(".run({}.{})", run.kind, run.message), &[], |v| v.run(run));
            }
            StepKind::Approve(step) => {
                self.at(format!(".approve({})", step.name), &[], |v| v.approve(step));
            }
            StepKind::SetPipeline(set) => {
                self.at(format!(".set_pipeline({})", set.name), &[], |v| v.set_pipeline(set));
            }
            StepKind::LoadVar(load) => {
                self.at(format!(".load_var({})", load.name), &[], |v| v.load_var(load));
            }
            StepKind::Try(inner) => self.at(".try", &["try".into()], |v| v.step(inner)),
            StepKind::Do(steps) => self.at(".do", &["do".into()], |v| v.steps(steps, "")),
            StepKind::InParallel { steps, .. } => {
                let path = ["in_parallel".into(), "steps".into()];
                self.at(".in_parallel", &path, |v| v.steps(steps, ".steps"));
            }
        }
        let has_wrapper = matches!(
            step.kind,
            StepKind::SetPipeline(_)
                | StepKind::LoadVar(_)
                | StepKind::Try(_)
                | StepKind::Do(_)
                | StepKind::InParallel { .. }
        );
        if let Some(timeout) = step.modifiers.timeout.as_deref().filter(|_| has_wrapper)
            && parse_duration(timeout).is_err()
        {
            self.at(".timeout", &["timeout".into()], |v| {
                v.error(Code::InvalidDuration, &format!("invalid duration '{timeout}'"));
            });
        }
    }

    fn task(&mut self, task: &'a TaskStep) {
        self.identifier(&task.name);
        match (&task.config, task.file.is_empty()) {
            (None, true) => {
                self.error(Code::TaskSource, "must specify either `file:` or `config:`");
            }
            (Some(_), false) => {
                self.error(Code::TaskSource, "must specify one of `file:` or `config:`, not both");
            }
            _ => {}
        }
        let config = task.config.as_ref();
        let has_image = config
            .is_some_and(|config| !config.rootfs_uri.is_empty() || config.image_resource.is_some());
        if has_image && !task.image.is_empty() {
            self.warning(
                Code::Pipeline,
                "specifies image: on the step but also specifies an image under config: - the image: on the step takes precedence",
            );
        }
        if let Some(agent) = &task.agent {
            self.agent(task, agent);
        } else if task.hermetic {
            self.warning(
                Code::Pipeline,
                "specifies `hermetic:` only works against worker containerd runtime",
            );
        }
        if let Some(config) = config {
            self.at(".config", &["config".into()], |v| {
                for message in validate_task(config) {
                    v.error(Code::TaskConfig, &message);
                }
            });
        }
    }

    fn agent(&mut self, task: &'a TaskStep, agent: &AgentConfig) {
        match (agent.prompt.trim().is_empty(), agent.prompt_file.is_empty()) {
            (true, true) => {
                self.error(Code::TaskSource, "must specify either `prompt:` or `prompt_file:`");
            }
            (false, false) => {
                let message = "must specify one of `prompt:` or `prompt_file:`, not both";
                self.error(Code::TaskSource, message);
            }
            _ => {}
        }
        let model = agent.model.split_once('/');
        let named =
            model.is_some_and(|(provider, model)| !provider.is_empty() && !model.is_empty());
        if !agent.model.is_empty() && !agent.model.contains("((") && !named {
            let message = format!("the model '{}' is not named as 'provider/model'", agent.model);
            self.error(Code::InvalidValue, &message);
        }
        if let Some(approval) = &agent.approval {
            self.quorum(&approval.approvers, approval.quorum);
        }
        if let Some(name) = agent.asked_in_vain() {
            let message =
                format!("`approval:` asks for the tool '{name}', which the agent does not have");
            self.error(Code::InvalidValue, &message);
        }
        let Some(config) = &task.config else { return };
        if !config.run.path.is_empty() || !config.run.args.is_empty() {
            self.error(Code::TaskConfig, "an agent has no `run:`: the harness is what runs");
        }
        let gives_result = agent.result.is_some() || agent.verdict.is_some();
        let mapped = |name: &String| task.output_mapping.get(name).unwrap_or(name) == &task.name;
        if gives_result && config.outputs.iter().any(|output| mapped(&output.name)) {
            let message = format!(
                "the output '{}' has the name of the artifact that the agent's result becomes",
                task.name
            );
            self.error(Code::RepeatedName, &message);
        }
        // Its result is a local var of this name.
        if gives_result {
            self.declare(&task.name);
        }
    }

    fn get(&mut self, get: &'a GetStep) {
        self.identifier(&get.name);
        if !self.seen_gets.insert(&get.name) {
            self.error(Code::RepeatedName, "repeated name");
        }
        let resource = get.resource_name();
        self.known_resource(resource);
        let (config, links) = (self.config, self.links);
        self.at(".passed", &["passed".into()], |v| {
            for pattern in &get.passed {
                let jobs = links.jobs(pattern);
                for &index in jobs {
                    if !links.touches(index, resource) {
                        let job = config.jobs.get(index).map_or("", |job| &job.name);
                        let message =
                            format!("job '{job}' does not interact with resource '{resource}'");
                        v.error(Code::UnrelatedJob, &message);
                    }
                }
                if jobs.is_empty() {
                    v.error(Code::UnknownJob, &format!("no matching job(s) for '{pattern}'"));
                }
            }
        });
    }

    fn known_resource(&mut self, name: &str) {
        if !self.links.names.has_resource(name) {
            self.error(Code::UnknownResource, &format!("unknown resource '{name}'"));
        }
    }

    fn run(&mut self, run: &RunStep) {
        // A bad message name is an error: a prototype could not have it.
        match check_identifier(&run.message, &self.context) {
            None => {}
            Some(IdentifierProblem::Empty(message)) => self.error(Code::MissingName, &message),
            Some(IdentifierProblem::Invalid(message)) => {
                self.error(Code::InvalidIdentifier, &message);
            }
        }
        if !self.config.prototypes.iter().any(|prototype| prototype.name == run.kind) {
            self.error(Code::UnknownPrototype, &format!("unknown prototype '{}'", run.kind));
        }
    }

    fn approve(&mut self, step: &ApproveStep) {
        self.identifier(&step.name);
        self.quorum(&step.approvers, step.quorum);
    }

    fn quorum(&mut self, approvers: &Approvers, quorum: u32) {
        let Approvers { roles, users, groups } = approvers;
        let named = !users.is_empty() && roles.is_empty() && groups.is_empty();
        if named && usize::try_from(quorum).is_ok_and(|quorum| quorum > users.len()) {
            let users = users.len();
            let message = format!("the quorum of {quorum} can never be met by {users} users");
            self.error(Code::InvalidValue, &message);
        }
    }

    fn set_pipeline(&mut self, set: &SetPipelineStep) {
        self.identifier(&set.name);
        if set.file.is_empty() {
            self.error(Code::MissingFile, "no file specified");
        }
    }

    fn load_var(&mut self, load: &'a LoadVarStep) {
        self.identifier(&load.name);
        self.declare(&load.name);
        if load.file.is_empty() {
            self.error(Code::MissingFile, "no file specified");
        }
    }

    fn declare(&mut self, name: &'a str) {
        let repeated = self.scopes.last().is_some_and(|scope| scope.contains(name));
        if repeated {
            self.error(Code::RepeatedName, "repeated var name");
        } else if self.scopes.iter().any(|scope| scope.contains(name)) {
            self.warning(Code::VarShadowed, &format!("shadows local var '{name}'"));
        }
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name);
        }
    }
}
