#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::value::RawValue;

use super::*;

fn text(value: &impl serde::Serialize) -> String {
    to_text(value).unwrap()
}

#[test]
fn a_build_leaves_out_what_it_has_not() {
    let build = Build {
        id: 10,
        team_name: "main".into(),
        name: "1.1".into(),
        status: "pending".into(),
        api_url: "/api/v1/builds/10".into(),
        job_name: "unit".into(),
        pipeline_id: 1,
        pipeline_name: "rec".into(),
        rerun_number: 1,
        rerun_of: Some(RerunOf { id: 3, name: "1".into() }),
        created_by: Some("test".into()),
        ..Build::default()
    };
    assert_eq!(
        String::from_utf8(to_body(&build).unwrap()).unwrap(),
        "{\"id\":10,\"team_name\":\"main\",\"name\":\"1.1\",\"status\":\"pending\",\"api_url\":\"/api/v1/builds/10\",\"job_name\":\"unit\",\"pipeline_id\":1,\"pipeline_name\":\"rec\",\"rerun_number\":1,\"rerun_of\":{\"id\":3,\"name\":\"1\"},\"created_by\":\"test\"}\n"
    );
}

#[test]
fn a_job_always_shows_its_next_and_finished_build() {
    let job = Job { id: 2, name: "ship".into(), ..Job::default() };
    assert!(text(&job).contains("\"next_build\":null,\"finished_build\":null"));
    assert!(!text(&JobSummary::default()).contains("build"));
}

#[test]
fn html_is_escaped_in_strings_and_in_plans() {
    let plan = RawValue::from_string("{\"id\":\"1\",\"check\":{\"name\":\"<&>\"}}".into()).unwrap();
    let summary = BuildSummary { name: "a<b".into(), plan: Some(plan), ..BuildSummary::default() };
    let text = text(&summary);
    assert!(text.contains("\"name\":\"a\\u003cb\""), "{text}");
    assert!(
        text.contains("\"plan\":{\"id\":\"1\",\"check\":{\"name\":\"\\u003c\\u0026\\u003e\"}}")
    );
}

#[test]
fn the_wall_counts_nanoseconds_under_a_capital_key() {
    let wall: Wall =
        serde_json::from_str("{\"message\":\"maintenance\",\"TTL\":3600000000000}").unwrap();
    assert_eq!(text(&wall), "{\"message\":\"maintenance\",\"TTL\":3600000000000}");
    assert_eq!(text(&Wall::default()), "{}");
}

#[test]
fn team_auth_may_have_null_lists() {
    let request: SetTeamRequest = serde_json::from_str(
        "{\"auth\":{\"owner\":{\"users\":[\"local:test\"],\"groups\":null}},\"more\":1}",
    )
    .unwrap();
    let team = Team { id: 1, name: "main".into(), auth: request.auth };
    assert_eq!(
        text(&team),
        "{\"id\":1,\"name\":\"main\",\"auth\":{\"owner\":{\"groups\":[],\"users\":[\"local:test\"]}}}"
    );
}

#[test]
fn containers_volumes_and_workers_have_the_recorded_fields() {
    let container = Container {
        id: "44df2c5b".into(),
        worker_name: "vm".into(),
        state: "created".into(),
        kind: "check".into(),
        step_name: "image".into(),
        pipeline_id: 1,
        job_id: 6,
        build_id: 8,
        pipeline_name: "rec".into(),
        job_name: "ferr".into(),
        build_name: "1".into(),
        working_directory: "/tmp/build/check".into(),
        ..Container::default()
    };
    assert_eq!(
        text(&container),
        "{\"id\":\"44df2c5b\",\"worker_name\":\"vm\",\"state\":\"created\",\"type\":\"check\",\"step_name\":\"image\",\"pipeline_id\":1,\"job_id\":6,\"build_id\":8,\"pipeline_name\":\"rec\",\"job_name\":\"ferr\",\"build_name\":\"1\",\"working_directory\":\"/tmp/build/check\"}"
    );
    let mock = BaseType { name: "mock".into(), version: "0.13.0".into() };
    let kind = VolumeResourceType {
        base_resource_type: Some(mock),
        version: Some([("version".into(), "v1".into())].into()),
        ..VolumeResourceType::default()
    };
    let volume = Volume {
        id: "50bb3aca".into(),
        worker_name: "vm".into(),
        kind: "resource".into(),
        path: "/tmp/build/get".into(),
        resource_type: Some(Box::new(kind)),
        ..Volume::default()
    };
    assert_eq!(
        text(&volume),
        "{\"id\":\"50bb3aca\",\"worker_name\":\"vm\",\"type\":\"resource\",\"container_handle\":\"\",\"path\":\"/tmp/build/get\",\"parent_handle\":\"\",\"resource_type\":{\"resource_type\":null,\"base_resource_type\":{\"name\":\"mock\",\"version\":\"0.13.0\"},\"version\":{\"version\":\"v1\"}},\"base_resource_type\":null,\"pipeline_id\":0,\"pipeline_name\":\"\",\"pipeline_instance_vars\":null,\"job_name\":\"\",\"step_name\":\"\"}"
    );
    let worker = Worker { name: "vm".into(), platform: "linux".into(), ..Worker::default() };
    assert_eq!(
        text(&worker),
        "{\"addr\":\"\",\"baggageclaim_url\":\"\",\"active_containers\":0,\"active_volumes\":0,\"active_tasks\":0,\"max_active_tasks\":0,\"resource_types\":[],\"platform\":\"linux\",\"tags\":null,\"team\":\"\",\"name\":\"vm\",\"version\":\"\",\"start_time\":0,\"ephemeral\":false,\"state\":\"\"}"
    );
}
