//! Runs the specs in `specs/*.md`: under each heading a `plan` block and a `trace` block. In a trace, lines that begin
//! with `>` are events, those below them the effects. Set `UPDATE_SPECS=1` to write what the machine does.
//!
//! Events: `start`, `abort`, `tick`, `prepared ID [image|image-get|PART/image…]`, `started ID [LIMIT]`,
//! `finished ID prepare|run OUTCOME [MESSAGE]`, `ID OUTCOME [MESSAGE]` (the leaf prepares if it must, runs and ends so),
//! `values ID JSON`, `no-values ID MESSAGE`. `@N` in front sets the time to second N.
//!
//! After every event the machine is rebuilt from the plan and the events so far, and must be the same machine.

use std::fmt::Write as _;

use jb_model::plan::VersionSource;
use jb_model::{BuildEvent, Outcome, Plan, PlanId, PlanStep, Timestamp, duration};

use super::outline;
use crate::machine::{Applied, BuildMachine, Effect, Event, ImageNeed, LeafResult, Phase};

#[test]
fn specs_hold() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/specs");
    let update = std::env::var_os("UPDATE_SPECS").is_some();
    let mut cases = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let played = play_file(&text, &mut cases);
        if update {
            std::fs::write(&path, played).unwrap();
        } else if played != text {
            let at = played.lines().zip(text.lines()).position(|(is, should)| is != should);
            let at = at.unwrap_or_else(|| played.lines().count().min(text.lines().count()));
            panic!(
                "{}:{} differs\nshould be: {:?}\nbut is:    {:?}",
                path.display(),
                at + 1,
                text.lines().nth(at),
                played.lines().nth(at)
            );
        }
    }
    assert!(cases > 30, "only {cases} specs were found");
}

/// The file with what the machine does in its traces.
fn play_file(text: &str, cases: &mut usize) -> String {
    let mut played = String::new();
    let mut lines = text.lines();
    let mut plan = None;
    while let Some(line) = lines.next() {
        writeln!(played, "{line}").unwrap();
        let block = match line {
            "```plan" | "```trace" => {
                let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                body.join("\n")
            }
            _ => continue,
        };
        if line == "```plan" {
            writeln!(played, "{block}\n```").unwrap();
            plan = Some(outline::parse(&block));
        } else {
            let plan = plan.take().expect("a plan before the trace");
            writeln!(played, "{}```", play(&plan, &block)).unwrap();
            *cases += 1;
        }
    }
    played
}

/// A machine, what happened to it, and the plan to make it again.
struct Play {
    plan: Plan,
    machine: BuildMachine,
    events: Vec<(Timestamp, Event)>,
    now: Timestamp,
    trace: String,
}

fn play(plan: &Plan, trace: &str) -> String {
    let machine = BuildMachine::new(plan.clone()).unwrap();
    let now = Timestamp::from_unix_seconds(0);
    let mut play =
        Play { plan: plan.clone(), machine, events: Vec::new(), now, trace: String::new() };
    for line in trace.lines() {
        if let Some(event) = line.strip_prefix("> ") {
            writeln!(play.trace, "{line}").unwrap();
            play.line(event);
        } else if line.starts_with("--") {
            writeln!(play.trace, "{line}").unwrap();
        }
    }
    play.trace
}

impl Play {
    fn line(&mut self, line: &str) {
        let line = match line.strip_prefix('@') {
            Some(timed) => {
                let (seconds, rest) = timed.split_once(' ').unwrap();
                self.now = Timestamp::from_unix_seconds(seconds.parse().unwrap());
                rest
            }
            None => line,
        };
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (node, more) = rest.split_once(' ').unwrap_or((rest, ""));
        let id = PlanId::new(node);
        match verb {
            "start" => self.apply(Event::Start),
            "abort" => self.apply(Event::Abort),
            "tick" => self.apply(Event::Tick),
            "outstanding" => self.outstanding(),
            "deadline" => {
                let deadline = self.machine.deadline().map(Timestamp::unix_seconds);
                writeln!(self.trace, "{deadline:?}").unwrap();
            }
            "prepared" => {
                self.apply(Event::Prepared { node: id, images: images(node, more) });
            }
            "started" => {
                let timeout = (!more.is_empty()).then(|| duration::parse(more).unwrap());
                self.apply(Event::Started { node: id, timeout });
            }
            "finished" => {
                let (phase, result) = more.split_once(' ').unwrap();
                let phase = if phase == "prepare" { Phase::Prepare } else { Phase::Run };
                self.apply(Event::Finished { node: id, phase, result: leaf_result(result) });
            }
            "values" => {
                let values = serde_json::from_str(more).unwrap();
                self.apply(Event::AcrossValues { node: id, values: Ok(values) });
            }
            "no-values" => {
                self.apply(Event::AcrossValues { node: id, values: Err(more.to_owned()) });
            }
            leaf => {
                let id = PlanId::new(leaf);
                let mut outstanding = Vec::new();
                self.machine.outstanding(&mut outstanding);
                let prepare = Effect::Run { node: id.clone(), phase: Phase::Prepare };
                if outstanding.contains(&prepare) {
                    self.apply(Event::Prepared { node: id.clone(), images: Vec::new() });
                }
                let result = leaf_result(rest);
                self.apply(Event::Finished { node: id, phase: Phase::Run, result });
            }
        }
    }

