//! The rules of jobs, and of `passed` between them.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::PipelineConfig;
use jb_model::config::JobConfig;

use super::section::SeenNames;
use super::step::StepValidator;
use super::{Findings, Place, each_get_and_put};
use crate::diagnostic::{Code, PathStep, Section};
use crate::glob::Glob;

pub(super) fn jobs(config: &PipelineConfig, links: &Links<'_>, findings: &mut Findings) {
    let section = Section::Jobs;
    if config.jobs.is_empty() {
        let message = "jobs: pipeline must contain at least one job".to_owned();
        findings.error(section, Code::NoJobs, &["jobs".into()], message);
        return;
    }
    let mut names = SeenNames::default();
    for (index, job) in config.jobs.iter().enumerate() {
        let place = Place { section: "jobs", index };
        let (identifier, path) = (place.identifier(&job.name), place.path());
        findings.identifier(section, &path, &job.name, std::slice::from_ref(&identifier));
        names.check(findings, section, &place, &job.name);
        if job.name.is_empty() {
            findings.error(section, Code::MissingName, &path, format!("{identifier} has no name"));
        }
        log_retention(job, &identifier, &path, findings);
        StepValidator::new(config, links, findings, identifier, path).job(job);
    }
}

fn log_retention(job: &JobConfig, identifier: &str, path: &[PathStep], findings: &mut Findings) {
    let section = Section::Jobs;
    if job.build_logs_to_retain != 0 {
        let message = format!(
            "{identifier}.build_logs_to_retain is deprecated. Use build_log_retention instead."
        );
        findings.warning(section, Code::DeprecatedField, path, message);
    }
    let Some(retention) = &job.build_log_retention else { return };
    if job.build_logs_to_retain != 0 {
        let message =
            format!("{identifier} can't use both build_log_retention and build_logs_to_retain");
        findings.error(section, Code::LogRetention, path, message);
    }
    if retention.builds > 0 && retention.minimum_succeeded_builds > retention.builds {
        let message = format!(
            "{identifier} has build_log_retention.min_success_builds: {} greater than build_log_retention.min_success_builds: {}",
            retention.minimum_succeeded_builds, retention.builds
        );
        findings.error(section, Code::LogRetention, path, message);
    }
}

/// The names of a pipeline, for finding what is meant without searching all of it each time.
pub(super) struct Names<'a> {
    jobs: &'a [JobConfig],
    jobs_by_name: BTreeMap<&'a str, Vec<usize>>,
    resources: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    pub(super) fn new(config: &'a PipelineConfig) -> Self {
        let mut jobs_by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, job) in config.jobs.iter().enumerate() {
            jobs_by_name.entry(&job.name).or_default().push(index);
        }
        let resources = config.resources.iter().map(|resource| resource.name.as_str()).collect();
        Names { jobs: &config.jobs, jobs_by_name, resources }
    }

    pub(super) fn has_resource(&self, name: &str) -> bool {
        self.resources.contains(name)
    }

    /// The indices of the jobs that a pattern means, `None` when it cannot be compiled.
    pub(super) fn jobs_matching(
        &self,
        pattern: &str,
        compile: fn(&str) -> Option<Glob>,
    ) -> Option<Vec<usize>> {
        if Glob::is_plain(pattern) {
            return Some(self.jobs_by_name.get(pattern).cloned().unwrap_or_default());
        }
        let glob = compile(pattern)?;
        let matches = |(index, job): (usize, &JobConfig)| glob.matches(&job.name).then_some(index);
        Some(self.jobs.iter().enumerate().filter_map(matches).collect())
    }
}

/// Which jobs each pattern of `passed` means, and which resources each job touches.
pub(super) struct Links<'a> {
    pub(super) names: Names<'a>,
    jobs_of: BTreeMap<&'a str, Vec<usize>>,
    resources_of: Vec<BTreeSet<&'a str>>,
}

impl<'a> Links<'a> {
    pub(super) fn new(config: &'a PipelineConfig) -> Self {
        let names = Names::new(config);
        let mut jobs_of = BTreeMap::new();
        let mut resources_of = Vec::with_capacity(config.jobs.len());
        for job in &config.jobs {
            let mut resources = BTreeSet::new();
            each_get_and_put(job, &mut |resource, get| {
                resources.insert(resource);
                for pattern in get.iter().flat_map(|get| &get.passed) {
                    jobs_of.entry(pattern.as_str()).or_insert_with(|| {
                        names.jobs_matching(pattern, Glob::passed).unwrap_or_default()
                    });
                }
            });
            resources_of.push(resources);
        }
        Links { names, jobs_of, resources_of }
    }

    /// The indices of the jobs that a pattern means.
    pub(super) fn jobs(&self, pattern: &str) -> &[usize] {
        self.jobs_of.get(pattern).map_or(&[], Vec::as_slice)
    }

    pub(super) fn touches(&self, job: usize, resource: &str) -> bool {
        self.resources_of.get(job).is_some_and(|resources| resources.contains(resource))
    }
}

/// Reports the first cycle of `passed`.
pub(super) fn cycles(config: &PipelineConfig, links: &Links<'_>, findings: &mut Findings) {
    let before: Vec<Vec<usize>> = config.jobs.iter().map(|job| upstream(job, links)).collect();
    if let Some(index) = find_cycle(&before) {
        let name = config.jobs.get(index).map_or("", |job| &job.name);
        let message = format!("pipeline contains a cycle that starts at Job '{name}'");
        let path = Place { section: "jobs", index }.path();
        findings.error(Section::Cycles, Code::Cycle, &path, message);
    }
}

fn upstream(job: &JobConfig, links: &Links<'_>) -> Vec<usize> {
    let mut before = Vec::new();
    each_get_and_put(job, &mut |_, get| {
        for pattern in get.iter().flat_map(|get| &get.passed) {
            before.extend_from_slice(links.jobs(pattern));
        }
    });
    before
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    Open,
    Done,
}

/// The first node found again while it is still open, walking depth first without recursion.
fn find_cycle(edges: &[Vec<usize>]) -> Option<usize> {
    let mut state = vec![Visit::Not; edges.len()];
    for root in 0..edges.len() {
        if state[root] != Visit::Not {
            continue;
        }
        state[root] = Visit::Open;
        let mut stack = vec![(root, 0)];
        while let Some((node, next)) = stack.last_mut() {
            let node = *node;
            let Some(&target) = edges[node].get(*next) else {
                state[node] = Visit::Done;
                stack.pop();
                continue;
            };
            *next += 1;
            match state[target] {
                Visit::Open => return Some(target),
                Visit::Done => {}
                Visit::Not => {
                    state[target] = Visit::Open;
                    stack.push((target, 0));
                }
            }
        }
    }
    None
}
