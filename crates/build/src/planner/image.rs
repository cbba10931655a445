//! How the images of resource types and tasks are fetched: a check that finds the version and a get.

use std::collections::BTreeMap;

use jb_model::config::{CheckEvery, ImageResource};
use jb_model::plan::{CheckPlan, GetPlan, TypeImage, VersionSource};
use jb_model::{Object, Plan, PlanId, PlanStep, ResourceTypeConfig, duration};

use super::{merged, named};
use crate::error::PlanError;

/// Longest chain of custom types. Each link doubles the image plans: a check and a get, each with an image.
const MAX_TYPE_CHAIN: usize = 8;

/// Makes image plans from a pipeline's resource types.
///
/// A type may be of another custom type, and may carry the name of the base type that it is made from: while a type's
/// own image is planned, the type itself does not exist.
#[derive(Clone, Debug)]
pub struct TypePlanner<'a> {
    /// With defaults merged under their sources.
    types: Vec<ResourceTypeConfig>,
    base_defaults: &'a BTreeMap<String, Object>,
}

/// Image plans of a task or type: `<id>/image-check`, left out when the version is given, and `<id>/image-get`.
pub type ImagePlans = (Option<Plan>, Plan);

impl<'a> TypePlanner<'a> {
    /// Takes types as the pipeline writes them.
    pub fn new(types: &[ResourceTypeConfig], base_defaults: &'a BTreeMap<String, Object>) -> Self {
        let with_defaults = |config: &ResourceTypeConfig| {
            // A type of its own name is made from the base type.
            let parent = types
                .iter()
                .find(|parent| parent.name == config.kind && !std::ptr::eq(*parent, config));
            let defaults = match parent {
                Some(parent) => Some(&parent.defaults),
                None => base_defaults.get(&config.kind),
            };
            let source = match defaults {
                Some(defaults) => merged(defaults, &config.source),
                None => config.source.clone(),
            };
            ResourceTypeConfig { source, ..config.clone() }
        };
        Self { types: types.iter().map(with_defaults).collect(), base_defaults }
    }

    /// The planner for the image of that type: the type itself does not exist then.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.types.retain(|config| config.name != name);
        self
    }

    /// The types, defaults merged under their sources.
    pub fn configs(&self) -> &[ResourceTypeConfig] {
        &self.types
    }

    /// A source with the defaults of its type merged under it.
    pub fn with_defaults(&self, kind: &str, source: &Object) -> Object {
        let defaults = match named(&self.types, kind) {
            Some(parent) => Some(&parent.defaults),
            None => self.base_defaults.get(kind),
        };
        defaults.map_or_else(|| source.clone(), |defaults| merged(defaults, source))
    }

    /// How to get the image in which steps of this type run. `id` is the step's.
    ///
    /// # Errors
    /// When types of types go too deep.
    pub fn image(
        &self,
        id: &PlanId,
        kind: &str,
        step_tags: &[String],
        skip_interval: bool,
    ) -> Result<TypeImage, PlanError> {
        type_image(&self.types, id, kind, step_tags, skip_interval)
    }
}

/// How to get the image of a task, or of a server beside an agent's.
///
/// `image` is the `image_resource` as it is once the task's file is read, its vars still in it; the defaults of its type
/// are merged under its source here. `types` are those of the task's plan. `owner` is the task's id, or one within it;
/// `name` is what the log calls the image.
///
/// # Errors
/// When types of types go too deep.
pub fn plan_task_image(
    image: &ImageResource,
    types: &[ResourceTypeConfig],
    base_defaults: &BTreeMap<String, Object>,
    (owner, name): (&PlanId, &str),
    step_tags: &[String],
    skip_interval: bool,
) -> Result<ImagePlans, PlanError> {
    let defaults = match named(types, &image.kind) {
        Some(parent) => Some(&parent.defaults),
        None => base_defaults.get(&image.kind),
    };
    let mut image = ImageResource { name: name.to_owned(), ..image.clone() };
    if let Some(defaults) = defaults {
        image.source = merged(defaults, &image.source);
    }
    fetch(types, &image, owner, step_tags, skip_interval, &CheckEvery::Default)
}

