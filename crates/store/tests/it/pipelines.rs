//! Saving, ordering, pausing and archiving pipelines.

use std::collections::BTreeMap;

use jb_model::{BuildId, BuildStatus, Object, PipelineId};
use jb_store::{Error, ResourceKind, SaveOutcome, SavePipeline, Store, Visible};
use serde_json::{Value, json};

use crate::world::{World, at, object, pipeline_config, save, world};

conformance![
    versions_of_configurations,
    rows_follow_the_configuration,
    old_names_keep_history,
    renames_may_go_in_circles,
    instances,
    order,
    renaming,
    pausing_and_exposing,
    archiving_goes_down_the_tree,
    abandoned_pipelines_are_archived,
    an_older_build_does_not_set_a_pipeline,
    a_success_archives_what_it_did_not_set,
    idle_pipelines_are_paused,
    visibility
];

fn request<'a>(
    world: &World,
    name: &'a str,
    config: &'a Value,
    vars: &'a Object,
) -> SavePipeline<'a> {
    SavePipeline {
        team: world.team,
        name,
        instance_vars: vars,
        config,
        from_version: None,
        initially_paused: false,
        set_by: None,
    }
}

async fn versions_of_configurations(store: Store) {
    let world = world(store).await;
    let (config, none) = (pipeline_config(), Object::new());
    let new = SavePipeline { initially_paused: true, ..request(&world, "q", &config, &none) };
    let with = |from_version| SavePipeline { from_version, ..new };
    let refused = world.store.save_pipeline(with(Some(3)), at(5)).await;
    assert!(matches!(refused, Err(Error::ConfigVersion)));
    let created = world.store.save_pipeline(with(Some(0)), at(5)).await.unwrap();
    let SaveOutcome::Created { pipeline, version: 1 } = created else { panic!("{created:?}") };
    let refused = world.store.save_pipeline(with(Some(0)), at(6)).await;
    assert!(matches!(refused, Err(Error::ConfigVersion)));
    let updated = world.store.save_pipeline(with(Some(1)), at(7)).await.unwrap();
    assert_eq!(updated, SaveOutcome::Updated { pipeline, version: 2 });
    let refused = world.store.save_pipeline(with(Some(1)), at(8)).await;
    assert!(matches!(refused, Err(Error::ConfigVersion)));

    let found = world.store.pipeline(pipeline).await.unwrap().unwrap();
    assert!(found.paused && found.paused_by.is_none());
    assert_eq!((found.config_version, found.last_updated), (2, at(7)));
    assert_eq!(found.groups, config["groups"]);

    // An archived one is at version 0, and goes on counting when it comes back.
    world.store.archive_pipeline(pipeline, at(9)).await.unwrap();
    let back = world.store.save_pipeline(with(Some(0)), at(10)).await.unwrap();
    assert_eq!(back, SaveOutcome::Updated { pipeline, version: 3 });
}

async fn rows_follow_the_configuration(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let unit = world.job("unit").await;
    assert_eq!(
        (unit.max_in_flight, unit.public, unit.serial_groups),
        (1, true, vec!["unit".into()])
    );
    assert_eq!(unit.groups, ["all", "tests"]);
    assert_eq!(unit.inputs.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["src", "tool"]);
    assert_eq!(world.job("ship").await.outputs[0].resource, "out");
    let types = store.pipeline_resources(world.pipeline, ResourceKind::ResourceType).await.unwrap();
    assert_eq!(types[0].name, "mytype");

    let mut config = pipeline_config();
    config["jobs"].as_array_mut().unwrap().retain(|job| job["name"] == "ship");
    config["jobs"][0]["plan"] = json!([{"get": "src"}]);
    save(store, world.team, "p", &config).await;
    assert_eq!(store.job_by_name(world.pipeline, "unit").await.unwrap(), None);
    assert_eq!(store.job_config(unit.id).await.unwrap(), None);
    let names: Vec<_> =
        store.pipeline_jobs(world.pipeline).await.unwrap().into_iter().map(|j| j.name).collect();
    assert_eq!(names, ["ship"]);

    save(store, world.team, "p", &pipeline_config()).await;
    assert_eq!(world.job("unit").await.id, unit.id);
}

