use std::time::Duration;

use super::*;

fn build(job: &str) -> Build<'_> {
    Build { team: "main", pipeline: "p", job, is_check: false }
}

#[test]
fn builds_are_counted_by_how_they_end() {
    let metrics = Metrics::new();
    metrics.builds.started(&build("unit"));
    let running = metrics.builds.running(&build("unit"));
    assert!(metrics.text().contains("\nconcourse_builds_running 1\n"));
    drop(running);
    metrics.builds.finished(&build("unit"), BuildEnd::Failed, Duration::from_secs(90));
    let text = metrics.text();
    for line in [
        "concourse_builds_started_total 1",
        "concourse_builds_running 0",
        "concourse_builds_finished_total 1",
        "concourse_builds_failed_total 1",
        r#"concourse_builds_finished{job="unit",pipeline="p",status="failed",team="main"} 1"#,
        r#"concourse_builds_duration_seconds_bucket{job="unit",pipeline="p",team="main",le="180"} 1"#,
        r#"concourse_builds_latest_completed_build_status{jobName="unit",pipelineName="p",teamName="main"} 1"#,
    ] {
        assert!(text.lines().any(|it| it == line), "no `{line}` in\n{text}");
    }
}

#[test]
fn names_that_users_choose_are_bounded() {
    let metrics = Metrics::new();
    for n in 0..3_000 {
        let job = format!("job-{n}");
        metrics.builds.finished(&build(&job), BuildEnd::Succeeded, Duration::ZERO);
    }
    let text = metrics.text();
    let lines = text.lines().filter(|line| line.starts_with("concourse_builds_finished{"));
    assert_eq!(lines.count(), 2_001);
    let other = r#"concourse_builds_finished{job="other",pipeline="other",status="succeeded",team="other"} 1000"#;
    assert!(text.contains(other));
}
