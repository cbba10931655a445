//! The thin layer over both engines: bind arguments, run a statement, read rows strictly.
//!
//! Values are only NULL, 64-bit integers, floats, text and bytes. Rows are copied out of the driver at once, so
//! that everything above is written and compiled once. Reading NULL where a value is required is an error:
//! the SQLite driver by itself would give an empty value.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use jb_metrics::Database;
use jb_model::{
    ApprovalId, ArtifactId, BuildId, JobId, Object, PipelineId, ResourceId, ScopeId, TeamId,
    Timestamp, Value, Version, VersionId, VolumeHandle,
};
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{Decode, Executor, Row as _, TypeInfo as _, ValueRef as _};

use crate::dialect::classify;
use crate::seal::Seal;
use crate::{Change, Error, Result};

/// An argument of a statement. NULL keeps its type, which PostgreSQL wants to know.
#[derive(Clone, Debug)]
pub(crate) enum Arg<'a> {
    Int(Option<i64>),
    Text(Option<Cow<'a, str>>),
    Blob(&'a [u8]),
}

macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::Arg::from($value)),*] };
}
pub(crate) use args;

macro_rules! int_args {
    ($($kind:ty => $get:expr),* $(,)?) => {$(
        impl From<$kind> for Arg<'_> {
            fn from(value: $kind) -> Self {
                let get: fn($kind) -> i64 = $get;
                Self::Int(Some(get(value)))
            }
        }
        impl From<Option<$kind>> for Arg<'_> {
            fn from(value: Option<$kind>) -> Self {
                let get: fn($kind) -> i64 = $get;
                Self::Int(value.map(get))
            }
        }
    )*};
}

int_args! {
    i64 => |v| v,
    u32 => i64::from,
    bool => i64::from,
    TeamId => |v| v.0,
    PipelineId => |v| v.0,
    JobId => |v| v.0,
    ResourceId => |v| v.0,
    ScopeId => |v| v.0,
    VersionId => |v| v.0,
    BuildId => |v| v.0,
    ArtifactId => |v| v.0,
    ApprovalId => |v| v.0,
    Timestamp => |v| v.0,
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(value)))
    }
}
impl<'a> From<Option<&'a str>> for Arg<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value.map(Cow::Borrowed))
    }
}
impl From<String> for Arg<'_> {
    fn from(value: String) -> Self {
        Self::Text(Some(Cow::Owned(value)))
    }
}
impl From<Option<String>> for Arg<'_> {
    fn from(value: Option<String>) -> Self {
        Self::Text(value.map(Cow::Owned))
    }
}
impl<'a> From<&'a String> for Arg<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(Some(Cow::Borrowed(value)))
    }
}
impl<'a> From<&'a VolumeHandle> for Arg<'a> {
    fn from(value: &'a VolumeHandle) -> Self {
        Self::Text(Some(Cow::Borrowed(value.as_str())))
    }
}
impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value)
    }
}

/// Ids as the JSON array that `json_each` unfolds in a statement.
pub(crate) fn id_list(ids: impl IntoIterator<Item = i64>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    format!("[{}]", ids.join(","))
}

#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Cell {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Int(_) => "an integer",
            Self::Text(_) => "text",
            Self::Blob(_) => "bytes",
        }
    }
}

/// One row, by column name.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    columns: Arc<[Box<str>]>,
    cells: Vec<Cell>,
}

impl Row {
    fn cell(&self, column: &str) -> Result<&Cell> {
        let found = self.columns.iter().position(|name| &**name == column);
        found.and_then(|index| self.cells.get(index)).ok_or_else(|| Error::Column {
            column: column.into(),
            wanted: "a column",
            found: "nothing",
        })
    }

    fn mismatch(column: &str, wanted: &'static str, cell: &Cell) -> Error {
        Error::Column { column: column.into(), wanted, found: cell.kind() }
    }