async fn old_names_keep_history(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (unit, src) = (world.job("unit").await.id, world.checked("src", &["a", "b"]).await);
    let build = world.ended("unit", &[], BuildStatus::Succeeded).await;

    let mut config = pipeline_config();
    config["jobs"][0]["name"] = json!("test");
    config["jobs"][0]["old_name"] = json!("unit");
    config["jobs"][1]["plan"][0]["passed"] = json!(["test"]);
    config["resources"][0]["name"] = json!("repo");
    config["resources"][0]["old_name"] = json!("src");
    for _ in 0..2 {
        // The old name stays in the file after the rename and means nothing then.
        save(store, world.team, "p", &config).await;
        assert_eq!(world.job("test").await.id, unit);
        assert_eq!(world.resource("repo").await.scope, Some(src.scope));
    }
    assert_eq!(store.build(build.id).await.unwrap().unwrap().job_name.as_deref(), Some("test"));
    assert_eq!(store.job_by_name(world.pipeline, "unit").await.unwrap(), None);
}

async fn renames_may_go_in_circles(store: Store) {
    let world = world(store).await;
    let (unit, ship) = (world.job("unit").await.id, world.job("ship").await.id);
    let mut config = pipeline_config();
    config["jobs"] = json!([
        {"name": "ship", "old_name": "unit", "plan": []},
        {"name": "unit", "old_name": "ship", "plan": []},
    ]);
    save(&world.store, world.team, "p", &config).await;
    assert_eq!((world.job("ship").await.id, world.job("unit").await.id), (unit, ship));

    // A former job's name is taken over by a renamed one.
    config["jobs"] = json!([{"name": "ship", "plan": []}]);
    save(&world.store, world.team, "p", &config).await;
    config["jobs"] = json!([{"name": "unit", "old_name": "ship", "plan": []}]);
    save(&world.store, world.team, "p", &config).await;
    assert_eq!(world.job("unit").await.id, unit);
}

async fn instances(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let config = pipeline_config();
    let vars = [json!({"branch": "a", "n": 1}), json!({"branch": "b"})].map(|v| object(&v));
    for vars in &vars {
        let made =
            store.save_pipeline(request(&world, "inst", &config, vars), at(3)).await.unwrap();
        assert!(matches!(made, SaveOutcome::Created { .. }));
    }
    let same = object(&json!({"n": 1, "branch": "a"}));
    let found = store.find_pipeline("MAIN", "inst", &same).await.unwrap().unwrap();
    assert_eq!(
        (found.instance_vars.clone(), found.as_ref().team_name),
        (vars[0].clone(), "main".into())
    );
    assert_eq!(store.find_pipeline("main", "inst", &Object::new()).await.unwrap(), None);

    let reversed = [vars[1].clone(), vars[0].clone()];
    store.order_pipeline_instances(world.team, "inst", &reversed).await.unwrap();
    let listed = store.team_pipelines(world.team, false).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|p| p.instance_vars).collect();
    assert_eq!(listed, [Object::new(), vars[1].clone(), vars[0].clone()]);
    let unknown = store.order_pipeline_instances(world.team, "inst", &[Object::new()]).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
}

async fn names(world: &World) -> Vec<String> {
    let listed = world.store.team_pipelines(world.team, false).await.unwrap();
    listed.into_iter().map(|pipeline| pipeline.name).collect()
}

async fn order(store: Store) {
    let world = world(store).await;
    for name in ["b", "c"] {
        save(&world.store, world.team, name, &pipeline_config()).await;
    }
    assert_eq!(names(&world).await, ["p", "b", "c"]);
    let wanted = ["c".to_owned(), "p".to_owned()];
    world.store.order_pipelines(world.team, &wanted).await.unwrap();
    assert_eq!(names(&world).await, ["c", "p", "b"]);
    let unknown = world.store.order_pipelines(world.team, &["x".to_owned()]).await;
    assert!(matches!(unknown, Err(Error::NotFound { name, .. }) if name == "x"));
    save(&world.store, world.team, "d", &pipeline_config()).await;
    assert_eq!(names(&world).await, ["c", "p", "b", "d"]);
}

