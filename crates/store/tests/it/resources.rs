//! Scopes, checks, pins and versions.

use std::time::Duration;

use jb_model::{Metadata, Timestamp, Version, VersionId};
use jb_store::{Page, Paged, ResourceKind, ResourceVersion, SavedVersions, Store};
use serde_json::json;

use crate::world::{World, at, pipeline_config, save, version, world};

conformance![
    scopes,
    scopes_may_be_shared,
    checks_run_one_at_a_time,
    what_is_checked_periodically,
    a_changed_source_is_checked_anew,
    checks_append_in_their_order,
    versions_of_puts_go_on_top,
    metadata,
    pages,
    filters,
    finding_by_parts,
    enabling_and_disabling,
    pins,
    clearing
];

async fn scopes(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let src = world.resource("src").await;
    assert_eq!(
        (src.scope, src.kind, src.type_name.as_str()),
        (None, ResourceKind::Resource, "git")
    );
    assert_eq!(src.config["source"]["private_key"], "hunter2");
    let (first, changed) = store.set_scope(src.id, "h1", false, at(3)).await.unwrap();
    assert!(changed);
    assert_eq!(store.set_scope(src.id, "h1", false, at(3)).await.unwrap(), (first, false));
    let (second, changed) = store.set_scope(src.id, "h2", false, at(3)).await.unwrap();
    assert!(changed && second != first);
    assert_eq!(store.resource(src.id).await.unwrap().unwrap().scope, Some(second));
    // A configuration that comes back finds its history.
    assert_eq!(store.set_scope(src.id, "h1", false, at(3)).await.unwrap(), (first, true));
    let other = world.resource("out").await.id;
    assert_ne!(store.set_scope(other, "h1", false, at(3)).await.unwrap().0, first);
    let users = store.resources_of_scope(first).await.unwrap();
    assert_eq!(users.iter().map(|user| user.id).collect::<Vec<_>>(), [src.id]);
}

async fn scopes_may_be_shared(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (src, out) = (world.resource("src").await.id, world.resource("out").await.id);
    let (scope, _) = store.set_scope(src, "h", true, at(3)).await.unwrap();
    assert_eq!(store.set_scope(out, "h", true, at(3)).await.unwrap(), (scope, true));
    assert_eq!(store.resources_of_scope(scope).await.unwrap().len(), 2);
    let saved = store.save_versions(scope, &[version("a")], at(4)).await.unwrap();
    assert!(store.set_version_enabled(src, saved.ids[0], false, at(4)).await.unwrap());
    assert_eq!(store.latest_enabled(src).await.unwrap(), None);
    assert!(store.latest_enabled(out).await.unwrap().is_some());
    assert_eq!(store.delete_unused_scopes(at(9), 10).await.unwrap(), 0);
    store.destroy_pipeline(world.pipeline).await.unwrap();
    assert!(store.latest_version(scope).await.unwrap().is_some(), "others may use it still");
    let image = store.shared_scope("image", at(9)).await.unwrap();
    assert_eq!(store.shared_scope("image", at(10)).await.unwrap(), image);
    assert_eq!(store.delete_unused_scopes(at(9), 10).await.unwrap(), 1);
    assert_eq!(store.latest_version(scope).await.unwrap(), None);
    assert!(store.check_state(image).await.unwrap().is_some(), "it was asked for lately");
    assert_eq!(store.delete_unused_scopes(at(10), 10).await.unwrap(), 1);
}

async fn checks_run_one_at_a_time(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let scope = world.checked("src", &[]).await.scope;
    let start = async |now| store.start_check(scope, None, at(5), now).await.unwrap();
    assert!(start(at(10)).await);
    assert!(!start(at(11)).await, "one is running");
    assert!(store.start_check(scope, None, at(10), at(12)).await.unwrap(), "that one is stale");
    store.finish_check(scope, true, Some(Duration::from_secs(60)), at(20)).await.unwrap();
    let state = store.check_state(scope).await.unwrap().unwrap();
    assert_eq!(
        (state.last_start, state.last_end, state.succeeded, state.next_due),
        (Some(at(12)), Some(at(20)), true, Some(at(80)))
    );
    assert!(start(at(21)).await);
    store.finish_check(scope, false, None, at(22)).await.unwrap();
    let state = world.resource("src").await.check;
    assert_eq!((state.succeeded, state.next_due), (false, None));
}

async fn due(world: &World, now: Timestamp) -> Vec<String> {
    let due = world.store.resources_due(now, 10).await.unwrap();
    due.into_iter().map(|resource| resource.name).collect()
}

