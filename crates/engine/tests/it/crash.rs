//! The server dies at any point and another one goes on: the outcome is as if nothing had happened.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jb_model::{BuildId, BuildStatus, Timestamp};
use jb_runtime::fake::{Call, FakeRuntime, Fate};
use jb_store::{Allowance, ApprovalAnswer, Store};
use tokio::sync::Notify;

use crate::server::Server;

const PIPELINE: &str = r#"
var_sources:
- {name: vs, type: dummy, config: {vars: {secret: sesame, source: t1}}}
resource_types:
- {name: custom, type: mock, source: {mirror_self: true}, check_every: never}
resources:
- {name: src, type: mock, check_every: never, source: {initial_version: v1, create_files: {a.txt: "hello\n", p.yml: "jobs: [{name: a, plan: [{task: t, config: {platform: linux, run: {path: x}}}]}]"}}}
- {name: out, type: mock, source: {no_initial_version: true}, check_every: never}
- {name: typed, type: custom, source: {initial_version: ((vs:source))}, check_every: never}
jobs:
- name: straight
  plan:
  - get: src
  - {load_var: word, file: src/a.txt}
  - task: make
    config:
      platform: linux
      inputs: [{name: src}]
      outputs: [{name: made}]
      caches: [{path: cache}]
      params: {S: ((vs:secret))}
      run: {path: sh, args: [-c, 'cp src/a.txt made/f; echo $S > made/s; echo o1 > made/v; flood 30; echo $S; printf "no end"']}
  - task: use
    config: {platform: linux, inputs: [{name: made}], run: {path: sh, args: [-c, 'cat made/f made/s']}}
  - {put: out, params: {version: o1}}
- name: types
  plan:
  - get: typed
  - task: t
    config: {platform: linux, image_resource: {type: mock, source: {mirror_self: true}}, inputs: [{name: typed}], run: {path: cat, args: [typed/version]}}
- name: hooks
  ensure: {task: ensured, config: &say {platform: linux, run: {path: sh, args: [-c, 'echo done']}}}
  plan:
  - try: {task: tried, config: {platform: linux, run: {path: sh, args: [-c, 'echo bad >&2; exit 3']}}}
  - across: [{var: x, values: [one, two]}]
    task: across
    config: {platform: linux, run: {path: echo, args: [((.:x))]}}
  - task: retried
    attempts: 2
    config: {platform: linux, run: {path: sh, args: [-c, 'echo again; exit 1']}}
    on_failure: {task: hook, config: *say}
- name: aborted
  on_abort: {task: cleanup, config: *say}
  plan:
  - {task: sleeper, config: {platform: linux, run: {path: sh, args: [-c, "trap 'echo got term; exit 1' TERM; echo sleeping; sleep x"]}}}
- name: sets
  plan:
  - get: src
  - {set_pipeline: child, file: src/p.yml}
- name: agent
  plan:
  - get: src
  - agent: implement
    prompt: |
      text one
      read src/a.txt
      call edit
      write made/f two
      result {"verdict": "ok"}
    config: {platform: linux, inputs: [{name: src}], outputs: [{name: made}]}
    verdict: {from: verdict, pass: [ok]}
  - task: use
    config: {platform: linux, inputs: [{name: made}, {name: implement}], run: {path: sh, args: [-c, 'cat made/f implement/result.json; echo ((.:implement.verdict))']}}
- name: stops
  plan:
  - agent: a
    prompt: |
      write out/x one
      ask a1 git push one
      suspend a1
      answer a1
      read out/x
      write out/y two
      ask a2 git push two
      suspend a2
      answer a2
      read out/y
    config: {platform: linux, outputs: [{name: out}]}
    tools: [{shell: ["git *"]}]
    approval: {tools: [{shell: ["git push*"]}], users: ["local:ann"]}
  - {task: use, config: {platform: linux, inputs: [{name: out}], run: {path: sh, args: [-c, 'cat out/x out/y']}}}
- name: parallel
  plan:
  - in_parallel:
    - {get: one, resource: src}
    - {get: two, resource: src}
    - {task: a, config: *say}
"#;

/// Where the server dies.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// Before its nth write.
    Write(u64),
    /// After its nth call of the runtime, which it never hears of.
    Call(u64),
}

/// What a build leaves behind.
#[derive(Debug, PartialEq)]
struct Traces {
    status: BuildStatus,
    said: Vec<String>,
    started: Vec<String>,
    volumes: BTreeSet<String>,
    artifacts: Vec<(String, String)>,
    versions: Vec<String>,
    transcript: Vec<String>,
}

