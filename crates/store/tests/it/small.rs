//! Teams, tokens, settings, vars and artifacts.

use std::time::Duration;

use jb_model::VolumeHandle;
use jb_store::{Change, Error, Store, Wall};
use serde_json::json;

use crate::world::{at, world};

conformance![
    teams,
    destroying_a_team,
    tokens_and_users,
    the_wall,
    components,
    settings,
    build_vars,
    artifacts
];

async fn teams(store: Store) {
    let auth = json!({"owner": {"users": ["local:test"], "groups": []}});
    let main = store.ensure_main_team(&json!({}), at(1)).await.unwrap();
    let again = store.ensure_main_team(&auth, at(2)).await.unwrap();
    assert_eq!((main.id, main.admin, &again.auth), (again.id, true, &auth));

    let (dev, created) = store.save_team("Dev", &json!({}), at(3)).await.unwrap();
    assert!(created && !dev.admin);
    let (same, created) = store.save_team("dev", &auth, at(4)).await.unwrap();
    assert_eq!((same.id, same.name.as_str(), created), (dev.id, "Dev", false));
    assert_eq!(store.team_by_name("DEV").await.unwrap().unwrap().auth, auth);
    assert_eq!(store.team(dev.id).await.unwrap().unwrap(), same);

    let taken = store.rename_team(dev.id, "MAIN").await;
    assert!(matches!(taken, Err(Error::Exists { .. })));
    assert!(store.rename_team(dev.id, "ops").await.unwrap());
    let names: Vec<_> = store.teams().await.unwrap().into_iter().map(|team| team.name).collect();
    assert_eq!(names, ["main", "ops"]);
}

async fn destroying_a_team(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = world.one_off().await;
    world.checked("src", &["a"]).await;
    assert!(store.destroy_team(world.team).await.unwrap());
    assert!(!store.destroy_team(world.team).await.unwrap());
    assert_eq!(store.pipeline(world.pipeline).await.unwrap(), None);
    assert_eq!(store.build(build).await.unwrap(), None);
}

async fn tokens_and_users(store: Store) {
    let claims = json!({"sub": "s"});
    store.save_token("secret", &claims, at(100)).await.unwrap();
    store.save_token("old", &claims, at(10)).await.unwrap();
    assert_eq!(store.token("secret", at(99)).await.unwrap().unwrap().claims, claims);
    assert_eq!(store.token("secret", at(100)).await.unwrap(), None);
    assert_eq!(store.token("other", at(1)).await.unwrap(), None);
    assert_eq!(store.delete_expired_tokens(at(50)).await.unwrap(), 1);
    assert!(store.delete_token("secret").await.unwrap());
    assert!(!store.delete_token("secret").await.unwrap());

    store.save_user("1", "bob", "local", at(5)).await.unwrap();
    store.save_user("2", "ann", "github", at(9)).await.unwrap();
    store.save_user("1", "bobby", "local", at(8)).await.unwrap();
    let users = store.users_since(at(8)).await.unwrap();
    let names: Vec<_> =
        users.iter().map(|user| (user.username.as_str(), user.last_login)).collect();
    assert_eq!(names, [("ann", at(9)), ("bobby", at(8))]);
    assert_eq!(store.users_since(at(9)).await.unwrap().len(), 1);
}

async fn the_wall(store: Store) {
    assert_eq!(store.wall(at(0)).await.unwrap(), None);
    let forever = Wall { message: "hi".into(), expires_at: None };
    store.set_wall(&forever).await.unwrap();
    assert_eq!(store.wall(at(9)).await.unwrap(), Some(forever));
    let brief = Wall { message: "soon".into(), expires_at: Some(at(5)) };
    store.set_wall(&brief).await.unwrap();
    assert_eq!(store.wall(at(4)).await.unwrap(), Some(brief));
    assert_eq!(store.wall(at(5)).await.unwrap(), None);
    store.clear_wall().await.unwrap();
    assert_eq!(store.wall(at(0)).await.unwrap(), None);
}