async fn what_is_checked_periodically(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    assert_eq!(due(&world, at(9)).await, ["src", "tool", "out"]);
    assert_eq!(store.next_check_due().await.unwrap(), Some(Timestamp(0)));
    for name in ["src", "tool", "out"] {
        let versions: &[&str] = if name == "out" { &[] } else { &["v"] };
        let checked = world.checked(name, versions).await;
        store.start_check(checked.scope, None, at(0), at(10)).await.unwrap();
        let interval = Some(Duration::from_secs(60));
        store.finish_check(checked.scope, true, interval, at(10)).await.unwrap();
    }
    assert_eq!(due(&world, at(69)).await, [] as [&str; 0]);
    // Only what triggers goes on by itself, and what has no version yet.
    assert_eq!(due(&world, at(70)).await, ["src", "out"]);
    assert_eq!(store.next_check_due().await.unwrap(), Some(at(70)));
    store.set_next_check(world.resource("src").await.id, at(500)).await.unwrap();
    assert_eq!(due(&world, at(70)).await, ["out"]);
    store.pause_pipeline(world.pipeline, "me", at(9)).await.unwrap();
    assert_eq!(due(&world, at(999)).await, [] as [&str; 0]);
    assert_eq!(store.next_check_due().await.unwrap(), None);
}

async fn a_changed_source_is_checked_anew(store: Store) {
    let world = world(store).await;
    for name in ["src", "tool", "out"] {
        world.store.set_next_check(world.resource(name).await.id, at(500)).await.unwrap();
    }
    save(&world.store, world.team, "p", &pipeline_config()).await;
    assert_eq!(due(&world, at(10)).await, [] as [&str; 0]);
    let mut config = pipeline_config();
    config["resources"][0]["source"]["branch"] = json!("main");
    save(&world.store, world.team, "p", &config).await;
    assert_eq!(due(&world, at(10)).await, ["src"]);
}

async fn history(world: &World, name: &str) -> Vec<String> {
    let resource = world.resource(name).await.id;
    let versions = world.store.versions_after(resource, 0, 100).await.unwrap();
    versions.into_iter().map(|version| version.version["ref"].clone()).collect()
}

async fn checks_append_in_their_order(store: Store) {
    let world = world(store).await;
    let src = world.checked("src", &["a", "b"]).await;
    let save = async |names: &[&str]| -> SavedVersions {
        let versions: Vec<_> = names.iter().map(|name| version(name)).collect();
        world.store.save_versions(src.scope, &versions, at(5)).await.unwrap()
    };
    assert_eq!(history(&world, "src").await, ["a", "b"]);
    let again = save(&["b", "a"]).await;
    assert_eq!((again.new, again.ids), (0, vec![src.ids[1], src.ids[0]]));
    assert_eq!(history(&world, "src").await, ["a", "b"], "nothing new, nothing moved");
    assert_eq!(save(&["b", "a", "c"]).await.new, 1);
    assert_eq!(history(&world, "src").await, ["b", "a", "c"]);
    assert_eq!(save(&["d", "a"]).await.new, 1);
    assert_eq!(history(&world, "src").await, ["b", "c", "d", "a"]);
    let latest = world.store.latest_version(src.scope).await.unwrap().unwrap();
    assert_eq!(latest, (src.ids[0], version("a")));
    assert_eq!(save(&[]).await, SavedVersions { ids: vec![], new: 0 });
    assert_eq!(world.store.version(src.ids[0]).await.unwrap(), Some((src.scope, version("a"))));
    assert_eq!(world.store.version(VersionId(999)).await.unwrap(), None);
}

async fn versions_of_puts_go_on_top(store: Store) {
    let world = world(store).await;
    let out = world.checked("out", &["a"]).await;
    let lines = [Metadata { name: "k".into(), value: "v".into() }];
    let made = world.store.save_put_version(out.scope, &version("b"), &lines).await.unwrap();
    assert_eq!(history(&world, "out").await, ["a", "b"]);
    let again = world.store.save_put_version(out.scope, &version("a"), &[]).await.unwrap();
    assert_eq!(again, out.ids[0]);
    assert_eq!(history(&world, "out").await, ["a", "b"], "a known one keeps its place");
    let checked =
        world.store.save_versions(out.scope, &[version("b"), version("a")], at(5)).await.unwrap();
    assert_eq!((checked.new, checked.ids), (0, vec![made, out.ids[0]]));
    assert_eq!(world.store.save_put_version(out.scope, &version("b"), &[]).await.unwrap(), made);
    let seen = world.store.resource_version(out.resource, made).await.unwrap().unwrap();
    assert_eq!(seen.metadata, lines, "saying nothing forgets nothing");
}

async fn metadata(store: Store) {
    let world = world(store).await;
    let src = world.checked("src", &["a"]).await;
    let lines = ["x", "y"].map(|name| Metadata { name: name.into(), value: "1".into() });
    assert!(world.store.save_metadata(src.scope, &version("a"), &lines).await.unwrap());
    assert!(!world.store.save_metadata(src.scope, &version("b"), &lines).await.unwrap());
    let seen = world.store.resource_version(src.resource, src.ids[0]).await.unwrap().unwrap();
    let wanted = ResourceVersion {
        id: src.ids[0],
        version: version("a"),
        metadata: lines.to_vec(),
        enabled: true,
        check_order: 1,
    };
    assert_eq!(seen, wanted);
    let other = world.resource("out").await.id;
    assert_eq!(world.store.resource_version(other, src.ids[0]).await.unwrap(), None);
}

