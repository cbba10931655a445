//! Opening: what is refused, how keys are tried and rotated, and how servers hear of each other.

use jb_store::{Change, EncryptionKey, Error, Options, Store};
use serde_json::json;

use crate::engines::{block_on, empty_postgres_url, open, postgres_url};
use crate::world::{at, pipeline_config, version, world};

const KEYS: [&str; 2] = ["0123456789abcdef", "fedcba9876543210"];

fn options(key: Option<usize>, old: Option<usize>) -> Options {
    let key_of = |index: usize| EncryptionKey::new(KEYS[index]).unwrap();
    Options { encryption_key: key.map(key_of), old_key: old.map(key_of), ..Options::default() }
}

async fn with_keys(url: &str, key: Option<usize>, old: Option<usize>) -> Result<Store, Error> {
    Store::open(url, options(key, old), at(1)).await
}

#[test]
fn other_addresses_are_refused() {
    let refused = block_on(Store::open("mysql://u:secret@h/d", Options::default(), at(1)));
    let Err(Error::Open { url, .. }) = refused else { panic!("opened") };
    assert_eq!(url, "mysql://u@h/d");
}

#[test]
fn a_file_that_is_no_database_is_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    std::fs::write(&path, "no database at all, only some text ".repeat(200)).unwrap();
    let url = format!("sqlite:{}", path.display());
    let refused = block_on(Store::open(&url, Options::default(), at(1)));
    assert!(matches!(refused, Err(Error::Unreadable { .. })));
}

#[test]
fn a_missing_directory_is_named() {
    let refused = block_on(Store::open("sqlite:/nowhere/at/all.db", Options::default(), at(1)));
    let Err(Error::Open { url, .. }) = refused else { panic!("opened") };
    assert_eq!(url, "sqlite:/nowhere/at/all.db");
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("store.db").display());
    block_on(async {
        open(&url).await.close().await;
        let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
        sqlx::query("INSERT INTO migrations VALUES (999, '0999_future', 'x', 0)")
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
        let refused = Store::open(&url, Options::default(), at(1)).await;
        assert!(matches!(refused, Err(Error::Schema { .. })));
    });
}

#[test]
fn a_file_is_opened_again_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("store.db").display());
    block_on(async {
        let made = world(open(&url).await).await;
        made.store.close().await;
        let store = open(&url).await;
        let (config, version) = store.pipeline_config(made.pipeline).await.unwrap().unwrap();
        assert_eq!((config, version), (pipeline_config(), 1));
    });
}

async fn keys_are_tried_and_rotated(url: &str) {
    let made = world(with_keys(url, None, None).await.unwrap()).await;
    let build = made.started("unit", &[]).await.id;
    let one_off = made.one_off().await;
    made.store.set_build_var(one_off, "", "v", &json!("s3cret"), true).await.unwrap();
    made.store.setting_or("signing", &json!("pem")).await.unwrap();
    let lease = made.store.acquire_lease(build, "me", std::time::Duration::from_secs(9), at(1));
    let fence = lease.await.unwrap().unwrap().fence;
    let events = ["{\"n\":0}".to_owned(), "{\"n\":1}".to_owned()];
    made.store.commit_step(build, fence, 0, &events, &[], &[]).await.unwrap();
    made.store.close().await;

    // From no key to a first, to a second, and back to none: everything stays readable.
    for (key, old) in [(Some(0), None), (Some(1), Some(0)), (Some(1), None), (None, Some(1))] {
        let store = with_keys(url, key, old).await.unwrap();
        let (config, _) = store.pipeline_config(made.pipeline).await.unwrap().unwrap();
        assert_eq!(config, pipeline_config());
        let job = made.job_in(&store, "unit").await;
        assert_eq!(store.job_config(job).await.unwrap().unwrap()["name"], "unit");
        let plan = store.build_plan(build).await.unwrap().unwrap();
        assert_eq!(plan["task"]["config"]["params"]["KEY"], "hunter2");
        assert_eq!(store.build_vars(one_off).await.unwrap()[0].value, json!("s3cret"));
        assert_eq!(store.setting("signing").await.unwrap(), Some(json!("pem")));
        assert_eq!(store.machine_events(build).await.unwrap(), events);
        store.close().await;
        if key.is_some() {
            let missing = with_keys(url, None, None).await;
            assert!(matches!(missing, Err(Error::MissingEncryptionKey)));
            let wrong = with_keys(url, Some(usize::from(key == Some(0))), None).await;
            assert!(matches!(wrong, Err(Error::WrongEncryptionKey)));
        }
    }
    with_keys(url, None, None).await.unwrap().close().await;
}

#[test]
fn keys_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let url = format!("sqlite:{}", path.display());
    block_on(keys_are_tried_and_rotated(&url));
}

#[test]
fn keys_on_postgres() {
    let Some(url) = postgres_url() else { return };
    block_on(keys_are_tried_and_rotated(&url));
}

#[test]
fn nothing_secret_is_in_a_sealed_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    block_on(async {
        let url = format!("sqlite:{}", path.display());
        let made = world(with_keys(&url, Some(0), None).await.unwrap()).await;
        made.started("unit", &[]).await;
        let one_off = made.one_off().await;
        made.store.set_build_var(one_off, "", "v", &json!("hunter2"), true).await.unwrap();
        made.store.close().await;
    });
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
    }
}

#[test]
fn servers_starting_together_make_one_schema() {
    let Some(url) = empty_postgres_url() else { return };
    block_on(async {
        let opening: Vec<_> = (0..4)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move { Store::open(&url, Options::default(), at(1)).await })
            })
            .collect();
        for store in opening {
            store.await.unwrap().unwrap().close().await;
        }
    });
}

#[test]
fn servers_hear_of_each_other() {
    let Some(url) = postgres_url() else { return };
    block_on(async {
        let (one, two) = (open(&url).await, open(&url).await);
        let made = world(one.clone()).await;
        let mut heard = two.subscribe();
        let mut own = one.subscribe();
        let src = made.resource("src").await.id;
        let (scope, _) = one.set_scope(src, "hash", false, at(3)).await.unwrap();
        one.save_versions(scope, &[version("a")], at(4)).await.unwrap();
        let unit = Change::Job(made.job("unit").await.id);
        while own.recv().await.unwrap() != unit {}
        while heard.recv().await.unwrap() != unit {}
    });
}

#[tokio::test]
async fn a_limited_store_stops_between_two_writes() {
    let now = at(1);
    let store = Store::open("sqlite::memory:", Options::default(), now).await.unwrap();
    let allowance = jb_store::Allowance::new(1);
    let limited = store.limited(allowance.clone());
    limited.ensure_main_team(&json!({}), now).await.unwrap();
    let refused = tokio::spawn(async move {
        limited.save_team("other", &json!({}), now).await.unwrap();
    });
    allowance.spent().await;
    assert_eq!(store.teams().await.unwrap().len(), 1);
    refused.abort();
}