async fn renaming(store: Store) {
    let world = world(store).await;
    let vars = object(&json!({"x": 1}));
    let config = pipeline_config();
    world.store.save_pipeline(request(&world, "p", &config, &vars), at(3)).await.unwrap();
    save(&world.store, world.team, "other", &config).await;
    let taken = world.store.rename_pipeline(world.team, "p", "other").await;
    assert!(matches!(taken, Err(Error::Exists { .. })));
    let missing = world.store.rename_pipeline(world.team, "nobody", "somebody").await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    world.store.rename_pipeline(world.team, "p", "q").await.unwrap();
    assert_eq!(names(&world).await, ["q", "q", "other"]);
}

async fn pausing_and_exposing(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    store.pause_pipeline(world.pipeline, "me", at(5)).await.unwrap();
    let found = store.pipeline(world.pipeline).await.unwrap().unwrap();
    assert_eq!(
        (found.paused, found.paused_by, found.paused_at),
        (true, Some("me".into()), Some(at(5)))
    );
    assert!(world.job("unit").await.pipeline_paused);
    for due in store.jobs_to_schedule(10).await.unwrap() {
        store.set_scheduled(due.job, due.requested).await.unwrap();
    }
    store.unpause_pipeline(world.pipeline, at(5)).await.unwrap();
    assert_eq!(store.jobs_to_schedule(10).await.unwrap().len(), 2);
    store.set_pipeline_public(world.pipeline, true).await.unwrap();
    let found = store.pipeline(world.pipeline).await.unwrap().unwrap();
    assert!(found.public && !found.paused && found.paused_by.is_none());
    let missing = store.pause_pipeline(PipelineId(999), "me", at(5)).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    assert!(store.destroy_pipeline(world.pipeline).await.unwrap());
    assert!(!store.destroy_pipeline(world.pipeline).await.unwrap());
}

/// A pipeline set by a build of a job of another.
async fn child(world: &World, name: &str, of: PipelineId, build: BuildId) -> SaveOutcome {
    let job = world.store.job_by_name(of, "unit").await.unwrap().unwrap().id;
    let (config, none) = (pipeline_config(), Object::new());
    let save = SavePipeline { set_by: Some((job, build)), ..request(world, name, &config, &none) };
    world.store.save_pipeline(save, at(3)).await.unwrap()
}

fn id(outcome: SaveOutcome) -> PipelineId {
    let (SaveOutcome::Created { pipeline, .. } | SaveOutcome::Updated { pipeline, .. }) = outcome
    else {
        panic!("{outcome:?}")
    };
    pipeline
}

async fn archiving_goes_down_the_tree(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let kid = id(child(&world, "kid", world.pipeline, BuildId(7)).await);
    let grandkid = id(child(&world, "grandkid", kid, BuildId(8)).await);
    let bystander = save(store, world.team, "bystander", &pipeline_config()).await;

    let archived = store.archive_pipeline(world.pipeline, at(9)).await.unwrap();
    assert_eq!(archived, [world.pipeline, kid, grandkid]);
    for pipeline in archived {
        let found = store.pipeline(pipeline).await.unwrap().unwrap();
        assert!(found.archived && found.paused);
        assert_eq!(found.paused_by.as_deref(), Some("automatic-pipeline-archiver"));
        assert_eq!(found.config_version, 0);
        assert_eq!(store.pipeline_config(pipeline).await.unwrap(), None);
    }
    assert_eq!(world.resource("src").await.config, Value::Null);
    assert!(!store.pipeline(bystander).await.unwrap().unwrap().archived);
    assert_eq!(store.archive_pipeline(world.pipeline, at(9)).await.unwrap(), []);

    // Set by hand again it comes back, paused or not as asked, and belongs to nobody.
    save(store, world.team, "kid", &pipeline_config()).await;
    let found = store.pipeline(kid).await.unwrap().unwrap();
    assert_eq!((found.archived, found.paused, found.parent_job), (false, false, None));
}

