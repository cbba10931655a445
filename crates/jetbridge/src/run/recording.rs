//! The directory of `--record` and `--replay`: a file for each agent's conversation, and one with people's answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, bail};
use jb_engine::agents::Recordings;
use jb_model::Plan;
use jb_model::plan::PlanStep;

use super::answers::Said;
use crate::cli::RunOptions;

/// What people answered.
const ANSWERS: &str = "answers.json";
/// How the name of a conversation's file ends.
const SUFFIX: &str = ".jsonl";

/// What the engine shall do with what models say.
pub(super) fn recordings(options: &RunOptions) -> anyhow::Result<Recordings> {
    if options.record.is_some() {
        return Ok(Recordings::Kept(Arc::default()));
    }
    let Some(dir) = &options.replay else { return Ok(Recordings::Left) };
    let what = || format!("--replay {}", dir.display());
    let mut recordings = BTreeMap::new();
    for entry in std::fs::read_dir(dir).with_context(what)? {
        let path = entry.with_context(what)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(name) = name.strip_suffix(SUFFIX) {
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| format!("--replay: read {}", path.display()))?;
            recordings.insert(name.to_owned(), text);
        }
    }
    Ok(Recordings::Replayed(Arc::new(recordings)))
}

/// The answers of a recorded run.
pub(super) fn answers(dir: &Path) -> anyhow::Result<Said> {
    let path = dir.join(ANSWERS);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Said::new()),
        text => text.with_context(|| format!("--replay: read {}", path.display()))?,
    };
    serde_json::from_str(&text).with_context(|| format!("--replay: {}", path.display()))
}

/// Writes what a run recorded; what an earlier run left there under other names stays.
pub(super) fn write(dir: &Path, recordings: &Recordings, answers: &Said) -> anyhow::Result<()> {
    let Recordings::Kept(kept) = recordings else { return Ok(()) };
    std::fs::create_dir_all(dir).with_context(|| format!("--record: create {}", dir.display()))?;
    let save = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("--record: write {}", path.display()))
    };
    for (name, text) in kept.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        save(&format!("{name}{SUFFIX}"), text)?;
    }
    save(ANSWERS, &serde_json::to_string_pretty(answers)?)
}

/// Recordings are found by the names of steps, so these must differ.
pub(super) fn check_names(plan: &Plan) -> anyhow::Result<()> {
    let mut names = Vec::new();
    collect(plan, &mut names);
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("two steps are called `{}`: to be recorded, each needs a name of its own", twice[0]);
    }
    Ok(())
}

fn collect<'a>(plan: &'a Plan, names: &mut Vec<&'a str>) {
    match &plan.step {
        PlanStep::Task(task) if task.agent.is_some() => names.push(&task.name),
        PlanStep::Approve(approve) => names.push(&approve.step.name),
        PlanStep::Across(across) => collect(&across.template, names),
        // Its attempts are told apart.
        PlanStep::Retry(attempts) => attempts.iter().take(1).for_each(|one| collect(one, names)),
        _ => plan.children().into_iter().for_each(|child| collect(child, names)),
    }
}