fn refs(page: &Paged<ResourceVersion>) -> String {
    page.items.iter().map(|item| item.version["ref"].as_str()).collect()
}

async fn pages(store: Store) {
    let world = world(store).await;
    // `a` is moved to the end, so ids and order differ.
    let src = world.checked("src", &["a", "b", "c", "d"]).await;
    world.store.save_versions(src.scope, &[version("e"), version("a")], at(5)).await.unwrap();
    let id = |index: usize| Some(src.ids[index].0);
    let page = async |from, to, limit| {
        let page = Page { from, to, limit };
        world.store.resource_versions(src.resource, &Version::new(), page).await.unwrap()
    };
    let newest = page(None, None, 2).await;
    assert_eq!((refs(&newest).as_str(), newest.older, newest.newer), ("ae", id(3), None));
    let older = page(None, newest.older, 2).await;
    assert_eq!((refs(&older).as_str(), older.older), ("dc", id(1)));
    assert_eq!(older.newer, Some(newest.items[1].id.0));
    let newer = page(older.newer, None, 1).await;
    assert_eq!(refs(&newer), "e");
    assert_eq!(refs(&page(id(1), id(3), 9).await), "dcb");
    assert_eq!(refs(&page(Some(999), None, 9).await), "");
}

async fn filters(store: Store) {
    let world = world(store).await;
    let src = world.checked("src", &["ref=a,os=l", "ref=b,os=w", "ref=c,os=l"]).await;
    let page = async |filter: &str, page| {
        world.store.resource_versions(src.resource, &version(filter), page).await.unwrap()
    };
    let linux = page("os=l", Page::newest(1)).await;
    assert_eq!((refs(&linux).as_str(), linux.older), ("c", Some(src.ids[0].0)));
    assert_eq!(refs(&page("os=l", Page::newest(9)).await), "ca");
    assert_eq!(refs(&page("os=l,ref=a", Page::newest(9)).await), "a");
    assert_eq!(refs(&page("os=m", Page::newest(9)).await), "");
}

async fn finding_by_parts(store: Store) {
    let world = world(store).await;
    let src = world.checked("src", &["ref=a,os=l", "ref=b,os=w", "ref=c,os=l"]).await;
    let find = async |text| {
        let found = world.store.find_version(src.scope, &version(text)).await.unwrap();
        let pinned = world.store.pinned_version(src.resource, &version(text)).await.unwrap();
        assert_eq!(found.clone().map(|(id, _)| id), pinned.map(|pinned| pinned.id));
        found.map(|(id, _)| id)
    };
    assert_eq!(find("os=l").await, Some(src.ids[2]));
    assert_eq!(find("ref=a").await, Some(src.ids[0]));
    assert_eq!(find("ref=b,os=w").await, Some(src.ids[1]));
    assert_eq!(find("ref=b,os=l").await, None);
}

async fn enabling_and_disabling(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let src = world.checked("src", &["a", "b"]).await;
    let latest =
        async || store.latest_enabled(src.resource).await.unwrap().map(|version| version.id);
    assert!(store.set_version_enabled(src.resource, src.ids[1], false, at(5)).await.unwrap());
    assert!(store.set_version_enabled(src.resource, src.ids[1], false, at(5)).await.unwrap());
    assert_eq!(latest().await, Some(src.ids[0]));
    let seen = store.scope_version(src.resource, src.ids[1]).await.unwrap().unwrap();
    assert!(!seen.enabled);
    assert!(store.set_version_enabled(src.resource, src.ids[1], true, at(5)).await.unwrap());
    assert_eq!(latest().await, Some(src.ids[1]));
    assert!(!store.set_version_enabled(src.resource, VersionId(999), true, at(5)).await.unwrap());
}

async fn pins(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let src = world.checked("src", &["a", "b"]).await;
    assert!(!store.pin_version(src.resource, VersionId(999), at(5)).await.unwrap());
    assert!(store.pin_version(src.resource, src.ids[0], at(5)).await.unwrap());
    store.set_pin_comment(src.resource, "broken since b").await.unwrap();
    let pin = world.resource("src").await.pin.unwrap();
    assert_eq!((pin.version, pin.comment.as_str()), (version("a"), "broken since b"));
    assert!(store.unpin(src.resource, at(6)).await.unwrap());
    assert!(!store.unpin(src.resource, at(6)).await.unwrap());
    let resource = world.resource("src").await;
    assert_eq!((resource.pin, resource.pin_comment), (None, None));
}

async fn clearing(store: Store) {
    let world = world(store).await;
    let src = world.checked("src", &["a", "b"]).await;
    let build = world.started("unit", &[(&src, 0)]).await.id;
    assert_eq!(world.store.clear_versions(src.resource, at(6)).await.unwrap(), 2);
    assert_eq!(world.store.clear_versions(src.resource, at(6)).await.unwrap(), 0);
    assert_eq!(history(&world, "src").await, [] as [&str; 0]);
    assert_eq!(world.store.build_inputs(build).await.unwrap(), []);
    let never = world.resource("out").await.id;
    assert_eq!(world.store.clear_versions(never, at(6)).await.unwrap(), 0);
}
