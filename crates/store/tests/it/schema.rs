//! Both engines have the same tables, columns and indexes.

use std::collections::BTreeSet;

use sqlx::Row as _;

use crate::engines::{block_on, open, postgres_url};

/// `table.column type null?` and `index name`, in the words of SQLite.
type Shape = BTreeSet<String>;

async fn sqlite() -> Shape {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("store.db").display());
    open(&url).await.close().await;
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let columns = sqlx::query(
        "SELECT m.name AS t, c.name AS c, c.type AS k, c.\"notnull\" OR c.pk > 0 AS n
         FROM sqlite_schema m JOIN pragma_table_info(m.name) c
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'migrations'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut shape: Shape = columns
        .iter()
        .map(|row| {
            let (t, c, k): (String, String, String) = (row.get("t"), row.get("c"), row.get("k"));
            let required: i64 = row.get("n");
            format!("{t}.{c} {k} {required}")
        })
        .collect();
    let indexes =
        sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL");
    let indexes = indexes.fetch_all(&pool).await.unwrap();
    shape.extend(indexes.iter().map(|row| format!("index {}", row.get::<String, _>("name"))));
    shape
}

async fn postgres(url: &str) -> Shape {
    let pool = sqlx::PgPool::connect(url).await.unwrap();
    let columns = sqlx::query(
        "SELECT table_name::text AS t, column_name::text AS c, data_type::text AS k,
         CASE WHEN is_nullable = 'NO' THEN 1 ELSE 0 END::bigint AS n
         FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name <> 'migrations'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut shape: Shape = columns
        .iter()
        .map(|row| {
            let (t, c, k): (String, String, String) = (row.get("t"), row.get("c"), row.get("k"));
            let kind = match k.as_str() {
                "bigint" => "INTEGER",
                "text" => "TEXT",
                "bytea" => "BLOB",
                other => other,
            };
            format!("{t}.{c} {kind} {}", row.get::<i64, _>("n"))
        })
        .collect();
    let indexes = sqlx::query(
        "SELECT indexname::text AS name FROM pg_indexes WHERE schemaname = 'public'
         AND indexname NOT LIKE '%_pkey' AND indexname NOT LIKE '%_key'",
    );
    let indexes = indexes.fetch_all(&pool).await.unwrap();
    shape.extend(indexes.iter().map(|row| format!("index {}", row.get::<String, _>("name"))));
    shape
}

#[test]
fn engines_have_the_same_tables() {
    let Some(url) = postgres_url() else { return };
    let (ours, theirs) = block_on(async { (sqlite().await, postgres(&url).await) });
    assert!(ours.len() > 100);
    let only_sqlite: Vec<_> = ours.difference(&theirs).collect();
    let only_postgres: Vec<_> = theirs.difference(&ours).collect();
    assert_eq!((only_sqlite, only_postgres), (vec![], vec![]));
}

#[test]
fn migrations_come_in_pairs() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let names = |engine: &str| -> BTreeSet<_> {
        let dir = std::fs::read_dir(root.join(engine)).unwrap();
        dir.map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names("sqlite"), names("postgres"));
}
