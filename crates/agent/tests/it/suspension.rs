//! Agents that stop while people take their time: what one left, another goes on from, in containers of its own.

use jb_agent::Output;
use jb_agent_protocol::approval::{Asked, Decision};
use jb_agent_protocol::suspension::{ANSWERING_PATH, Left, STATE_FILE, Suspension};
use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{Entry, ToolGrant, log_text};
use jb_scripted_model::{Reply, Said, Script, ToolUse};
use serde_json::json;

use crate::harness::{Harness, installed};
use crate::recording::again;
use crate::step::{Ran, Step};

fn shell(argv: [&str; 2]) -> ToolUse {
    ToolUse { name: "shell".into(), input: json!({"argv": argv}) }
}

/// A step that asks about `touch` and about writing, and stops at once when it waits.
async fn step(harness: Harness, script: Script) -> Step {
    let mut step = Step::speaking(harness.api, script).await;
    step.spec.tools = vec![
        ToolGrant::Read,
        ToolGrant::Write,
        ToolGrant::Shell(vec!["echo*".into(), "touch *".into()]),
    ];
    step.spec.asked = Asked { tools: vec!["write".into()], shell: vec!["touch *".into()] };
    let dir = step.dir.path().join("state");
    std::fs::create_dir(&dir).unwrap();
    let dir = dir.to_str().unwrap().to_owned();
    step.spec.suspension = Some(Suspension { run: 0, after_ms: 0, dir, left: None });
    step
}

/// What it needs to go on, and the digest of what it left.
fn stopped(ran: &Ran) -> (String, String) {
    match ran.transcript.last() {
        Some(Entry::Suspended { needs, digest, .. }) => (needs.clone(), digest.clone()),
        other => panic!("it ends with {other:?}"),
    }
}

/// Runs what goes on from there, once this was decided. Gateway and socket are new ones.
async fn goes_on(step: &mut Step, harness: Harness, digest: &str, decided: &[(&str, bool)]) -> Ran {
    // A command line of somebody else's begins anew, and asks once more what the model was asked before.
    step.gateway.over_again = harness.name() != "builtin";
    step.gateway.spent.requests = step.model().received().len().try_into().unwrap();
    let suspension = step.spec.suspension.as_mut().unwrap();
    suspension.run += 1;
    let decided = decided.iter().map(|&(id, approved)| Decision {
        id: id.to_owned(),
        approved,
        by: "ann".to_owned(),
        comment: "no".to_owned(),
    });
    suspension.left = Some(Left { digest: digest.to_owned(), decided: decided.collect() });
    step.run_with(async |spec| harness.run(spec).await).await
}

fn results(ran: &Ran) -> Vec<(ToolOutcome, &str)> {
    let results = ran.transcript.iter().filter_map(|entry| match entry {
        Entry::ToolResult { outcome, text, .. } => Some((*outcome, text.trim())),
        _ => None,
    });
    results.collect()
}

/// How it ends when it runs again from its recording and people say yes and no at once.
async fn from_its_recording(step: &Step, harness: Harness) -> (Ending, String) {
    let mut again = again(step);
    again.spec.tools.clone_from(&step.spec.tools);
    again.spec.asked.clone_from(&step.spec.asked);
    let ran = again.run_with(async |spec| {
        let mut running = harness.start(&spec, &installed()).await;
        for approved in [true, false] {
            let (id, _) = running.asked().await;
            running.decide(&id, approved, "no").await;
        }
        running.end().await
    });
    let (ending, message, _) = ran.await.ending();
    (ending, message)
}

fn texts(ran: &Ran) -> impl Iterator<Item = &str> {
    ran.transcript.iter().filter_map(|entry| match entry {
        Entry::Text { text } => Some(text.as_str()),
        _ => None,
    })
}

fn prompts(ran: &Ran) -> usize {
    ran.transcript.iter().filter(|entry| matches!(entry, Entry::Prompt { .. })).count()
}