async fn abandoned_pipelines_are_archived(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let parent = save(store, world.team, "parent", &pipeline_config()).await;
    let kid = id(child(&world, "kid", parent, BuildId(7)).await);
    let orphan = id(child(&world, "orphan", world.pipeline, BuildId(7)).await);
    assert_eq!(store.archive_abandoned_pipelines(at(9)).await.unwrap(), []);
    store.destroy_pipeline(parent).await.unwrap();
    save(store, world.team, "p", &json!({"jobs": []})).await;
    let archived = store.archive_abandoned_pipelines(at(9)).await.unwrap();
    assert_eq!(BTreeMap::from_iter(archived.iter().map(|id| (id.0, ()))).len(), 2);
    assert!(archived.contains(&kid) && archived.contains(&orphan));
}

async fn an_older_build_does_not_set_a_pipeline(store: Store) {
    let world = world(store).await;
    let kid = id(child(&world, "kid", world.pipeline, BuildId(7)).await);
    let late = child(&world, "kid", world.pipeline, BuildId(6)).await;
    assert_eq!(late, SaveOutcome::SetByNewerBuild { pipeline: kid });
    let again = child(&world, "kid", world.pipeline, BuildId(7)).await;
    assert_eq!(again, SaveOutcome::Updated { pipeline: kid, version: 2 });
}

async fn a_success_archives_what_it_did_not_set(store: Store) {
    let world = world(store).await;
    let first = world.started("unit", &[]).await.id;
    let left = id(child(&world, "left", world.pipeline, first).await);
    let kept = id(child(&world, "kept", world.pipeline, first).await);
    world.store.finish_build(first, BuildStatus::Succeeded, None, at(9)).await.unwrap();
    let archived = async |pipeline| world.store.pipeline(pipeline).await.unwrap().unwrap().archived;
    assert!(!archived(left).await);

    let failing = world.started("unit", &[]).await.id;
    world.store.finish_build(failing, BuildStatus::Failed, None, at(9)).await.unwrap();
    assert!(!archived(left).await);

    let second = world.started("unit", &[]).await.id;
    child(&world, "kept", world.pipeline, second).await;
    world.store.finish_build(second, BuildStatus::Succeeded, None, at(9)).await.unwrap();
    assert!(archived(left).await && !archived(kept).await);
}

async fn idle_pipelines_are_paused(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let busy = save(store, world.team, "busy", &pipeline_config()).await;
    let job = store.job_by_name(busy, "unit").await.unwrap().unwrap().id;
    store.create_job_build(job, None, at(50)).await.unwrap();
    let paused = store.pause_idle_pipelines(at(40), "pauser", at(60)).await.unwrap();
    assert_eq!(paused, [world.pipeline]);
    let found = store.pipeline(world.pipeline).await.unwrap().unwrap();
    assert_eq!(found.paused_by.as_deref(), Some("pauser"));
}

async fn visibility(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (dev, _) = store.save_team("dev", &json!({}), at(1)).await.unwrap();
    let secret = save(store, dev.id, "secret", &pipeline_config()).await;
    let open = save(store, dev.id, "open", &pipeline_config()).await;
    store.set_pipeline_public(open, true).await.unwrap();
    let seen = async |visible: Visible| -> Vec<PipelineId> {
        let listed = store.pipelines(&visible).await.unwrap();
        let ids: Vec<_> = listed.into_iter().map(|p| p.id).collect();
        let mut jobs: Vec<_> =
            store.all_jobs(&visible).await.unwrap().into_iter().map(|j| j.pipeline.id).collect();
        jobs.dedup();
        let mut resources: Vec<_> = store
            .all_resources(&visible)
            .await
            .unwrap()
            .into_iter()
            .map(|r| r.pipeline.id)
            .collect();
        resources.dedup();
        assert_eq!((&jobs, &resources), (&ids, &ids));
        ids
    };
    assert_eq!(seen(Visible::All).await, [world.pipeline, secret, open]);
    assert_eq!(seen(Visible::TeamsAndPublic(vec![])).await, [open]);
    assert_eq!(seen(Visible::TeamsAndPublic(vec![world.team])).await, [world.pipeline, open]);
    let public = store.team_pipelines(dev.id, true).await.unwrap();
    assert_eq!(public.into_iter().map(|p| p.id).collect::<Vec<_>>(), [open]);
    assert_eq!(store.team_jobs(dev.id, true).await.unwrap().len(), 2);
    assert_eq!(store.team_jobs(dev.id, false).await.unwrap().len(), 4);
}
