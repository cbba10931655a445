//! The rules of groups, resources, types, var sources and the display.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::PipelineConfig;

use super::job::Names;
use super::{Findings, Place, each_get_and_put};
use crate::diagnostic::{Code, PathStep, Section};
use crate::glob::Glob;

pub(super) fn groups(config: &PipelineConfig, known: &Names<'_>, findings: &mut Findings) {
    let section = Section::Groups;
    let mut grouped: BTreeSet<usize> = BTreeSet::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, group) in config.groups.iter().enumerate() {
        let place = Place { section: "groups", index };
        let path = place.path();
        findings.identifier(section, &path, &group.name, &[place.identifier(&group.name)]);
        *counts.entry(&group.name).or_default() += 1;
        for (index, pattern) in group.jobs.iter().enumerate() {
            let path = extend(&path, &["jobs".into(), index.into()]);
            let Some(matching) = known.jobs_matching(pattern, Glob::group) else {
                let message =
                    format!("invalid glob expression '{pattern}' for group '{}'", group.name);
                findings.error(section, Code::InvalidGlob, &path, message);
                continue;
            };
            if matching.is_empty() {
                let message = format!("no jobs match '{pattern}' for group '{}'", group.name);
                findings.error(section, Code::UnknownJob, &path, message);
            }
            grouped.extend(matching);
        }
        for (index, resource) in group.resources.iter().enumerate() {
            if !known.has_resource(resource) {
                let path = extend(&path, &["resources".into(), index.into()]);
                let message = format!("group '{}' has unknown resource '{resource}'", group.name);
                findings.error(section, Code::UnknownResource, &path, message);
            }
        }
    }
    let path = ["groups".into()];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 1) {
        let message =
            format!("group '{name}' appears {count} times. Duplicate names are not allowed.");
        findings.error(section, Code::DuplicateName, &path, message);
    }
    if config.groups.is_empty() {
        return;
    }
    let mut told = BTreeSet::new();
    for (index, job) in config.jobs.iter().enumerate() {
        if !grouped.contains(&index) && told.insert(&job.name) {
            let path = Place { section: "jobs", index }.path();
            let message = format!("job '{}' belongs to no group", job.name);
            findings.error(section, Code::UngroupedJob, &path, message);
        }
    }
}

fn extend(path: &[PathStep], more: &[PathStep]) -> Vec<PathStep> {
    [path, more].concat()
}

/// Names that were seen, with the place of the first of each.
#[derive(Default)]
pub(super) struct SeenNames<'a> {
    seen: BTreeMap<&'a str, String>,
}

impl<'a> SeenNames<'a> {
    /// Reports a name that was seen before, and remembers it otherwise.
    pub(super) fn check(
        &mut self,
        findings: &mut Findings,
        section: Section,
        place: &Place,
        name: &'a str,
    ) {
        if let Some(other) = self.seen.get(name) {
            let message = format!("{other} and {} have the same name ('{name}')", place.indexed());
            findings.error(section, Code::DuplicateName, &place.path(), message);
        } else if !name.is_empty() {
            self.seen.insert(name, place.indexed());
        }
    }
}

/// The rules shared by resources, types and prototypes.
fn named_and_typed<'a>(
    findings: &mut Findings,
    names: &mut SeenNames<'a>,
    section: Section,
    place: &Place,
    name: &'a str,
    kind: &str,
) {
    let (identifier, path) = (place.identifier(name), place.path());
    findings.identifier(section, &path, name, std::slice::from_ref(&identifier));
    names.check(findings, section, place, name);
    if name.is_empty() {
        findings.error(section, Code::MissingName, &path, format!("{identifier} has no name"));
    }
    if kind.is_empty() {
        findings.error(section, Code::MissingType, &path, format!("{identifier} has no type"));
    }
}