/// One of three calls waits for nobody, the others for people, one after the other. Nothing is done, asked or said twice.
#[tokio::test]
async fn it_resumes_after_its_containers_are_gone() {
    for harness in Harness::all() {
        let write = json!({"path": "out/log", "content": "two"});
        let write = ToolUse { name: "write".into(), input: write };
        let tools = vec![shell(["echo", "once"]), shell(["touch", "out/one"]), write];
        let text = "I begin.".to_owned();
        let said = Said { text, tools, ..Said::default() };
        let script = Script::of([Reply::Say(said), Reply::text("Done.")]);
        let mut step = step(harness, script).await;
        let first = step.run_with(async |spec| harness.run(spec).await).await;
        let (needs, digest) = stopped(&first);
        assert_eq!((needs.as_str(), prompts(&first)), ("a1", 1), "{harness:?}");
        assert_eq!(results(&first), [(ToolOutcome::Ok, "once")], "{harness:?}");
        assert!(!step.out("one").exists(), "{harness:?}");

        let second = goes_on(&mut step, harness, &digest, &[("a1", true)]).await;
        assert_eq!(second.transcript.first(), Some(&Entry::Resumed { run: 1 }), "{harness:?}");
        let (needs, digest) = stopped(&second);
        assert_eq!((needs.as_str(), results(&second).len()), ("a2", 1), "{harness:?}");
        assert!(step.out("one").exists() && !step.out("log").exists(), "{harness:?}");
        std::fs::remove_file(step.out("one")).unwrap();

        let third = goes_on(&mut step, harness, &digest, &[("a1", true), ("a2", false)]).await;
        assert_eq!(third.ending(), (Ending::Completed, String::new(), None), "{harness:?}");
        assert_eq!(results(&third), [(ToolOutcome::Denied, "denied by a person: no")]);
        assert_eq!(prompts(&second) + prompts(&third), 0, "{harness:?}");
        // What was approved before was not done again.
        assert!(!step.out("one").exists() && !step.out("log").exists(), "{harness:?}");
        let asked = [&first, &second, &third].map(|ran| {
            let asked = |entry: &&Entry| matches!(entry, Entry::ApprovalAsked { .. });
            ran.transcript.iter().filter(asked).count()
        });
        // Some ask for a call only when the one before is answered; none is asked about twice.
        assert_eq!((asked.iter().sum(), asked[2]), (2, 0), "{harness:?}");
        let texts: Vec<&str> = [&first, &second, &third].into_iter().flat_map(texts).collect();
        assert_eq!(texts, ["I begin.", "Done."], "{harness:?}");
        let calls = [&first, &second, &third].map(|ran| {
            let calls = |entry: &&Entry| matches!(entry, Entry::ModelCall { .. });
            ran.gateway.iter().filter(calls).count()
        });
        assert_eq!(calls, [1, 0, 1], "{harness:?}");
        // The model was asked twice in all, and got each answer.
        let requests = step.model().received();
        assert_eq!(requests.len(), 2, "{harness:?}");
        let answers = requests[1].body.to_string();
        assert!(answers.contains("once") && answers.contains("denied by a person: no"));
        assert_eq!(answers.matches("Do it.").count(), 1, "{harness:?}: {answers}");

        // Its recording is that of one that never stopped.
        let ended = from_its_recording(&step, harness).await;
        assert_eq!(ended, (Ending::Completed, String::new()), "{harness:?}");
    }
}

