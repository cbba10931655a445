//! What the resolver of inputs reads.

use jb_model::{BuildId, BuildStatus, VersionId};
use jb_store::{PassedBuild, Pipe, Store};
use serde_json::json;

use crate::world::{World, at, version, world};

conformance![
    successes_newest_first,
    outputs_vouch_too,
    histories,
    what_was_used,
    versions_are_recognised_in_a_new_scope,
    pipes
];

fn ids(builds: &[PassedBuild]) -> Vec<BuildId> {
    builds.iter().map(|build| build.build).collect()
}

async fn successes_newest_first(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let src = world.checked("src", &["a", "b"]).await;
    let unit = world.job("unit").await.id;
    let first = world.ended("unit", &[(&src, 0)], BuildStatus::Succeeded).await.id;
    world.ended("unit", &[(&src, 0)], BuildStatus::Failed).await;
    let third = world.ended("unit", &[(&src, 1)], BuildStatus::Succeeded).await.id;
    let rerun = store.create_rerun(first, None, at(30)).await.unwrap().id;
    let inputs = store.build_inputs(first).await.unwrap();
    assert!(store.start_build(rerun, &json!({}), &inputs, &[], at(31)).await.unwrap());
    store.finish_build(rerun, BuildStatus::Succeeded, None, at(32)).await.unwrap();

    let all = store.successful_builds(unit, None, 10).await.unwrap();
    assert_eq!(ids(&all), [third, rerun, first]);
    assert_eq!(all[1].rerun_of, Some(first));
    assert_eq!(all[0].versions, [(src.resource, src.ids[1])]);
    assert_eq!(all[1].versions, [(src.resource, src.ids[0])]);
    let place = |build: &PassedBuild| (build.rerun_of.unwrap_or(build.build), build.build);
    let rest = store.successful_builds(unit, Some(place(&all[0])), 1).await.unwrap();
    assert_eq!(ids(&rest), [rerun]);
    let rest = store.successful_builds(unit, Some(place(&all[1])), 10).await.unwrap();
    assert_eq!(ids(&rest), [first]);
    let later = store.successful_builds_after(unit, place(&all[2]), 10).await.unwrap();
    assert_eq!(ids(&later), [rerun, third]);
    let with =
        store.successful_builds_with_version(unit, src.resource, src.ids[0], 10).await.unwrap();
    assert_eq!(ids(&with), [rerun, first]);
    assert_eq!(store.successful_builds(world.job("ship").await.id, None, 10).await.unwrap(), []);
}

async fn outputs_vouch_too(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (src, out) = (world.checked("src", &["a"]).await, world.checked("out", &["o"]).await);
    let build = world.started("ship", &[(&src, 0)]).await.id;
    let made = store.save_put_version(out.scope, &version("new"), &[]).await.unwrap();
    store.save_build_output(build, "out", out.resource, made).await.unwrap();
    store.save_build_output(build, "src", src.resource, src.ids[0]).await.unwrap();
    store.finish_build(build, BuildStatus::Succeeded, None, at(20)).await.unwrap();
    let ship = world.job("ship").await.id;
    let found = store.successful_builds(ship, None, 10).await.unwrap();
    let mut wanted = vec![(src.resource, src.ids[0]), (out.resource, made)];
    wanted.sort();
    assert_eq!(found[0].versions, wanted);
    let with = store.successful_builds_with_version(ship, out.resource, made, 10).await.unwrap();
    assert_eq!(ids(&with), [build]);
}

async fn histories(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let src = world.checked("src", &["a", "b", "c"]).await;
    store.set_version_enabled(src.resource, src.ids[2], false, at(4)).await.unwrap();
    let down = store.versions_before(src.resource, None, 2).await.unwrap();
    let found: Vec<_> = down.iter().map(|v| (v.id, v.check_order, v.enabled)).collect();
    assert_eq!(found, [(src.ids[2], 3, false), (src.ids[1], 2, true)]);
    let rest = store.versions_before(src.resource, Some(2), 9).await.unwrap();
    assert_eq!(rest[0].version, version("a"));
    let up = store.versions_after(src.resource, 1, 1).await.unwrap();
    assert_eq!(up.iter().map(|v| v.id).collect::<Vec<_>>(), [src.ids[1]]);
    assert_eq!(store.latest_enabled(src.resource).await.unwrap().unwrap().id, src.ids[1]);
    assert_eq!(store.scope_of(src.resource).await.unwrap(), Some((src.scope, 3)));
    assert_eq!(store.scope_of(world.resource("out").await.id).await.unwrap(), None);
    let pinned = store.pinned_version(src.resource, &version("c")).await.unwrap().unwrap();
    assert!(!pinned.enabled, "a pin selects disabled versions too");
}

async fn first(world: &World, of: &crate::world::Checked, id: VersionId) -> bool {
    let unit = world.job("unit").await.id;
    world.store.is_first_occurrence(unit, "in", of.resource, id).await.unwrap()
}

async fn what_was_used(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let src = world.checked("src", &["a", "b", "c"]).await;
    let unit = world.job("unit").await.id;
    let newest = async || store.newest_used(unit, "in", src.resource).await.unwrap().map(|v| v.id);
    assert_eq!(newest().await, None);
    assert!(first(&world, &src, src.ids[1]).await);
    assert_eq!(store.latest_build_using(unit, src.resource).await.unwrap(), None);
    world.ended("unit", &[(&src, 1)], BuildStatus::Succeeded).await;
    let last = world.ended("unit", &[(&src, 0)], BuildStatus::Failed).await.id;
    assert_eq!(newest().await, Some(src.ids[1]));
    assert_eq!(store.latest_build_using(unit, src.resource).await.unwrap(), Some(last));
    assert!(!first(&world, &src, src.ids[0]).await);
    assert!(first(&world, &src, src.ids[2]).await);
    let other = store.is_first_occurrence(unit, "other", src.resource, src.ids[0]).await.unwrap();
    assert!(other, "another input never used it");
}

async fn versions_are_recognised_in_a_new_scope(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let src = world.checked("src", &["a", "b"]).await;
    let unit = world.job("unit").await.id;
    world.ended("unit", &[(&src, 0)], BuildStatus::Succeeded).await;
    let (scope, _) = store.set_scope(src.resource, "other", false, at(40)).await.unwrap();
    let passed = async || store.successful_builds(unit, None, 9).await.unwrap()[0].versions.clone();
    assert_eq!(passed().await, []);
    let saved = store.save_versions(scope, &[version("z"), version("a")], at(41)).await.unwrap();
    assert_eq!(passed().await, [(src.resource, saved.ids[1])]);
    assert!(!first(&world, &src, saved.ids[1]).await);
    assert!(first(&world, &src, saved.ids[0]).await);
}

async fn pipes(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let unit = world.job("unit").await.id;
    let upstream = world.ended("unit", &[], BuildStatus::Succeeded).await.id;
    let ship = world.job("ship").await.id;
    store.save_next_inputs(ship, &[], &[upstream], true, false).await.unwrap();
    let build = store.create_job_build(ship, None, at(5)).await.unwrap().id;
    let pipes = [upstream, upstream];
    assert!(store.start_build(build, &json!({}), &[], &pipes, at(6)).await.unwrap());
    let found = store.pipes_of(build).await.unwrap();
    assert_eq!(found, [Pipe { job: unit, build: upstream, rerun_of: None }]);
    assert_eq!(store.pipes_of(upstream).await.unwrap(), []);
}