impl Traces {
    #[track_caller]
    fn same(&self, expected: &Self, at: &str) {
        for (found, expected) in self.said.iter().zip(&expected.said) {
            assert_eq!(found, expected, "{at}");
        }
        assert_eq!(self.said.len(), expected.said.len(), "{at}: {:#?}", self.said);
        assert_eq!(self.started, expected.started, "{at}");
        assert_eq!(self, expected, "{at}");
    }
}

async fn traces(server: &Server, build: BuildId, in_order: bool) -> Traces {
    let said = server.said(build).await;
    let mut said: Vec<String> = said.into_iter().map(without_number).collect();
    // A check that was cut short may be followed by one more of its kind.
    let mut started: Vec<String> = server
        .fake
        .started()
        .iter()
        .filter(|(container, _)| !container.as_str().contains("-check-"))
        .map(|(container, name)| format!("{container} {name}"))
        .collect();
    let volumes = jb_runtime::Runtime::list_volumes(&server.fake).await.unwrap();
    let mut artifacts: Vec<(String, String)> = server
        .store
        .build_artifacts(build)
        .await
        .unwrap()
        .into_iter()
        .map(|artifact| (format!("{}:{}", artifact.scope, artifact.name), artifact.volume.0))
        .collect();
    artifacts.sort();
    let mut versions = Vec::new();
    for input in server.store.build_inputs(build).await.unwrap() {
        versions.push(format!("{} {:?}", input.name, input.version));
    }
    for output in server.store.build_outputs(build).await.unwrap() {
        versions.push(format!("{} {:?}", output.name, output.version));
    }
    if !in_order {
        // Letters are given by order of speaking; what is said by whom does not matter here.
        said = said.iter().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
        said.sort();
        started.sort();
        artifacts.iter_mut().for_each(|(_, volume)| volume.clear());
    }
    Traces {
        status: server.store.build(build).await.unwrap().unwrap().status,
        said,
        started,
        volumes: volumes.into_iter().map(|volume| volume.0).collect(),
        artifacts,
        versions,
        transcript: transcript(server, build).await,
    }
}

/// What was asked twice, as the server died, was asked once, by a number that follows the next but one.
fn without_number(line: String) -> String {
    (1..20).fold(line, |line, number| {
        let with =
            |word: &str| (format!("jetbridge {word} {number}`"), format!("jetbridge {word} N`"));
        let [(approve, approve_any), (deny, deny_any)] = ["approve", "deny"].map(with);
        line.replace(&approve, &approve_any).replace(&deny, &deny_any)
    })
}