#[tokio::test]
async fn what_was_damaged_meanwhile_ends_it_with_a_clear_word() {
    for harness in Harness::all() {
        let script = Script::of([Reply::Say(Said {
            tools: vec![shell(["touch", "out/one"])],
            ..Said::default()
        })]);
        let mut step = step(harness, script).await;
        let first = step.run_with(async |spec| harness.run(spec).await).await;
        let (_, digest) = stopped(&first);
        let state = step.dir.path().join("state").join(STATE_FILE);
        let text = std::fs::read_to_string(&state).unwrap();
        std::fs::write(&state, text.replace("out/one", "out/two")).unwrap();
        let second = goes_on(&mut step, harness, &digest, &[("a1", true)]).await;
        let (ending, message, _) = second.ending();
        assert_eq!(ending, Ending::Failed);
        let said = format!(
            "the agent cannot go on from its state in {}: it is damaged, its SHA-256 is not the one it had",
            state.display()
        );
        assert_eq!(message, said);
        assert!(!step.out("one").exists() && !step.out("two").exists());
        assert_eq!(step.model().received().len(), 1);
    }
}

/// One that begins anew comes to where it was, or ends.
#[tokio::test]
async fn a_past_that_differs_ends_it_with_the_difference() {
    for harness in Harness::all().into_iter().filter(|harness| harness.name() != "builtin") {
        let ask = Said { tools: vec![shell(["touch", "out/one"])], ..Said::default() };
        let mut step = step(harness, Script::of([Reply::Say(ask)])).await;
        let first = step.run_with(async |spec| harness.run(spec).await).await;
        let (_, digest) = stopped(&first);
        step.spec.prompt = "Do something else.".to_owned();
        let second = goes_on(&mut step, harness, &digest, &[("a1", true)]).await;
        let (ending, message, _) = second.ending();
        assert_eq!(ending, Ending::Failed, "{harness:?}: {message}");
        let differs = "the agent cannot go on, as it does not come to where it was: /";
        assert!(message.starts_with(differs), "{harness:?}: {message}");
        let named = r#" is "Do something else.", recorded was "Do it.""#;
        assert!(message.contains(named), "{harness:?}: {message}");
        assert!(!step.out("one").exists(), "{harness:?}");
        assert_eq!(step.model().received().len(), 1, "{harness:?}");
    }
}