    pub(crate) fn opt_int(&self, column: &str) -> Result<Option<i64>> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Int(value) => Ok(Some(*value)),
            cell @ (Cell::Text(_) | Cell::Blob(_)) => {
                Err(Self::mismatch(column, "an integer", cell))
            }
        }
    }

    pub(crate) fn req_int(&self, column: &str) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| Self::mismatch(column, "an integer", &Cell::Null))
    }

    pub(crate) fn opt_text(&self, column: &str) -> Result<Option<String>> {
        Ok(self.opt_str(column)?.map(str::to_owned))
    }

    pub(crate) fn opt_str(&self, column: &str) -> Result<Option<&str>> {
        match self.cell(column)? {
            Cell::Null => Ok(None),
            Cell::Text(value) => Ok(Some(value)),
            cell @ (Cell::Int(_) | Cell::Blob(_)) => Err(Self::mismatch(column, "text", cell)),
        }
    }

    pub(crate) fn req_str(&self, column: &str) -> Result<&str> {
        self.opt_str(column)?.ok_or_else(|| Self::mismatch(column, "text", &Cell::Null))
    }

    pub(crate) fn req_text(&self, column: &str) -> Result<String> {
        self.req_str(column).map(str::to_owned)
    }

    pub(crate) fn req_blob(&self, column: &str) -> Result<&[u8]> {
        match self.cell(column)? {
            Cell::Blob(value) => Ok(value),
            cell @ (Cell::Null | Cell::Int(_) | Cell::Text(_)) => {
                Err(Self::mismatch(column, "bytes", cell))
            }
        }
    }

    pub(crate) fn req_bool(&self, column: &str) -> Result<bool> {
        Ok(self.req_int(column)? != 0)
    }

    pub(crate) fn req_u64(&self, column: &str) -> Result<u64> {
        u64::try_from(self.req_int(column)?).map_err(|_| Error::Column {
            column: column.into(),
            wanted: "a count",
            found: "a negative number",
        })
    }

    pub(crate) fn req_u32(&self, column: &str) -> Result<u32> {
        u32::try_from(self.req_int(column)?).map_err(|_| Error::Column {
            column: column.into(),
            wanted: "a small count",
            found: "another number",
        })
    }

    pub(crate) fn req_time(&self, column: &str) -> Result<Timestamp> {
        self.req_int(column).map(Timestamp)
    }

    pub(crate) fn opt_time(&self, column: &str) -> Result<Option<Timestamp>> {
        Ok(self.opt_int(column)?.map(Timestamp))
    }

    pub(crate) fn req_json(&self, column: &'static str) -> Result<Value> {
        parse(column, self.req_str(column)?)
    }

    pub(crate) fn opt_json(&self, column: &'static str) -> Result<Option<Value>> {
        self.opt_str(column)?.map(|text| parse(column, text)).transpose()
    }

    pub(crate) fn req_object(&self, column: &'static str) -> Result<Object> {
        let text = self.req_str(column)?;
        serde_json::from_str(text).map_err(|error| stored(column, &error))
    }

    pub(crate) fn req_version(&self, column: &'static str) -> Result<Version> {
        let text = self.req_str(column)?;
        serde_json::from_str(text).map_err(|error| stored(column, &error))
    }
}

fn parse(column: &'static str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| stored(column, &error))
}

fn stored(what: &'static str, error: &serde_json::Error) -> Error {
    Error::Stored { what, reason: error.to_string() }
}

/// JSON whose text is the same for equal values, keys sorted.
pub(crate) fn json_text(value: &Value) -> String {
    value.to_string()
}

/// A transaction on either engine.
pub(crate) struct Tx {
    conn: TxConn,
    seal: Arc<Seal>,
    changes: BTreeSet<Change>,
    counts: Database,
}

pub(crate) enum TxConn {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Tx {
    pub(crate) fn new(conn: TxConn, seal: Arc<Seal>, counts: Database) -> Self {
        Self { conn, seal, changes: BTreeSet::new(), counts }
    }

    pub(crate) const fn is_postgres(&self) -> bool {
        matches!(self.conn, TxConn::Postgres(_))
    }

    /// Whether data not needed by others may be sealed, and how.
    pub(crate) fn seal(&self) -> &Seal {
        &self.seal
    }

    /// What is to be stored for JSON in a sealed column.
    pub(crate) fn sealed(&self, column: &'static str, value: &Value) -> Result<String> {
        self.seal.seal(column, json_text(value))
    }

    /// Announces a change when this transaction is committed.
    pub(crate) fn changed(&mut self, change: Change) {
        self.changes.insert(change);
    }

    /// Runs a statement; returns how many rows it touched.
    pub(crate) async fn execute(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64> {
        self.counts.query();
        match &mut self.conn {
            TxConn::Sqlite(tx) => execute_sqlite(&mut **tx, sql, args).await,
            TxConn::Postgres(tx) => execute_postgres(&mut **tx, sql, args).await,
        }
    }

    /// Runs a query.
    pub(crate) async fn rows(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        self.counts.query();
        match &mut self.conn {
            TxConn::Sqlite(tx) => rows_sqlite(&mut **tx, sql, args).await,
            TxConn::Postgres(tx) => rows_postgres(&mut **tx, sql, args).await,
        }
    }

    /// The first row, if any.
    pub(crate) async fn row(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// The first row, which has to be there.
    pub(crate) async fn one(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Row> {
        self.row(sql, args)
            .await?
            .ok_or_else(|| Error::Statement { statement: sql, reason: "it gave no row".into() })
    }

    /// Runs a script of several statements without arguments.
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<()> {
        match &mut self.conn {
            TxConn::Sqlite(tx) => (&mut **tx).execute(sqlx::raw_sql(sql)).await.map(drop),
            TxConn::Postgres(tx) => (&mut **tx).execute(sqlx::raw_sql(sql)).await.map(drop),
        }
        .map_err(|error| classify(sql, &error))
    }

    /// Ends the transaction; returns what to announce.
    pub(crate) async fn commit(self) -> Result<BTreeSet<Change>> {
        match self.conn {
            TxConn::Sqlite(tx) => tx.commit().await,
            TxConn::Postgres(tx) => tx.commit().await,
        }
        .map_err(|error| classify("COMMIT", &error))?;
        Ok(self.changes)
    }

    pub(crate) const fn changes(&self) -> &BTreeSet<Change> {
        &self.changes
    }
}

fn bind_sqlite(sql: &'static str, args: &[Arg<'_>]) -> Query<'static, Sqlite, SqliteArguments> {
    let mut query = sqlx::query(sql);
    for arg in args {
        query = match arg {
            Arg::Int(value) => query.bind(*value),
            Arg::Text(value) => query.bind(value.as_deref()),
            Arg::Blob(value) => query.bind(*value),
        };
    }
    query
}

fn bind_postgres(sql: &'static str, args: &[Arg<'_>]) -> Query<'static, Postgres, PgArguments> {
    let mut query = sqlx::query(sql);
    for arg in args {
        query = match arg {
            Arg::Int(value) => query.bind(*value),
            Arg::Text(value) => query.bind(value.as_deref()),
            Arg::Blob(value) => query.bind(*value),
        };
    }
    query
}

