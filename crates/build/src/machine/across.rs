//! `across`: one substep for each combination of values, nested levels of parallel steps to run them.

use jb_model::config::{AcrossVar, MaxInFlight};
use jb_model::event::AcrossSubstep;
use jb_model::plan::AcrossPlan;
use jb_model::{BuildEvent, Plan, PlanId, PlanStep, Timestamp, Value};

use crate::machine::nodes::{Kind, Progress, State};
use crate::machine::verdict::{Fault, Verdict};
use crate::machine::{BuildMachine, Effect, IgnoredReason, NodeId};
use crate::plan_tree::{MAX_STEPS, renumber};
use crate::substitute::Substitution;

/// The values of one substep, by var.
type Combination = Vec<(String, Value)>;

impl BuildMachine {
    pub(crate) fn begin_across(&mut self, now: Timestamp, id: NodeId, out: &mut Vec<Effect>) {
        if let Some(reason) = self.contexts.over(self.node(id).context) {
            self.cut_short(now, id, reason, out);
            return;
        }
        self.progress(id, Progress::Resolving);
        if let Some(node) = self.node(id).id.clone() {
            let origin = node.clone();
            out.push(Effect::Emit(BuildEvent::Initialize { origin, time: now }));
            let origin = node.clone();
            out.push(Effect::Emit(BuildEvent::Start { origin, time: now }));
            out.push(Effect::ResolveAcross { node });
        }
    }

    pub(crate) fn across_values(
        &mut self,
        now: Timestamp,
        node: &PlanId,
        values: Result<Vec<Vec<Value>>, String>,
        out: &mut Vec<Effect>,
    ) -> Result<(), IgnoredReason> {
        let id = *self.ids.get(node).ok_or(IgnoredReason::UnknownNode)?;
        if !matches!(self.node(id).state, State::Running(Progress::Resolving)) {
            return Err(IgnoredReason::NotExpected);
        }
        let Some(Plan { step: PlanStep::Across(across), attempts, .. }) = self.plan_of(node) else {
            return Err(IgnoredReason::NotExpected);
        };
        let (across, attempts) = (across.as_ref().clone(), attempts.clone());
        let begun = values.and_then(|values| {
            let substeps = substeps(node, &across, &values)?;
            let shown = substeps.iter().map(|(plan, combination)| AcrossSubstep {
                plan: plan.clone(),
                values: combination.iter().map(|(_, value)| value.clone()).collect(),
            });
            let substeps_event = BuildEvent::AcrossSubsteps {
                origin: node.clone(),
                time: now,
                substeps: shown.collect(),
            };
            let counts: Vec<usize> = values.iter().map(Vec::len).collect();
            let level = Level { across: &across, attempts: &attempts, counts: &counts };
            let top = self.add_level(id, level, &mut substeps.into_iter())?;
            out.push(Effect::Emit(substeps_event));
            Ok(top)
        });
        match begun {
            Ok(top) => {
                self.node_mut(id).children.push(top);
                self.progress(id, Progress::Child);
                self.begin_nth(id, 0);
            }
            Err(message) => {
                self.say_error(now, id, message.clone(), out);
                self.settle(id, Verdict::fault(Fault::Broken(message)));
            }
        }
        Ok(())
    }

    /// All levels of an across step have ended.
    pub(crate) fn substeps_settled(
        &mut self,
        now: Timestamp,
        id: NodeId,
        verdict: Verdict,
        out: &mut Vec<Effect>,
    ) {
        if verdict.faulted() {
            self.say_error(now, id, verdict.message(), out);
        } else if let Some(origin) = self.node(id).id.clone() {
            let succeeded = verdict.succeeded();
            out.push(Effect::Emit(BuildEvent::Finish { origin, time: now, succeeded }));
        }
        self.settle(id, verdict);
    }

    /// Adds the parallel step for one var, and in it those for the vars after it, and in the last the substeps.
    fn add_level(
        &mut self,
        parent: NodeId,
        level: Level<'_>,
        substeps: &mut impl Iterator<Item = (Plan, Combination)>,
    ) -> Result<NodeId, String> {
        let ([var, inner @ ..], [count, inner_counts @ ..]) = (level.vars(), level.counts) else {
            return Err("an `across` step without vars".to_owned());
        };
        let limit = match var.max_in_flight {
            MaxInFlight::All => usize::MAX,
            MaxInFlight::Limit(limit) => usize::try_from(limit).unwrap_or(usize::MAX).max(1),
        };
        let kind = Kind::Parallel { limit, fail_fast: level.across.fail_fast };
        let place = (self.node(parent).tree, 0);
        let group = self.add_node(None, kind, Some(parent), place).map_err(|e| e.to_string())?;
        for _ in 0..*count {
            let child = if inner.is_empty() {
                let Some((plan, combination)) = substeps.next() else { break };
                let top = self.add_tree(plan, Some(group), level.attempts);
                let top = top.map_err(|error| error.to_string())?;
                self.combinations.insert(top, combination);
                top
            } else {
                self.add_level(group, Level { counts: inner_counts, ..level }, substeps)?
            };
            self.node_mut(group).children.push(child);
        }
        Ok(group)
    }
}

/// What is left of an across step's vars: those that belong to the last `counts`.
#[derive(Clone, Copy)]
struct Level<'a> {
    across: &'a AcrossPlan,
    attempts: &'a [u32],
    counts: &'a [usize],
}

impl<'a> Level<'a> {
    fn vars(&self) -> &'a [AcrossVar] {
        let vars = &self.across.vars;
        vars.get(vars.len().saturating_sub(self.counts.len())..).unwrap_or_default()
    }
}

/// The plans of all combinations, the last var changing fastest.
fn substeps(
    node: &PlanId,
    across: &AcrossPlan,
    values: &[Vec<Value>],
) -> Result<Vec<(Plan, Combination)>, String> {
    if values.len() != across.vars.len() {
        return Err(format!("{} vars got {} lists of values", across.vars.len(), values.len()));
    }
    let count = values.iter().try_fold(1_usize, |all, list| all.checked_mul(list.len()));
    if count.is_none_or(|count| count > MAX_STEPS) {
        return Err(format!("there are more than {MAX_STEPS} combinations of values"));
    }
    let mut combinations: Vec<Combination> = vec![Vec::new()];
    for (var, list) in across.vars.iter().zip(values) {
        combinations = combinations
            .iter()
            .flat_map(|begun| {
                list.iter().map(move |value| {
                    let mut longer = begun.clone();
                    longer.push((var.var.clone(), value.clone()));
                    longer
                })
            })
            .collect();
    }
    combinations
        .into_iter()
        .enumerate()
        .map(|(number, combination)| {
            let mut plan = across.template.clone();
            Substitution::new(&combination).plan(&mut plan).map_err(|error| {
                format!("the substep for {} cannot be made: {error}", shown(&combination))
            })?;
            renumber(&mut plan, &format!("{node}/{number}"));
            Ok((plan, combination))
        })
        .collect()
}

fn shown(combination: &Combination) -> String {
    let parts = combination.iter().map(|(var, value)| format!("{var}: {value}"));
    parts.collect::<Vec<_>>().join(", ")
}