/// Who said what, each in their order: between harness and gateway there is none.
async fn transcript(server: &Server, build: BuildId) -> Vec<String> {
    let entries = server.store.transcript(build, 0, usize::MAX).await.unwrap();
    let mut said: Vec<String> = entries.into_iter().map(|entry| entry.json).collect();
    said.sort_by_key(|entry| entry.contains(r#""source":"gateway""#));
    said
}

/// Approves what an agent waits for whenever it has stopped.
async fn approve_stops(store: Store, build: BuildId, at: Timestamp) {
    let mut changes = store.subscribe();
    for stops in 1..=2 {
        loop {
            let entries = store.transcript(build, 0, usize::MAX).await.unwrap();
            let stopped = |json: &str| json.contains(r#""type":"suspended""#);
            if entries.iter().filter(|entry| stopped(&entry.json)).count() == stops {
                break;
            }
            let _ = changes.recv().await;
        }
        let (person, name) = ("local:ann".to_owned(), "ann".to_owned());
        let answer = ApprovalAnswer { person, name, approves: true, comment: String::new(), at };
        let asked = store.approvals_of_build(build).await.unwrap();
        store.answer_approval(asked.last().unwrap().id, &answer).await.unwrap();
    }
}

struct Scenario {
    job: &'static str,
    /// Steps run one after the other, so everything is said in one order.
    in_order: bool,
}

impl Scenario {
    async fn server(&self) -> Server {
        let mut server = Server::stopped(FakeRuntime::new(), PIPELINE).await;
        crate::agents::allow(&mut server);
        server
    }

    /// Triggers the job and, when it is there to be aborted, aborts it.
    async fn play(&self, server: &Server) -> BuildId {
        let build = server.trigger(self.job).await;
        if self.job == "aborted" {
            let (store, fake) = (server.store.clone(), server.fake.clone());
            let now = server.now();
            tokio::spawn(async move {
                let mut changes = store.subscribe();
                loop {
                    let events = store.events(build, 0, usize::MAX).await.unwrap();
                    if events.iter().any(|event| event.json.contains("sleeping\\r")) {
                        break;
                    }
                    let _ = changes.recv().await;
                }
                store.abort_build(build, now).await.unwrap();
                drop(fake);
            });
        }
        if self.job == "stops" {
            tokio::spawn(approve_stops(server.store.clone(), build, server.now()));
        }
        build
    }

    async fn undisturbed(&self) -> Traces {
        let mut server = self.server().await;
        server.start(None);
        let build = self.play(&server).await;
        server.ended(build).await;
        traces(&server, build, self.in_order).await
    }

    /// Whether the server lived on to the build's end, and what was left.
    async fn disturbed(&self, point: Point) -> (bool, Traces) {
        let mut server = self.server().await;
        let fatal = Arc::new(Notify::new());
        match point {
            Point::Write(n) => {
                let allowance = Allowance::new(n);
                server.start(Some(allowance.clone()));
                let fatal = fatal.clone();
                tokio::spawn(async move {
                    allowance.spent().await;
                    fatal.notify_one();
                });
            }
            Point::Call(n) => {
                let (calls, fatal) = (AtomicU64::new(0), fatal.clone());
                server.fake.set_hook(Some(Arc::new(move |_: &Call| {
                    match calls.fetch_add(1, Ordering::Relaxed) {
                        call if call == n => {
                            fatal.notify_one();
                            Fate::Unanswered
                        }
                        _ => Fate::Done,
                    }
                })));
                server.start(None);
            }
        }
        let build = self.play(&server).await;
        let survived = tokio::select! {
            _ = server.ended(build) => true,
            () = fatal.notified() => false,
        };
        if !survived {
            server.crash().await;
            server.fake.set_hook(None);
            server.start(None);
        }
        server.ended(build).await;
        // The looks at what is left are calls, too.
        server.fake.set_hook(None);
        (survived, traces(&server, build, self.in_order).await)
    }

    /// Dies at every point of a kind, one after the other.
    async fn at_every(&self, point: fn(u64) -> Point) {
        let expected = self.undisturbed().await;
        for n in 0.. {
            let (survived, found) = self.disturbed(point(n)).await;
            found.same(&expected, &format!("{:?} of {}", point(n), self.job));
            if survived {
                assert!(n > 5, "{n} points are too few to be all");
                return;
            }
        }
    }
}

macro_rules! scenarios {
    ($($name:ident: $scenario:expr, $point:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            $scenario.at_every($point).await;
        }
    )*};
}

const STRAIGHT: Scenario = Scenario { job: "straight", in_order: true };
const TYPES: Scenario = Scenario { job: "types", in_order: true };
const HOOKS: Scenario = Scenario { job: "hooks", in_order: true };
const ABORTED: Scenario = Scenario { job: "aborted", in_order: true };
const SETS: Scenario = Scenario { job: "sets", in_order: true };
const AGENT: Scenario = Scenario { job: "agent", in_order: true };
const STOPS: Scenario = Scenario { job: "stops", in_order: true };
const PARALLEL: Scenario = Scenario { job: "parallel", in_order: false };

scenarios! {
    straight_dies_between_writes: STRAIGHT, Point::Write;
    straight_dies_between_calls: STRAIGHT, Point::Call;
    types_die_between_writes: TYPES, Point::Write;
    types_die_between_calls: TYPES, Point::Call;
    hooks_die_between_writes: HOOKS, Point::Write;
    hooks_die_between_calls: HOOKS, Point::Call;
    abort_dies_between_writes: ABORTED, Point::Write;
    abort_dies_between_calls: ABORTED, Point::Call;
    setting_dies_between_writes: SETS, Point::Write;
    setting_dies_between_calls: SETS, Point::Call;
    agent_dies_between_writes: AGENT, Point::Write;
    agent_dies_between_calls: AGENT, Point::Call;
    stops_die_between_writes: STOPS, Point::Write;
    stops_die_between_calls: STOPS, Point::Call;
    parallel_dies_between_writes: PARALLEL, Point::Write;
    parallel_dies_between_calls: PARALLEL, Point::Call;
}

/// Many crashes in one build, at places that a seed chooses.
#[tokio::test]
async fn dying_again_and_again() {
    for scenario in [STRAIGHT, TYPES, HOOKS, ABORTED, SETS, AGENT, STOPS, PARALLEL] {
        let expected = scenario.undisturbed().await;
        for seed in 0..6_u64 {
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut server = scenario.server().await;
            let mut build = None;
            for _ in 0..200 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let allowance = Allowance::new(6 + random % 20);
                server.start(Some(allowance.clone()));
                let build = match build {
                    Some(build) => build,
                    None => *build.insert(scenario.play(&server).await),
                };
                tokio::select! {
                    biased;
                    _ = server.ended(build) => break,
                    () = allowance.spent() => server.crash().await,
                }
            }
            let build = build.unwrap();
            server.ended(build).await;
            let found = traces(&server, build, scenario.in_order).await;
            found.same(&expected, &format!("seed {seed} of {}", scenario.job));
        }
    }
}