pub(super) fn resources(config: &PipelineConfig, findings: &mut Findings) {
    let mut names = SeenNames::default();
    for (index, resource) in config.resources.iter().enumerate() {
        let place = Place { section: "resources", index };
        let (name, kind) = (&resource.name, &resource.kind);
        named_and_typed(findings, &mut names, Section::Resources, &place, name, kind);
    }
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for job in &config.jobs {
        each_get_and_put(job, &mut |resource, _| {
            used.insert(resource);
        });
    }
    for (index, resource) in config.resources.iter().enumerate() {
        if !used.contains(resource.name.as_str()) {
            let path = Place { section: "resources", index }.path();
            let message = format!("resource '{}' is not used", resource.name);
            findings.error(Section::Resources, Code::UnusedResource, &path, message);
        }
    }
}

/// Resource types and prototypes, whose names share one space.
pub(super) fn types(config: &PipelineConfig, findings: &mut Findings) {
    let mut names = SeenNames::default();
    let kinds = [
        ("resource_types", Section::ResourceTypes, &config.resource_types),
        ("prototypes", Section::Prototypes, &config.prototypes),
    ];
    for (key, section, types) in kinds {
        for (index, ty) in types.iter().enumerate() {
            let place = Place { section: key, index };
            named_and_typed(findings, &mut names, section, &place, &ty.name, &ty.kind);
        }
    }
}

/// Kinds of credential managers that a pipeline may name.
const IN_PIPELINES: [&str; 5] = ["vault", "dummy", "ssm", "secretsmanager", "idtoken"];
/// Kinds that exist, but only for the whole server.
const SERVER_ONLY: [&str; 4] = ["credhub", "kubernetes", "conjur", "noop"];

pub(super) fn var_sources(config: &PipelineConfig, findings: &mut Findings) {
    let section = Section::VarSources;
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for (index, source) in config.var_sources.iter().enumerate() {
        let place = Place { section: "var_sources", index };
        let path = place.path();
        let kind = source.kind.as_str();
        findings.identifier(section, &path, &source.name, &[place.identifier(&source.name)]);
        if !IN_PIPELINES.contains(&kind) && !SERVER_ONLY.contains(&kind) {
            let message = format!("unknown credential manager type: {kind}");
            findings.error(section, Code::VarSource, &path, message);
            continue;
        }
        if SERVER_ONLY.contains(&kind) {
            let message =
                format!("credential manager type {kind} is not supported in pipeline yet");
            findings.error(section, Code::VarSource, &path, message);
        }
        if let Some(other) = seen.insert(&source.name, place.indexed()) {
            let message =
                format!("{other} and {} have the same name ('{}')", place.indexed(), source.name);
            findings.error(section, Code::DuplicateName, &path, message);
        }
        if let Some(message) = super::var_source::problem(source) {
            findings.error(section, Code::VarSource, &path, message);
        }
    }
    if let Err(names) = super::var_source::order(&config.var_sources) {
        let message = format!(
            "failed to order by dependency: could not resolve inter-dependent var sources: {}",
            names.join(", ")
        );
        findings.error(section, Code::VarSource, &["var_sources".into()], message);
    }
}

pub(super) fn display(config: &PipelineConfig, findings: &mut Findings) {
    let Some(display) = &config.display else { return };
    let image = &display.background_image;
    let path = ["display".into(), "background_image".into()];
    let message = match scheme(image) {
        Err(()) => format!("background_image is not a valid URL: {image}"),
        Ok(None | Some("http" | "https")) => return,
        Ok(Some(other)) if matches!(&*other.to_ascii_lowercase(), "http" | "https") => return,
        Ok(Some(_)) => "background_image scheme must be either http, https or relative".to_owned(),
    };
    findings.error(Section::Display, Code::Display, &path, message);
}

/// The scheme of a URL, `None` for a relative one.
fn scheme(url: &str) -> Result<Option<&str>, ()> {
    let bad_escape = url.split('%').skip(1).any(|after| {
        !(after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
    });
    if url.chars().any(|c| c.is_ascii_control()) || bad_escape {
        return Err(());
    }
    let Some((before, _)) = url.split_once(':') else { return Ok(None) };
    match before.as_bytes() {
        [] => Err(()),
        [first, rest @ ..] if first.is_ascii_alphabetic() => {
            let all = rest.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
            Ok(all.then_some(before))
        }
        // Go refuses a colon in the first segment of a relative path.
        _ if before.contains(['/', '?', '#']) => Ok(None),
        _ => Err(()),
    }
}