    fn apply(&mut self, event: Event) {
        let mut effects = Vec::new();
        let applied = self.machine.apply(self.now, event.clone(), &mut effects);
        for effect in &effects {
            writeln!(self.trace, "{}", shown(effect)).unwrap();
        }
        match applied {
            Applied::Changed => self.events.push((self.now, event)),
            Applied::Ignored(reason) => {
                assert_eq!(effects, [], "an ignored event has no effect");
                writeln!(self.trace, "ignored: {reason:?}").unwrap();
            }
        }
        assert_eq!(replay(&self.plan, &self.events), self.machine);
    }

    fn outstanding(&mut self) {
        let mut effects = Vec::new();
        self.machine.outstanding(&mut effects);
        for effect in effects {
            writeln!(self.trace, "{}", shown(&effect)).unwrap();
        }
    }
}

/// What a restarted server has.
pub(super) fn replay(plan: &Plan, events: &[(Timestamp, Event)]) -> BuildMachine {
    let mut machine = BuildMachine::new(plan.clone()).unwrap();
    for (at, event) in events {
        machine.apply(*at, event.clone(), &mut Vec::new());
    }
    machine
}

fn leaf_result(text: &str) -> LeafResult {
    let (outcome, message) = text.split_once(' ').unwrap_or((text, ""));
    let message = (!message.is_empty()).then(|| message.to_owned());
    let outcome = match outcome {
        "ok" => Outcome::Succeeded,
        "fails" => Outcome::Failed,
        "errors" => Outcome::Errored,
        "aborts" => Outcome::Aborted,
        other => panic!("no outcome is called {other}"),
    };
    LeafResult { outcome, message }
}

/// What a node needs: `image` or `image-get`, each perhaps with the name of a part of the step before it, as in `db/image`.
pub(super) fn images(node: &str, what: &str) -> Vec<ImageNeed> {
    what.split_whitespace().map(|word| image(node, word)).collect()
}

fn image(node: &str, word: &str) -> ImageNeed {
    let (owner, what) = match word.split_once('/') {
        Some((part, what)) => (format!("{node}/{part}"), what),
        None => (node.to_owned(), word),
    };
    let leaf = |kind: &str, id: &str, from: &str| {
        let mut plan = outline::parse(&format!("{kind} {id} name=image"));
        if let PlanStep::Get(get) = &mut plan.step
            && !from.is_empty()
        {
            get.version = VersionSource::From(PlanId::new(from));
        }
        plan
    };
    let (check, get) = (format!("{owner}/image-check"), format!("{owner}/image-get"));
    match what {
        "image" => {
            ImageNeed { check: Some(leaf("check", &check, "")), get: leaf("get", &get, &check) }
        }
        "image-get" => ImageNeed { check: None, get: leaf("get", &get, "") },
        other => panic!("no image is called {other}"),
    }
}

fn shown(effect: &Effect) -> String {
    match effect {
        Effect::Run { node, phase: Phase::Prepare } => format!("prepare {node}"),
        Effect::Run { node, phase: Phase::Run } => format!("run {node}"),
        Effect::ResolveAcross { node } => format!("resolve {node}"),
        Effect::Cancel { node, reason } => format!("cancel {node}: {reason:?}"),
        Effect::Finish(status) => format!("finish {status}"),
        Effect::Emit(event) => match event {
            BuildEvent::Status { status, .. } => format!("  event status {status}"),
            BuildEvent::Error { origin, message, .. } => {
                format!("  event error {origin} {message:?}")
            }
            BuildEvent::Initialize { origin, .. } => format!("  event initialize {origin}"),
            BuildEvent::Start { origin, .. } => format!("  event start {origin}"),
            BuildEvent::Finish { origin, succeeded, .. } => {
                format!("  event finish {origin} succeeded={succeeded}")
            }
            BuildEvent::ImageCheck { origin, plan, .. } => {
                format!("  event image-check {origin} {}", plan.id)
            }
            BuildEvent::ImageGet { origin, plan, .. } => {
                format!("  event image-get {origin} {}", plan.id)
            }
            BuildEvent::AcrossSubsteps { origin, substeps, .. } => {
                let substeps = substeps.iter().map(|substep| {
                    let values = serde_json::to_string(&substep.values).unwrap();
                    format!(" {}={values}", substep.plan.id)
                });
                format!("  event across-substeps {origin}{}", substeps.collect::<String>())
            }
            other => panic!("the machine does not say {other:?}"),
        },
    }
}
