//! The `set_pipeline` step: a build configures a pipeline.

use jb_model::config::SetPipelineStep;
use jb_model::event::LogSource;
use jb_model::{BuildEvent, Object, Outcome, Value};
use jb_pipeline::CheckedPipeline;
use jb_store::{SaveOutcome, SavePipeline};

use super::{Done, Leaf, Trouble, generic_start};
use crate::build::BuildContext;

/// A pipeline's file, or a file of vars, may not be larger than this.
const FILE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// A pipeline that sets itself.
const SELF: &str = "self";

pub(crate) async fn run(
    context: &BuildContext,
    leaf: &Leaf,
    step: &SetPipelineStep,
) -> Result<Done, Trouble> {
    let origin = &leaf.plan.id;
    context.once(origin, "start", generic_start(origin, context.now())).await?;
    let target = target(context, leaf, step).await?;
    let vars = vars(context, leaf, step, &target.instance_vars).await?;
    let file = context.interpolate_text(leaf, &step.file).await?;
    let content = context.read_artifact_file(leaf, &file, FILE_BYTES_MAX).await?;
    let text =
        String::from_utf8(content).map_err(|_| Trouble::new(format!("{file} is no UTF-8 text")))?;
    let checked = jb_pipeline::check_pipeline_with_vars(&text, &[&vars]);
    for warning in checked.warnings() {
        context.say_on(leaf, LogSource::Stderr, &format!("WARNING: {}\n", warning.message)).await?;
    }
    if !checked.is_valid() {
        context.say_on(leaf, LogSource::Stderr, "invalid pipeline:\n").await?;
        for error in checked.errors() {
            context.say_on(leaf, LogSource::Stderr, &format!("- {error}\n")).await?;
        }
        return Ok(finished(context, leaf, Outcome::Failed));
    }
    save(context, leaf, &target, &checked).await
}

/// Which pipeline is set.
struct Target {
    team: jb_store::TeamRecord,
    name: String,
    instance_vars: Object,
}

impl Target {
    /// `name/key:value`, as people write instances.
    fn display(&self) -> String {
        jb_pipeline::instance_vars::pipeline_text(
            &self.name,
            Some(&self.instance_vars).filter(|vars| !vars.is_empty()),
        )
    }
}

async fn target(
    context: &BuildContext,
    leaf: &Leaf,
    step: &SetPipelineStep,
) -> Result<Target, Trouble> {
    let store = &context.engine.store;
    let own = store.team(context.build.team_id).await?;
    let own = own.ok_or_else(|| Trouble::new("the build's team is gone".to_owned()))?;
    let team_name = context.interpolate_text(leaf, &step.team).await?;
    let team = if team_name.is_empty() || team_name == own.name {
        own
    } else if own.admin {
        let other = store.team_by_name(&team_name).await?;
        other.ok_or_else(|| Trouble::new(format!("team {team_name} not found")))?
    } else {
        return Err(Trouble::new("only main team can set another team's pipeline".to_owned()));
    };
    if step.name == SELF {
        let pipeline = context.build.pipeline.as_ref();
        let pipeline = pipeline.ok_or_else(|| {
            Trouble::new("`set_pipeline: self` needs a build of a pipeline".to_owned())
        })?;
        let (name, instance_vars) = (pipeline.name.clone(), pipeline.instance_vars.clone());
        return Ok(Target { team, name, instance_vars });
    }
    let name = context.interpolate_text(leaf, &step.name).await?;
    let instance_vars = context.interpolate_object(leaf, &step.instance_vars).await?;
    Ok(Target { team, name, instance_vars })
}

/// Instance vars win over vars, which win over files; of files the first.
async fn vars(
    context: &BuildContext,
    leaf: &Leaf,
    step: &SetPipelineStep,
    instance_vars: &Object,
) -> Result<Object, Trouble> {
    let mut vars = Object::new();
    for file in step.var_files.iter().rev() {
        let file = context.interpolate_text(leaf, file).await?;
        let content = context.read_artifact_file(leaf, &file, FILE_BYTES_MAX).await?;
        let text = String::from_utf8_lossy(&content);
        let parsed = jb_pipeline::check::parse_var_file(&text)
            .map_err(|error| Trouble::new(format!("var file {file}: {error}")))?;
        vars.extend(parsed);
    }
    vars.extend(context.interpolate_object(leaf, &step.vars).await?);
    vars.extend(instance_vars.clone());
    Ok(vars)
}

async fn save(
    context: &BuildContext,
    leaf: &Leaf,
    target: &Target,
    checked: &CheckedPipeline,
) -> Result<Done, Trouble> {
    let config = &checked.normalised;
    let store = &context.engine.store;
    let existing =
        store.find_pipeline(&target.team.name, &target.name, &target.instance_vars).await?;
    let stored = match &existing {
        Some(pipeline) => store.pipeline_config(pipeline.id).await?,
        None => None,
    };
    let archived = existing.as_ref().is_some_and(|pipeline| pipeline.archived);
    let (before, version) = stored.map_or((Value::Null, 0), |(config, version)| (config, version));
    let before = if archived { Value::Null } else { before };
    let open = jb_pipeline::full_network::of_pipeline(&checked.config);
    // Whoever may change the file may not have the role that this needs; nobody else is known here.
    if !open.is_empty() && before != *config {
        let open = open.join(", ");
        let text = format!(
            "the agents of these steps have `network: full`: {open}\na step cannot set a pipeline with such agents: set it with `fly set-pipeline`, or list the hosts that they need\n"
        );
        context.say_on(leaf, LogSource::Stderr, &text).await?;
        return Ok(finished(context, leaf, Outcome::Failed));
    }
    // Once saved there is nothing to compare with any more, should this be repeated.
    let changes = match context.announced_changes(leaf).await? {
        Some(changes) => changes,
        None => {
            let changes = crate::config_diff::render(&before, config);
            context.announce_changes(leaf, &changes).await?;
            changes
        }
    };
    if changes.is_empty() {
        context.say(leaf, "no changes to apply.\n").await?;
    } else {
        context.say(leaf, &changes).await?;
        context.say(leaf, &format!("setting pipeline: {}\n", target.display())).await?;
    }
    let changed = BuildEvent::SetPipelineChanged {
        origin: leaf.plan.id.clone(),
        changed: !changes.is_empty(),
    };
    context.once(&leaf.plan.id, "changed", vec![changed]).await?;
    let set_by = context.build.job_id.map(|job| (job, context.build.id));
    let saved = store
        .save_pipeline(
            SavePipeline {
                team: target.team.id,
                name: &target.name,
                instance_vars: &target.instance_vars,
                config,
                from_version: Some(if archived { 0 } else { version }),
                initially_paused: false,
                set_by,
            },
            context.now(),
        )
        .await?;
    if let SaveOutcome::SetByNewerBuild { .. } = saved {
        context
            .say_on(
                leaf,
                LogSource::Stderr,
                "WARNING: the pipeline was not saved because it was already saved by a newer build\n",
            )
            .await?;
    } else if !changes.is_empty() {
        context.say(leaf, "done\n").await?;
    }
    Ok(finished(context, leaf, Outcome::Succeeded))
}

fn finished(context: &BuildContext, leaf: &Leaf, outcome: Outcome) -> Done {
    let succeeded = outcome == Outcome::Succeeded;
    let event = BuildEvent::Finish { origin: leaf.plan.id.clone(), time: context.now(), succeeded };
    Done::new(outcome, vec![event])
}