/// What is answered again must be whole, so a harness that begins anew stops only when nothing is on its way.
#[tokio::test]
async fn a_gateway_says_what_is_on_its_way() {
    let mut step = Step::new(Script::of([Reply::Hang])).await;
    step.gateway.idle_timeout_ms = u64::from(u32::MAX);
    let gateway = tokio::spawn(jb_agent::gateway::run(step.gateway.clone(), Output::kept().0));
    while !step.dir.path().join("gateway.sock").exists() {
        tokio::task::yield_now().await;
    }
    let http = reqwest::Client::builder().unix_socket(step.spec.socket.as_str()).build().unwrap();
    let answering = async || {
        let answer = http.get(format!("http://gateway{ANSWERING_PATH}")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    assert_eq!(answering().await, "0");
    let prompt = json!({"role": "user", "content": "Do it."});
    let asked = json!({"model": "m", "max_tokens": 9, "stream": true, "messages": [prompt]});
    let asked = http.post("http://gateway/v1/messages").json(&asked).send().await.unwrap();
    assert_eq!((asked.status().as_u16(), answering().await), (200, "1".to_owned()));
    gateway.abort();
}

/// What cannot be left is no reason to give up: it waits on, and says once why its containers stay.
#[tokio::test]
async fn one_that_cannot_leave_its_state_says_so_and_waits_on() {
    let harness = Harness::all()[0];
    let ask = |path| Reply::Say(Said { tools: vec![shell(["touch", path])], ..Said::default() });
    let script = Script::of([ask("out/one"), ask("out/two"), Reply::text("Done.")]);
    let step = step(harness, script).await;
    // Its volume is full.
    let state = step.dir.path().join("state").join(STATE_FILE);
    std::os::unix::fs::symlink("/dev/full", &state).unwrap();
    let ran = step.run_with(async |spec| {
        let mut running = harness.start(&spec, &[]).await;
        let (first, _) = running.asked().await;
        let said = running.next().await;
        assert!(matches!(said, Some(Entry::SuspendFailed { .. })), "{said:?}");
        running.decide(&first, true, "").await;
        let (second, _) = running.asked().await;
        running.decide(&second, true, "").await;
        running.end().await
    });
    let ran = ran.await;
    assert_eq!(ran.ending(), (Ending::Completed, String::new(), None));
    assert!(step.out("one").exists() && step.out("two").exists());
    let said = ran.transcript.iter().filter(|it| matches!(it, Entry::SuspendFailed { .. }));
    let said: Vec<String> = said.map(log_text).collect();
    let [line] = &said[..] else { panic!("{said:?}") };
    let state = state.display();
    let why = format!("the agent's state cannot be left in {state}: No space left on device");
    assert!(line.contains(&why) && line.lines().count() == 1, "{line}");
}

/// Results that were handed back and reminders count on, as the loop that is looked for does.
#[tokio::test]
async fn what_is_counted_is_counted_on() {
    let harness = Harness::all()[0];
    let wrong = || Reply::tool("submit_result", json!({"verdict": 3}));
    let ask = Reply::Say(Said { tools: vec![shell(["touch", "out/one"])], ..Said::default() });
    let script = Script::of([wrong(), wrong(), ask, wrong(), wrong()]);
    let mut step = step(harness, script).await;
    let properties = json!({"verdict": {"type": "string"}});
    step.spec.result_schema = Some(json!({"type": "object", "properties": properties}));
    let first = step.run_with(async |spec| harness.run(spec).await).await;
    let (_, digest) = stopped(&first);
    let second = goes_on(&mut step, harness, &digest, &[("a1", true)]).await;
    let (ending, message, _) = second.ending();
    assert_eq!(ending, Ending::NoResult);
    assert!(message.contains("after 3 attempts"), "{message}");
}

/// Gateways before it are counted on, and a recording goes on where it was.
#[tokio::test]
async fn a_budget_and_a_recording_are_the_steps_and_not_a_gateways() {
    let harness = Harness::all()[0];
    let ask = || Reply::Say(Said { tools: vec![shell(["touch", "out/one"])], ..Said::default() });
    let script = Script::of([ask(), ask(), Reply::text("Done.")]);
    let mut step = step(harness, script).await;
    step.gateway.budget.turns = Some(2);
    let first = step.run_with(async |spec| harness.run(spec).await).await;
    let (_, digest) = stopped(&first);
    (step.gateway.spent.requests, step.gateway.spent.turns) = (1, 1);
    let second = goes_on(&mut step, harness, &digest, &[("a1", true)]).await;
    let numbers = |ran: &Ran| {
        let numbers = ran.gateway.iter().filter_map(|entry| match entry {
            Entry::ModelCall { number, .. } => Some(*number),
            _ => None,
        });
        numbers.collect::<Vec<_>>()
    };
    assert_eq!((numbers(&first), numbers(&second)), (vec![1], vec![2]));
    let (needs, digest) = stopped(&second);
    assert_eq!(needs, "a2");
    (step.gateway.spent.requests, step.gateway.spent.turns) = (2, 2);
    let third = goes_on(&mut step, harness, &digest, &[("a2", true)]).await;
    let spent = "the step's budget is spent: 2 of 2 turns".to_owned();
    assert_eq!(third.ending(), (Ending::BudgetSpent, spent, None));

    // Answered from the recording, without stops: the same two requests, and none after them.
    let mut again = again(&step);
    again.spec.tools.clone_from(&step.spec.tools);
    again.spec.asked.clone_from(&step.spec.asked);
    again.gateway.budget.turns = Some(2);
    let ran = again.run_with(async |spec| {
        let mut running = harness.start(&spec, &[]).await;
        for _ in 0..2 {
            let (id, _) = running.asked().await;
            running.decide(&id, true, "").await;
        }
        running.end().await
    });
    let ran = ran.await;
    let spent = "the step's budget is spent: 2 of 2 turns".to_owned();
    assert_eq!(ran.ending(), (Ending::BudgetSpent, spent, None));
}
