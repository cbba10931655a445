//! Rounds over due checks, and what a check step asks and tells, on a store in memory.

use std::time::Duration;

use jb_model::{BuildStatus, Timestamp, Version};

use crate::checks::timing::{CheckRate, CheckSettings};
use crate::checks::{Begin, BeginCheck, CheckRequest, Purpose};
use crate::scheduler::tests::server::{Server, version};

const PIPELINE: &str = "
resources:
- {name: trigger, type: mock, source: {}}
- {name: other, type: mock, source: {}}
- {name: put-only, type: mock, source: {}}
- {name: never, type: mock, source: {}, check_every: never}
- {name: slow, type: mock, source: {}, check_every: 10m}
jobs:
- name: a
  plan:
  - {get: trigger, trigger: true}
  - {get: slow, trigger: true}
  - {get: never, trigger: true}
  - {get: other}
  - {put: put-only}
";

async fn round(server: &Server) -> Option<Timestamp> {
    server.checks.run_due(server.now).await.unwrap()
}

async fn running(server: &Server) -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in ["trigger", "other", "put-only", "never", "slow"] {
        for _ in server.running_checks(name).await {
            names.push(name);
        }
    }
    names
}

#[tokio::test]
async fn only_what_may_start_something_is_checked_again() {
    let mut server = Server::new(PIPELINE).await;
    round(&server).await;
    assert_eq!(running(&server).await, ["trigger", "other", "put-only", "slow"]);
    round(&server).await;
    assert_eq!(running(&server).await.len(), 4, "none is made beside one that runs");

    for name in ["trigger", "other", "put-only", "slow"] {
        server.checked(name, &["1"]).await;
    }
    assert!(running(&server).await.is_empty());
    let next = round(&server).await.unwrap();
    assert!(running(&server).await.is_empty(), "nothing is due yet");
    assert!(next > server.now && next <= server.now.after(Duration::from_secs(60)));

    server.tick(61);
    round(&server).await;
    assert_eq!(running(&server).await, ["trigger"]);
    server.checked("trigger", &["1"]).await;
    server.tick(600);
    round(&server).await;
    assert_eq!(running(&server).await, ["trigger", "slow"]);
}

#[tokio::test]
async fn failing_checks_go_on_and_get_rarer() {
    let mut server = Server::new(PIPELINE).await;
    let mut gaps = Vec::new();
    let mut ended = server.now;
    for _ in 0..5 {
        while server.running_checks("trigger").await.is_empty() {
            server.tick(10);
            round(&server).await;
        }
        gaps.push(server.now.since(ended).as_secs());
        server.check_ended("trigger", None).await;
        ended = server.now;
    }
    assert_eq!(gaps, [10, 60, 120, 240, 480]);
    // One that was only got is checked by the clock as long as it fails.
    server.check_ended("other", None).await;
    server.tick(61);
    round(&server).await;
    assert_eq!(server.running_checks("other").await.len(), 1);
}

#[tokio::test]
async fn a_pin_is_looked_for_until_it_is_found() {
    let yaml = "
resources: [{name: x, type: mock, source: {}, version: {ref: '2'}}]
jobs: [{name: a, plan: [{get: x}]}]
";
    let mut server = Server::new(yaml).await;
    for found in [&["1"][..], &["1", "2"][..]] {
        round(&server).await;
        assert_eq!(server.running_checks("x").await.len(), 1);
        server.checked("x", found).await;
        server.tick(61);
    }
    round(&server).await;
    assert!(server.running_checks("x").await.is_empty());
}

#[tokio::test]
async fn the_rate_holds_back_checks_but_not_people() {
    let settings = CheckSettings { rate: CheckRate::PerSecond(1), ..CheckSettings::default() };
    let mut names = String::new();
    let mut gets = String::new();
    for n in 0..20 {
        names.push_str(&format!("- {{name: r{n}, type: mock, source: {{}}}}\n"));
        gets.push_str(&format!("  - {{get: r{n}, trigger: true}}\n"));
    }
    let yaml = format!("resources:\n{names}jobs:\n- name: a\n  plan:\n{gets}");
    let mut server = Server::with_settings(&yaml, settings).await;
    let count = async |server: &Server| {
        let mut n = 0;
        for resource in 0..20 {
            n += server.running_checks(&format!("r{resource}")).await.len();
        }
        n
    };
    let next = round(&server).await.unwrap();
    assert_eq!(count(&server).await, 11, "what a round may catch up");
    assert_eq!(next, server.now.after(Duration::from_secs(1)));
    server.tick(2);
    round(&server).await;
    assert_eq!(count(&server).await, 13);
    let last = server.resource("r19").await;
    server.checks.check_now(last, &CheckRequest::default(), server.now).await.unwrap().unwrap();
    assert_eq!(count(&server).await, 14);
}

#[tokio::test]
async fn people_get_a_check_of_their_own_each_time() {
    let server = Server::new(PIPELINE).await;
    let resource = server.resource("trigger").await;
    let from = version("7");
    let request =
        CheckRequest { from: Some(&from), created_by: Some("someone"), ..CheckRequest::default() };
    let first = server.checks.check_now(resource, &request, server.now).await.unwrap().unwrap();
    let second = server.checks.check_now(resource, &request, server.now).await.unwrap().unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!((first.name.as_str(), first.status), ("check", BuildStatus::Started));
    assert_eq!(first.resource_name.as_deref(), Some("trigger"));
    let plan = server.store.build_plan(first.id).await.unwrap().unwrap();
    assert_eq!(plan["check"]["from_version"]["ref"], "7", "{plan}");
    assert_eq!(plan["check"]["skip_interval"], true, "{plan}");
}

