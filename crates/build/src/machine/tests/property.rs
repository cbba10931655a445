//! Random plans, random answers, random order.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::{BuildEvent, Outcome, Plan, PlanId, PlanStep, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::outline;
use super::spec::{images, replay};
use crate::machine::nodes::{Hook, Kind};
use crate::machine::{
    Applied, BuildMachine, CancelReason, Effect, Event, IgnoredReason, LeafResult, Phase,
};

/// Outlines of plans; ids are given when it is written.
#[derive(Clone, Debug)]
enum Sketch {
    Leaf { kind: &'static str, timeout: Option<u8> },
    List { head: String, steps: Vec<Self> },
    Across { head: String, template: Box<Self> },
    Hooked { kind: &'static str, step: Box<Self>, hook: Box<Self> },
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let kinds = prop::sample::select(vec!["step", "step", "load", "task", "get"]);
    let leaf = (kinds, prop::option::weighted(0.3, 1..9_u8)).prop_map(|(kind, timeout)| {
        Sketch::Leaf { kind, timeout: timeout.filter(|_| kind != "load") }
    });
    leaf.prop_recursive(5, 24, 4, |inner| {
        let steps = || prop::collection::vec(inner.clone(), 0..4);
        let hooks = prop::sample::select(vec![
            "on_success",
            "on_failure",
            "on_error",
            "on_abort",
            "ensure",
        ]);
        prop_oneof![
            2 => steps().prop_map(|steps| Sketch::List { head: "do".to_owned(), steps }),
            2 => (steps(), 0..3_u32, any::<bool>()).prop_map(|(steps, limit, fail_fast)| {
                let head = format!("in_parallel limit={limit} fail_fast={fail_fast}");
                Sketch::List { head, steps }
            }),
            1 => prop::collection::vec(inner.clone(), 1..3)
                .prop_map(|steps| Sketch::List { head: "retry".to_owned(), steps }),
            1 => inner.clone()
                .prop_map(|step| Sketch::List { head: "try".to_owned(), steps: vec![step] }),
            1 => (inner.clone(), 0..20_u8).prop_map(|(step, after)| {
                Sketch::List { head: format!("timeout after={after}s"), steps: vec![step] }
            }),
            1 => (inner.clone(), 1..3_u32, any::<bool>()).prop_map(|(step, limit, fail_fast)| {
                let head = format!("across v={limit} w=all fail_fast={fail_fast}");
                Sketch::Across { head, template: Box::new(step) }
            }),
            4 => (hooks, inner.clone(), inner).prop_map(|(kind, step, hook)| {
                Sketch::Hooked { kind, step: Box::new(step), hook: Box::new(hook) }
            }),
        ]
    })
}

impl Sketch {
    fn write(&self, indent: usize, next: &mut usize, out: &mut String) {
        *next += 1;
        let id = *next;
        out.push_str(&" ".repeat(indent));
        let inside = indent + 1;
        match self {
            Self::Leaf { kind, timeout } => {
                let timeout =
                    timeout.map_or_else(String::new, |limit| format!(" timeout={limit}s"));
                out.push_str(&format!("{kind} n{id}{timeout}\n"));
            }
            Self::List { head, steps } => {
                let (kind, options) = head.split_once(' ').unwrap_or((head, ""));
                out.push_str(&format!("{kind} n{id} {options}\n"));
                steps.iter().for_each(|step| step.write(inside, next, out));
            }
            Self::Across { head, template } => {
                out.push_str(&head.replacen("across", &format!("across n{id}"), 1));
                out.push('\n');
                template.write(inside, next, out);
            }
            Self::Hooked { kind, step, hook } => {
                out.push_str(&format!("{kind} n{id}\n"));
                step.write(inside, next, out);
                hook.write(inside, next, out);
            }
        }
    }
}

/// Plays the driver: answers what is outstanding in an order drawn from a seed.
struct Driver {
    plan: Plan,
    machine: BuildMachine,
    events: Vec<(Timestamp, Event)>,
    now: Timestamp,
    /// Unanswered effects.
    running: BTreeMap<PlanId, Phase>,
    resolving: BTreeSet<PlanId>,
    cancelled: BTreeMap<PlanId, CancelReason>,
    /// How often each phase was given out.
    given: BTreeMap<(PlanId, Phase), usize>,
    final_events: usize,
    aborted: bool,
    /// State of a generator of choices.
    random: u64,
}

impl Driver {
    fn new(plan: Plan, seed: u64) -> Self {
        let machine = BuildMachine::new(plan.clone()).unwrap();
        Self {
            plan,
            machine,
            events: Vec::new(),
            now: Timestamp(0),
            running: BTreeMap::new(),
            resolving: BTreeSet::new(),
            cancelled: BTreeMap::new(),
            given: BTreeMap::new(),
            final_events: 0,
            aborted: false,
            random: seed,
        }
    }

    fn choose(&mut self, below: usize) -> usize {
        // Knuth's multiplier; the upper bits are the better ones.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.random >> 40).unwrap() % below
    }

    fn apply(&mut self, event: Event) -> Applied {
        let mut effects = Vec::new();
        let over = self.machine.status().is_some();
        let applied = self.machine.apply(self.now, event.clone(), &mut effects);
        if over {
            assert_eq!(applied, Applied::Ignored(IgnoredReason::Over));
        }
        if let Applied::Ignored(_) = applied {
            assert_eq!(effects, []);
            assert_eq!(replay(&self.plan, &self.events), self.machine);
            return applied;
        }
        self.events.push((self.now, event));
        for effect in effects {
            self.perform(effect);
        }
        self.check_outstanding();
        applied
    }

    fn perform(&mut self, effect: Effect) {
        assert_eq!(self.final_events, 0, "nothing comes after the end");
        match effect {
            Effect::Run { node, phase } => {
                *self.given.entry((node.clone(), phase)).or_default() += 1;
                assert_eq!(self.running.insert(node, phase), None);
            }
            Effect::ResolveAcross { node } => assert!(self.resolving.insert(node)),
            Effect::Cancel { node, reason } => {
                assert!(self.running.contains_key(&node), "only what runs is cancelled");
                assert_eq!(self.cancelled.insert(node, reason), None, "and only once");
            }
            Effect::Emit(BuildEvent::Status { status, .. }) => {
                assert_eq!(Some(status), self.machine.status());
            }
            Effect::Emit(_) => {}
            Effect::Finish(status) => {
                assert_eq!(Some(status), self.machine.status());
                self.final_events += 1;
            }
        }
    }

    /// A restarted server has the same machine, and is told to do exactly what is not answered.
    fn check_outstanding(&self) {
        let again = replay(&self.plan, &self.events);
        assert_eq!(again, self.machine);
        let mut outstanding = Vec::new();
        again.outstanding(&mut outstanding);
        let (mut running, mut resolving, mut cancelled) =
            (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        for effect in outstanding {
            match effect {
                Effect::Run { node, phase } => drop(running.insert(node, phase)),
                Effect::ResolveAcross { node } => drop(resolving.insert(node)),
                Effect::Cancel { node, reason } => drop(cancelled.insert(node, reason)),
                Effect::Finish(status) => assert_eq!(Some(status), self.machine.status()),
                Effect::Emit(_) => panic!("events are not said twice"),
            }
        }
        if self.machine.status().is_none() {
            assert_eq!(running, self.running);
            assert_eq!(cancelled, self.cancelled);
            assert!(resolving.is_subset(&self.resolving));
            assert!(!running.is_empty() || !resolving.is_empty(), "a build waits for something");
        }
    }

    fn step(&mut self) {
        self.now = Timestamp(self.now.0 + 700_000);
        match self.choose(16) {
            0 => drop(self.apply(Event::Tick)),
            1 if !self.aborted => self.abort(),
            2 => self.nonsense(),
            _ => self.answer(),
        }
        self.check_limits();
    }

    fn abort(&mut self) {
        self.aborted = true;
        let before = self.running.clone();
        self.apply(Event::Abort);
        for node in before.keys() {
            let reached = self.cancelled.contains_key(node) || !self.running.contains_key(node);
            assert!(reached || self.may_be_shielded(node), "{node} was not told of the abort");
        }
    }

    /// Hooks of steps that were cut short run out of reach; nothing else does.
    fn may_be_shielded(&self, node: &PlanId) -> bool {
        let mut id = self.machine.ids[node];
        while let Some(parent) = self.machine.node(id).parent {
            let node = self.machine.node(parent);
            if let Kind::Hooked(Hook::Abort | Hook::Ensure | Hook::Error) = node.kind
                && node.children[1] == id
            {
                return true;
            }
            id = parent;
        }
        false
    }

    fn nonsense(&mut self) {
        let at = self.choose(self.events.len().max(1));
        if let Some((_, event)) = self.events.get(at).cloned() {
            // A late repeat. It may fit again only if it is about something that still waits.
            let waits = match &event {
                Event::Start | Event::AcrossValues { .. } => false,
                Event::Abort | Event::Tick => return,
                Event::Prepared { node, .. } => self.running.get(node) == Some(&Phase::Prepare),
                Event::Started { node, .. } => self.running.contains_key(node),
                Event::Finished { node, phase, .. } => self.running.get(node) == Some(phase),
            };
            if !waits {
                assert_ne!(self.apply(event), Applied::Changed);
            }
        }
    }

    fn answer(&mut self) {
        let count = self.running.len() + self.resolving.len();
        let choice = self.choose(count.max(1));
        if let Some(node) = self.resolving.iter().nth(choice).cloned() {
            self.resolving.remove(&node);
            let values = match self.choose(8) {
                0 => Err("no values".to_owned()),
                1 => Ok(vec![vec![json!("a"), json!("b")], vec![]]),
                _ => Ok(vec![vec![json!("a"), json!("b")], vec![json!(1)]]),
            };
            self.apply(Event::AcrossValues { node, values });
            return;
        }
        let choice = choice.saturating_sub(self.resolving.len());
        let Some((node, phase)) = self.running.iter().nth(choice) else { return };
        let (node, phase) = (node.clone(), *phase);
        let outcome = match self.choose(8) {
            0 if phase == Phase::Run => {
                let timeout = None;
                self.apply(Event::Started { node, timeout });
                return;
            }
            1 | 2 => Outcome::Failed,
            3 => Outcome::Errored,
            4 if self.cancelled.contains_key(&node) => Outcome::Aborted,
            _ if phase == Phase::Prepare => {
                let needs = match self.choose(4) {
                    0 if node.as_str().len() < 40 => "image",
                    1 if node.as_str().len() < 40 => "image-get",
                    2 if node.as_str().len() < 40 => "image a/image-get b/image",
                    _ => "",
                };
                let images = images(node.as_str(), needs);
                self.running.remove(&node);
                self.cancelled.remove(&node);
                assert_eq!(self.apply(Event::Prepared { node, images }), Applied::Changed);
                return;
            }
            _ => Outcome::Succeeded,
        };
        self.running.remove(&node);
        self.cancelled.remove(&node);
        let result = LeafResult { outcome, message: None };
        assert_eq!(self.apply(Event::Finished { node, phase, result }), Applied::Changed);
    }

    /// No more steps run side by side than the plan allows.
    fn check_limits(&self) {
        let busy = |plan: &Plan| {
            let mut ids = BTreeSet::new();
            gather_ids(plan, &mut ids);
            self.running.keys().chain(&self.resolving).any(|node| {
                ids.iter().any(|id| node == id || node.as_str().starts_with(&format!("{id}/")))
            })
        };
        each(&self.plan, &mut |plan| {
            if let PlanStep::InParallel { steps, limit, .. } = &plan.step
                && *limit > 0
                && self.machine.status().is_none()
            {
                let running = steps.iter().filter(|step| busy(step)).count();
                assert!(running <= usize::try_from(*limit).unwrap());
            }
        });
    }

    /// An ensure hook that is one leaf ran exactly once if its step ran at all, and never twice.
    fn check_ensures(&self) {
        let given = |id: &PlanId| {
            let of_node = |phase| self.given.get(&(id.clone(), phase)).copied().unwrap_or(0);
            (of_node(Phase::Prepare), of_node(Phase::Run))
        };
        assert!(self.given.values().all(|count| *count == 1), "no phase is given out twice");
        each(&self.plan, &mut |plan| {
            if let PlanStep::Ensure { step, hook } = &plan.step
                && hook.children().is_empty()
                && !matches!(hook.step, PlanStep::Do(_) | PlanStep::InParallel { .. })
                && !matches!(hook.step, PlanStep::Across(_) | PlanStep::Retry(_))
            {
                let mut ids = BTreeSet::new();
                gather_ids(step, &mut ids);
                if ids.iter().any(|id| given(id) != (0, 0)) {
                    let (prepared, run) = given(&hook.id);
                    assert_eq!(prepared.max(run), 1, "hook {} ran", hook.id);
                }
            }
        });
    }

    fn play(&mut self) {
        self.apply(Event::Start);
        for _ in 0..5_000 {
            if self.machine.status().is_some() {
                break;
            }
            self.step();
        }
        assert!(self.machine.status().is_some(), "the build ends when every effect is answered");
        assert_eq!(self.final_events, 1);
        self.check_ensures();
        for event in [Event::Start, Event::Abort, Event::Tick] {
            self.apply(event);
        }
    }
}

fn each(plan: &Plan, f: &mut impl FnMut(&Plan)) {
    f(plan);
    plan.children().into_iter().for_each(|child| each(child, f));
}

fn gather_ids(plan: &Plan, ids: &mut BTreeSet<PlanId>) {
    each(plan, &mut |plan| {
        ids.insert(plan.id.clone());
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_build_ends_and_survives_restarts(
        sketch in sketch(),
        seed in any::<u64>(),
    ) {
        let mut text = String::new();
        sketch.write(0, &mut 0, &mut text);
        Driver::new(outline::parse(&text), seed).play();
    }
}