pub(crate) async fn execute_sqlite<'e>(
    executor: impl Executor<'e, Database = Sqlite>,
    sql: &'static str,
    args: &[Arg<'_>],
) -> Result<u64> {
    let done = bind_sqlite(sql, args).execute(executor).await;
    done.map(|done| done.rows_affected()).map_err(|error| classify(sql, &error))
}

pub(crate) async fn execute_postgres<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    sql: &'static str,
    args: &[Arg<'_>],
) -> Result<u64> {
    let done = bind_postgres(sql, args).execute(executor).await;
    done.map(|done| done.rows_affected()).map_err(|error| classify(sql, &error))
}

pub(crate) async fn rows_sqlite<'e>(
    executor: impl Executor<'e, Database = Sqlite>,
    sql: &'static str,
    args: &[Arg<'_>],
) -> Result<Vec<Row>> {
    let rows =
        bind_sqlite(sql, args).fetch_all(executor).await.map_err(|error| classify(sql, &error))?;
    let columns = names(rows.first().map_or(&[], |row| row.columns()));
    rows.iter().map(|row| copy_sqlite(row, &columns)).collect()
}

pub(crate) async fn rows_postgres<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    sql: &'static str,
    args: &[Arg<'_>],
) -> Result<Vec<Row>> {
    let rows = bind_postgres(sql, args)
        .fetch_all(executor)
        .await
        .map_err(|error| classify(sql, &error))?;
    let columns = names(rows.first().map_or(&[], |row| row.columns()));
    rows.iter().map(|row| copy_postgres(row, &columns)).collect()
}

fn names<C: sqlx::Column>(columns: &[C]) -> Arc<[Box<str>]> {
    columns.iter().map(|column| Box::from(column.name())).collect()
}

fn undecodable(column: &str, wanted: &'static str) -> Error {
    Error::Column { column: column.into(), wanted, found: "something else" }
}

fn copy_sqlite(row: &SqliteRow, columns: &Arc<[Box<str>]>) -> Result<Row> {
    let mut cells = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let raw = row.try_get_raw(index).map_err(|_| undecodable(column, "a value"))?;
        let kind = raw.type_info().name().to_owned();
        cells.push(if raw.is_null() {
            Cell::Null
        } else if kind == "TEXT" {
            let text = <String as Decode<'_, Sqlite>>::decode(raw);
            Cell::Text(text.map_err(|_| undecodable(column, "text"))?)
        } else if kind == "BLOB" {
            let bytes = <Vec<u8> as Decode<'_, Sqlite>>::decode(raw);
            Cell::Blob(bytes.map_err(|_| undecodable(column, "bytes"))?)
        } else if kind == "INTEGER" {
            let number = <i64 as Decode<'_, Sqlite>>::decode(raw);
            Cell::Int(number.map_err(|_| undecodable(column, "an integer"))?)
        } else {
            return Err(undecodable(column, "an integer, text or bytes"));
        });
    }
    Ok(Row { columns: Arc::clone(columns), cells })
}

fn copy_postgres(row: &PgRow, columns: &Arc<[Box<str>]>) -> Result<Row> {
    let mut cells = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let raw = row.try_get_raw(index).map_err(|_| undecodable(column, "a value"))?;
        let kind = raw.type_info().name().to_owned();
        let bad = |_| undecodable(column, "its own type");
        cells.push(match kind.as_str() {
            _ if raw.is_null() => Cell::Null,
            "TEXT" | "VARCHAR" | "NAME" => {
                Cell::Text(<String as Decode<'_, Postgres>>::decode(raw).map_err(bad)?)
            }
            "BYTEA" => Cell::Blob(<Vec<u8> as Decode<'_, Postgres>>::decode(raw).map_err(bad)?),
            "INT8" => Cell::Int(<i64 as Decode<'_, Postgres>>::decode(raw).map_err(bad)?),
            "INT4" => {
                Cell::Int(i64::from(<i32 as Decode<'_, Postgres>>::decode(raw).map_err(bad)?))
            }
            "BOOL" => {
                Cell::Int(i64::from(<bool as Decode<'_, Postgres>>::decode(raw).map_err(bad)?))
            }
            _ => return Err(undecodable(column, "an integer, text or bytes")),
        });
    }
    Ok(Row { columns: Arc::clone(columns), cells })
}