#[tokio::test]
async fn a_step_learns_whether_to_run_and_from_where() {
    let mut server = Server::new(PIPELINE).await;
    server.checked("trigger", &["1", "2"]).await;
    let resource = server.resource("trigger").await;
    let (scope, _) =
        server.store.set_scope(resource, "hash of trigger", false, server.now).await.unwrap();
    let check = async |server: &Server, build, skip_interval, from_version: Option<&Version>| {
        let created = server.store.build(build).await.unwrap().unwrap().created_at;
        let request = BeginCheck {
            resource: Some(resource),
            scope,
            build: Some(build),
            purpose: Purpose::Resource,
            skip_interval,
            from_version,
            build_created: created,
            build_started: created,
        };
        server.checks.begin(&request, server.now).await.unwrap()
    };
    let asked = async |server: &Server| {
        let request = CheckRequest::default();
        server.checks.check_now(resource, &request, server.now).await.unwrap().unwrap().id
    };
    server.tick(1);
    let one = asked(&server).await;
    let newest = Some(version("2"));
    assert_eq!(check(&server, one, false, None).await, Begin::Served { newest: newest.clone() });
    assert_eq!(check(&server, one, true, None).await, Begin::Run { from: newest.clone() });
    // The same check begun anew after a crash goes on; another one waits for it.
    server.tick(1);
    assert_eq!(check(&server, one, true, None).await, Begin::Run { from: newest.clone() });
    let two = asked(&server).await;
    assert_eq!(check(&server, two, true, None).await, Begin::Busy);
    // An earlier question than the check that answers it needs no check of its own.
    server.tick(1);
    server.finish(one, BuildStatus::Succeeded).await;
    let three = version("3");
    let found = [version("2"), three.clone()];
    server.checks.finish(Some(resource), scope, Some(&found), server.now).await.unwrap();
    server.tick(1);
    assert_eq!(check(&server, two, true, None).await, Begin::Run { from: Some(three.clone()) });
    server.checks.finish(Some(resource), scope, Some(&found), server.now).await.unwrap();
    assert_eq!(check(&server, two, true, None).await, Begin::Served { newest: Some(three) });
    let from = version("1");
    assert_eq!(
        check(&server, two, true, Some(&from)).await,
        Begin::Run { from: Some(from.clone()) }
    );
}

#[tokio::test]
async fn the_image_of_a_task_is_checked_once_for_all_who_ask() {
    let mut server = Server::new(PIPELINE).await;
    let scope = server.store.shared_scope("hash of an image", server.now).await.unwrap();
    let check = async |server: &Server, skip_interval, build_started| {
        let request = BeginCheck {
            resource: None,
            scope,
            build: None,
            purpose: Purpose::Image,
            skip_interval,
            from_version: None,
            build_created: build_started,
            build_started,
        };
        server.checks.begin(&request, server.now).await.unwrap()
    };
    let first = server.now;
    assert_eq!(check(&server, true, first).await, Begin::Run { from: None });
    server.tick(1);
    let found = [version("1")];
    server.checks.finish(None, scope, Some(&found), server.now).await.unwrap();
    let known = Some(version("1"));
    server.tick(1);
    let served = Begin::Served { newest: known.clone() };
    assert_eq!(check(&server, true, first).await, served, "a later step of the same build");
    let second = server.now;
    assert_eq!(check(&server, false, second).await, served, "the interval has not passed");
    let run = Begin::Run { from: known };
    assert_eq!(check(&server, true, second).await, run, "a person triggered that build");
    server.checks.finish(None, scope, Some(&found), server.now).await.unwrap();
    server.tick(61);
    assert_eq!(check(&server, false, server.now).await, run);
}

#[tokio::test]
async fn a_check_cut_short_does_not_block_the_next() {
    let mut server = Server::new(PIPELINE).await;
    server.checked("trigger", &["1"]).await;
    let resource = server.resource("trigger").await;
    let request = CheckRequest::default();
    let lost = server.checks.check_now(resource, &request, server.now).await.unwrap().unwrap();
    let (scope, _) =
        server.store.set_scope(resource, "hash of trigger", false, server.now).await.unwrap();
    server.tick(1);
    assert!(
        server.store.start_check(scope, Some(lost.id), Timestamp(0), server.now).await.unwrap()
    );
    server.finish(lost.id, BuildStatus::Aborted).await;
    let next = server.checks.check_now(resource, &request, server.now).await.unwrap().unwrap();
    let check = BeginCheck {
        resource: Some(resource),
        scope,
        build: Some(next.id),
        purpose: Purpose::Resource,
        skip_interval: false,
        from_version: None,
        build_created: next.created_at,
        build_started: next.created_at,
    };
    server.tick(120);
    let begin = server.checks.begin(&check, server.now).await.unwrap();
    assert_eq!(begin, Begin::Run { from: Some(version("1")) });
}

#[tokio::test]
async fn a_check_that_finds_nothing_new_schedules_nothing() {
    let mut server = Server::new(PIPELINE).await;
    server.checked("trigger", &["1"]).await;
    server.settle().await;
    server.checked("trigger", &["1"]).await;
    assert!(server.store.jobs_to_schedule(10).await.unwrap().is_empty());
    server.checked("trigger", &["1", "2"]).await;
    assert_eq!(server.store.jobs_to_schedule(10).await.unwrap().len(), 1);
}
