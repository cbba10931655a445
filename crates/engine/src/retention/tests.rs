#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::config::LogRetention;
use jb_model::{BuildId, BuildStatus, JobConfig, Timestamp};

use super::Retention;
use super::policy::{LoggedBuild, RetentionLimits, decide, retention_of};
use crate::scheduler::tests::server::Server;

const DAY: i64 = 24 * 60 * 60;

fn keep(builds: u32, minimum_succeeded_builds: u32, days: u32) -> LogRetention {
    LogRetention { builds, minimum_succeeded_builds, days }
}

fn asked(retention: Option<LogRetention>, build_logs_to_retain: u32) -> JobConfig {
    JobConfig { build_log_retention: retention, build_logs_to_retain, ..JobConfig::default() }
}

#[test]
fn what_a_job_asks_for_is_filled_in_and_cut() {
    let limits = |default_builds, max_builds, default_days, max_days| RetentionLimits {
        default_builds,
        max_builds,
        default_days,
        max_days,
    };
    let cases = [
        // job, limits, expected
        (asked(None, 0), limits(0, 0, 0, 0), keep(0, 0, 0)),
        (asked(None, 7), limits(0, 0, 0, 0), keep(7, 0, 0)),
        (asked(Some(keep(3, 1, 2)), 7), limits(0, 0, 0, 0), keep(3, 1, 2)),
        (asked(None, 0), limits(5, 0, 6, 0), keep(5, 0, 6)),
        (asked(Some(keep(3, 0, 0)), 0), limits(5, 0, 6, 0), keep(3, 0, 6)),
        (asked(Some(keep(30, 0, 40)), 0), limits(0, 10, 0, 20), keep(10, 0, 20)),
        (asked(Some(keep(3, 0, 4)), 0), limits(0, 10, 0, 20), keep(3, 0, 4)),
        (asked(None, 0), limits(0, 10, 0, 20), keep(10, 0, 20)),
        (asked(None, 0), limits(15, 10, 0, 0), keep(10, 0, 0)),
        (asked(Some(keep(30, 20, 0)), 0), limits(0, 10, 0, 0), keep(10, 0, 0)),
        (asked(Some(keep(30, 8, 0)), 0), limits(0, 10, 0, 0), keep(10, 8, 0)),
    ];
    for (job, limits, expected) in cases {
        assert_eq!(retention_of(&job, limits), expected, "{job:?} {limits:?}");
    }
}

/// Builds by a letter each, newest first: `s`ucceeded, `f`ailed, `r`unning, `u`ndrained. They ended
/// one per day, the newest today.
fn reaped(builds: &str, retention: &LogRetention) -> String {
    let n = i64::try_from(builds.len()).unwrap();
    let now = Timestamp::from_unix_seconds(1000 * DAY);
    let logged: Vec<LoggedBuild> = (0..n)
        .zip(builds.chars())
        .map(|(age, letter)| LoggedBuild {
            id: BuildId(n - age),
            status: match letter {
                's' | 'u' => BuildStatus::Succeeded,
                'f' => BuildStatus::Failed,
                _ => BuildStatus::Started,
            },
            ended_at: (letter != 'r').then(|| Timestamp(now.0 - age * DAY * 1_000_000)),
            drained: letter != 'u',
        })
        .collect();
    let reap = decide(&logged, retention, now);
    logged.iter().map(|build| if reap.contains(&build.id) { '-' } else { '+' }).collect()
}

#[test]
fn logs_are_kept_by_number_age_and_success() {
    let cases = [
        ("ssss", keep(0, 0, 0), "++++"),
        ("ssss", keep(2, 0, 0), "++--"),
        ("ss", keep(5, 0, 0), "++"),
        // What runs, or is not drained yet, neither goes nor counts.
        ("rsus", keep(1, 0, 0), "+++-"),
        ("ssss", keep(0, 0, 1), "++--"),
        // A success further back takes the place of the oldest failure.
        ("fffs", keep(2, 1, 0), "+--+"),
        ("ffffss", keep(3, 2, 0), "+---++"),
        ("sfff", keep(2, 1, 0), "++--"),
        // Both limits: young ones beyond the number stay until something falls due.
        ("sss", keep(1, 0, 9), "+++"),
        ("ssss", keep(1, 0, 2), "+---"),
        ("ssss", keep(3, 0, 0), "+++-"),
    ];
    for (builds, retention, expected) in cases {
        assert_eq!(reaped(builds, &retention), expected, "{builds} {retention:?}");
    }
}

#[tokio::test]
async fn rounds_look_at_jobs_with_new_builds_and_now_and_then_at_all() {
    let yaml = "
jobs:
- name: a
  build_log_retention: {builds: 1, days: 2}
  plan: [{task: t, file: some/file}]
";
    let mut server = Server::new(yaml).await;
    let retention = Retention::new(
        server.store.clone(),
        server.configs.clone(),
        RetentionLimits::default(),
        false,
    );
    assert_eq!(retention.run_once(server.now).await.unwrap(), 0);
    let mut builds = Vec::new();
    for _ in 0..3 {
        let build = server.trigger("a").await;
        server.settle().await;
        server.finish(build, BuildStatus::Succeeded).await;
        builds.push(build);
    }
    // All are young enough to stay.
    assert_eq!(retention.run_once(server.now).await.unwrap(), 0);
    server.tick(3 * DAY);
    assert_eq!(retention.run_once(server.now).await.unwrap(), 2);
    let first = server.store.build(builds[0]).await.unwrap().unwrap();
    assert_eq!(first.reap_time, Some(server.now));
    let last = server.store.build(builds[2]).await.unwrap().unwrap();
    assert_eq!(last.reap_time, None);
    assert_eq!(retention.run_once(server.now).await.unwrap(), 0);
}