async fn components(store: Store) {
    let mut changes = store.subscribe();
    let minute = Duration::from_secs(60);
    store.set_components(&[("scanner", minute), ("reaper", minute)]).await.unwrap();
    assert!(store.claim_component("scanner", at(100)).await.unwrap());
    assert!(!store.claim_component("scanner", at(159)).await.unwrap());
    assert!(store.claim_component("scanner", at(160)).await.unwrap());
    store.set_component_ran("reaper", at(7)).await.unwrap();
    assert!(store.set_component_paused("scanner", true).await.unwrap());
    assert!(!store.set_component_paused("nobody", true).await.unwrap());
    assert!(!store.claim_component("scanner", at(999)).await.unwrap());
    store.set_components(&[("scanner", minute * 2), ("gc", minute)]).await.unwrap();
    let found: Vec<_> = store
        .components()
        .await
        .unwrap()
        .into_iter()
        .map(|c| (c.name, c.interval, c.last_ran, c.paused))
        .collect();
    assert_eq!(
        found,
        [
            ("gc".to_owned(), minute, None, false),
            ("scanner".to_owned(), minute * 2, Some(at(160)), true)
        ]
    );
    store.set_all_components_paused(false).await.unwrap();
    assert!(store.components().await.unwrap().iter().all(|c| !c.paused));
    assert_eq!(changes.recv().await.unwrap(), Change::Component);
}

async fn settings(store: Store) {
    store.ping().await.unwrap();
    assert_eq!(store.setting("key").await.unwrap(), None);
    assert_eq!(store.setting_or("key", &json!({"n": 1})).await.unwrap(), json!({"n": 1}));
    assert_eq!(store.setting_or("key", &json!({"n": 2})).await.unwrap(), json!({"n": 1}));
    assert_eq!(store.setting("key").await.unwrap(), Some(json!({"n": 1})));
}

async fn build_vars(store: Store) {
    let world = world(store).await;
    let build = world.one_off().await;
    let store = &world.store;
    store.set_build_var(build, "", "b", &json!([1]), false).await.unwrap();
    store.set_build_var(build, "", "a", &json!("x"), true).await.unwrap();
    store.set_build_var(build, "1/2", "a", &json!({"k": "v"}), true).await.unwrap();
    store.set_build_var(build, "", "a", &json!("y"), false).await.unwrap();
    let vars = store.build_vars(build).await.unwrap();
    let found: Vec<_> = vars
        .iter()
        .map(|v| (v.scope.as_str(), v.name.as_str(), v.value.clone(), v.redact))
        .collect();
    assert_eq!(
        found,
        [
            ("", "a", json!("y"), false),
            ("", "b", json!([1]), false),
            ("1/2", "a", json!({"k": "v"}), true)
        ]
    );
}

async fn artifacts(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = world.one_off().await;
    let (v1, v2) = (VolumeHandle::new("v1"), VolumeHandle::new("v2"));
    store.set_build_artifact(build, "", "out", &v1).await.unwrap();
    store.set_build_artifact(build, "", "out", &v2).await.unwrap();
    store.set_build_artifact(build, "", "in", &v1).await.unwrap();
    let names: Vec<_> = store
        .build_artifacts(build)
        .await
        .unwrap()
        .into_iter()
        .map(|a| (a.scope, a.name, a.volume.0))
        .collect();
    assert_eq!(
        names,
        [("", "in", "v1"), ("", "out", "v2")].map(|(s, n, v)| (
            s.to_owned(),
            n.to_owned(),
            v.to_owned()
        ))
    );

    let uploaded = store.create_artifact(world.team, None, "in", &v1, at(5)).await.unwrap();
    let made = store.create_artifact(world.team, Some(build), "out", &v2, at(5)).await.unwrap();
    assert_eq!(store.artifact(uploaded.id).await.unwrap(), Some(uploaded));
    assert_eq!(store.artifacts_of_build(build).await.unwrap(), [made]);
    // The build runs still and keeps its own.
    assert_eq!(store.delete_old_artifacts(at(6)).await.unwrap(), [v1]);
    assert_eq!(store.artifacts_of_build(build).await.unwrap().len(), 1);
}
