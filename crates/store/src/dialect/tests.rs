#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn notifications_say_what_changed_except_to_the_sender() {
    let changes = BTreeSet::from([
        Change::Build(BuildId(7)),
        Change::BuildQueued,
        Change::Job(JobId(12)),
        Change::CheckRequested,
        Change::Component,
    ]);
    let text = payload("a", &changes);
    assert_eq!(parse_payload(&text, "b").into_iter().collect::<BTreeSet<_>>(), changes);
    assert_eq!(parse_payload(&text, "a"), []);
    assert_eq!(parse_payload("x b1 z9", "a"), [Change::Build(BuildId(1)), Change::Everything]);
}

#[test]
fn too_many_changes_become_one() {
    let changes = (0..5_000).map(|id| Change::Job(JobId(id))).collect();
    assert_eq!(parse_payload(&payload("a", &changes), "b"), [Change::Everything]);
}

#[test]
fn addresses_are_shown_without_password() {
    assert_eq!(without_password("postgres://u:p@ss@h:5/d"), "postgres://u@h:5/d");
    assert_eq!(without_password("postgres://h/d"), "postgres://h/d");
    assert_eq!(without_password("sqlite:file.db"), "sqlite:file.db");
}

/// What a statement is refused with, on a SQLite connection prepared by the others.
async fn refused(connection: &mut sqlx::SqliteConnection, sql: &'static str) -> Error {
    let refused = sqlx::query(sql).execute(connection).await;
    classify(sql, &refused.unwrap_err())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_full_disk_is_told() {
    use sqlx::Connection as _;
    block_on(async {
        let mut connection = sqlx::SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for sql in ["CREATE TABLE t (body BLOB)", "PRAGMA max_page_count = 3"] {
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
        let error = refused(&mut connection, "INSERT INTO t VALUES (zeroblob(100000))").await;
        assert!(matches!(error, Error::Full { .. }), "{error}");
        let error = refused(&mut connection, "SELECT nonsense").await;
        assert!(matches!(error, Error::Statement { .. }), "{error}");
    });
}

#[test]
fn another_process_holding_the_file_is_told() {
    use sqlx::ConnectOptions as _;
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("store.db"))
        .create_if_missing(true)
        .busy_timeout(Duration::ZERO);
    block_on(async {
        let mut one = options.connect().await.unwrap();
        let mut two = options.connect().await.unwrap();
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut one).await.unwrap();
        let error = refused(&mut two, "BEGIN IMMEDIATE").await;
        assert!(matches!(error, Error::Locked { .. }), "{error}");
    });
}