fn type_image(
    types: &[ResourceTypeConfig],
    id: &PlanId,
    kind: &str,
    step_tags: &[String],
    skip_interval: bool,
) -> Result<TypeImage, PlanError> {
    let Some(parent) = named(types, kind) else {
        return Ok(TypeImage { base_type: kind.to_owned(), ..TypeImage::default() });
    };
    let image = ImageResource {
        name: parent.name.clone(),
        kind: parent.kind.clone(),
        source: parent.source.clone(),
        version: None,
        params: parent.params.clone(),
        tags: parent.tags.clone(),
    };
    let others: Vec<_> = types.iter().filter(|other| other.name != kind).cloned().collect();
    let (mut check, get) =
        fetch(&others, &image, id, step_tags, skip_interval, &parent.check_every)?;
    if let Some(Plan { step: PlanStep::Check(check), .. }) = &mut check {
        kind.clone_into(&mut check.resource_type);
    }
    Ok(TypeImage {
        base_type: base_type(types, kind),
        privileged: parent.privileged,
        check: check.map(Box::new),
        get: Some(Box::new(get)),
    })
}

/// The type at the end of the chain.
fn base_type(types: &[ResourceTypeConfig], kind: &str) -> String {
    let mut passed: Vec<&str> = Vec::new();
    let mut kind = kind;
    while let Some(parent) = named(types, kind)
        && !passed.contains(&kind)
    {
        passed.push(kind);
        kind = &parent.kind;
    }
    kind.to_owned()
}

fn fetch(
    types: &[ResourceTypeConfig],
    image: &ImageResource,
    id: &PlanId,
    step_tags: &[String],
    skip_interval: bool,
    check_every: &CheckEvery,
) -> Result<ImagePlans, PlanError> {
    if id.as_str().matches("/image-").count() >= MAX_TYPE_CHAIN {
        return Err(PlanError::TypesTooDeep { limit: MAX_TYPE_CHAIN, kind: image.kind.clone() });
    }
    let tags = if image.tags.is_empty() { step_tags.to_vec() } else { image.tags.clone() };
    let (check_id, get_id) =
        (PlanId(format!("{id}/image-check")), PlanId(format!("{id}/image-get")));
    let check = if image.version.is_none() {
        let check = CheckPlan {
            name: image.name.clone(),
            kind: image.kind.clone(),
            source: image.source.clone(),
            from_version: None,
            resource: String::new(),
            resource_type: String::new(),
            prototype: String::new(),
            interval: interval_text(check_every),
            skip_interval,
            timeout: String::new(),
            image: type_image(types, &check_id, &image.kind, &tags, skip_interval)?,
            tags: tags.clone(),
        };
        let step = PlanStep::Check(Box::new(check));
        Some(Plan { id: check_id.clone(), attempts: Vec::new(), step })
    } else {
        None
    };
    let get = GetPlan {
        name: image.name.clone(),
        kind: image.kind.clone(),
        resource: String::new(),
        source: image.source.clone(),
        params: image.params.clone(),
        version: match &image.version {
            Some(version) => VersionSource::Fixed(version.clone()),
            None => VersionSource::From(check_id),
        },
        image: type_image(types, &get_id, &image.kind, &tags, skip_interval)?,
        tags,
        timeout: String::new(),
    };
    let get = Plan { id: get_id, attempts: Vec::new(), step: PlanStep::Get(Box::new(get)) };
    Ok((check, get))
}

/// The interval as plans write it; empty for the server's default.
pub(super) fn interval_text(every: &CheckEvery) -> String {
    match every {
        CheckEvery::Default => String::new(),
        CheckEvery::Never => "never".to_owned(),
        CheckEvery::Every(interval) => duration::format(*interval),
    }
}
