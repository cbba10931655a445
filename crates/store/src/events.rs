//! A build's log: an append-only list of rendered events, numbered from 0.
//!
//! One append is one row holding all its events; when a build has ended, rows are merged into large
//! compressed ones.

use jb_model::BuildId;

use crate::sql::{Row, Tx, args};
use crate::store::transact;
use crate::{Change, Error, Fence, Result, Store};

mod segment;

use segment::unpack;
pub(crate) use segment::{Segment, pack};

/// zstd level of appends, which wait for it, and of compaction, which nobody waits for.
pub(crate) const FAST: i32 = 1;
const SMALL: i32 = 6;
/// Rows of a log looked at per query.
const ROWS: i64 = 256;
/// Compaction merges rows up to about this size before compression.
const MERGED_BYTES: i64 = 1 << 20;

/// How far a source's records are stored, so that each is stored once. A runner's journal is such a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'a> {
    /// Names the source within its build.
    pub key: &'a str,
    /// The append covers the source's records after this one ...
    pub from: u64,
    /// ... up to and including this one.
    pub upto: u64,
}

/// One event as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub seq: u64,
    /// The event's JSON without its number.
    pub json: String,
}

impl Store {
    /// Appends events to a build's log. With a fence, fails when the lease is lost. With a position, appends only
    /// when exactly the records up to `from` are stored; otherwise nothing happens and the result is
    /// `None`: read [`Store::position`] and continue from there. Returns the number of the first event.
    /// What has a position is refused on a disk that is almost full, so that the rest finds room.
    pub async fn append_events(
        &self,
        build: BuildId,
        events: &[String],
        fence: Option<Fence>,
        position: Option<Position<'_>>,
    ) -> Result<Option<u64>> {
        if position.is_some() {
            self.room_for_logs()?;
        }
        let segment = pack(events, FAST)?;
        transact!(self, async |tx| {
            if let Some(position) = &position
                && !advance(tx, build, position).await?
            {
                // Who may not write shall not believe that another write was faster.
                let sql = "SELECT 1 AS held FROM build_runs
                           WHERE build_id = $1 AND ($2 IS NULL OR fence = $2)";
                let held = tx.row(sql, args![build, fence.map(|fence| fence.0)]).await?;
                return held.map(|_| None).ok_or_else(|| lost_or_missing(build, fence));
            }
            let row = tx
                .row(
                    "UPDATE build_runs SET next_event = next_event + $2
                     WHERE build_id = $1 AND ($3 IS NULL OR fence = $3) RETURNING next_event",
                    args![build, segment.n_events, fence.map(|fence| fence.0)],
                )
                .await?;
            let Some(row) = row else { return Err(lost_or_missing(build, fence)) };
            let first = row.req_int("next_event")? - segment.n_events;
            insert_segment(tx, build, first, &segment).await?;
            Ok(Some(u64::try_from(first).unwrap_or_default()))
        })
    }

    /// Up to which record a source's journal is stored; 0 when nothing is.
    pub async fn position(&self, build: BuildId, key: &str) -> Result<u64> {
        let sql = "SELECT upto FROM event_positions WHERE build_id = $1 AND key = $2";
        self.row(sql, args![build, key]).await?.map_or(Ok(0), |row| row.req_u64("upto"))
    }

    /// Events from number `from` on, as many as fit in `max_bytes` and at least one if there is any.
    pub async fn events(
        &self,
        build: BuildId,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>> {
        let mut from = i64::try_from(from).unwrap_or(i64::MAX);
        let mut events = Vec::new();
        let mut room = max_bytes;
        loop {
            let rows = self.rows(HEADS, args![build, from, ROWS]).await?;
            let Some(last) = last_to_read(&rows, room)? else { return Ok(events) };
            let bodies = self.rows(BODIES, args![build, from, last]).await?;
            for row in &bodies {
                let mut seq = row.req_int("first_seq")?;
                for json in unpack_row(row)? {
                    if seq >= from {
                        if json.len() > room && !events.is_empty() {
                            return Ok(events);
                        }
                        room = room.saturating_sub(json.len());
                        let number = u64::try_from(seq).unwrap_or_default();
                        events.push(StoredEvent { seq: number, json });
                    }
                    seq += 1;
                }
                from = from.max(seq);
            }
            if bodies.is_empty() || room == 0 {
                return Ok(events);
            }
        }
    }

    /// How many events a build's log has.
    pub async fn event_count(&self, build: BuildId) -> Result<u64> {
        let sql = "SELECT next_event FROM build_runs WHERE build_id = $1";
        self.row(sql, args![build]).await?.map_or(Ok(0), |row| row.req_u64("next_event"))
    }

    /// Merges the rows of an ended build's log into large compressed ones. Harmless to repeat or interrupt.
    pub async fn compact_events(&self, build: BuildId) -> Result<()> {
        let mut from = 0;
        loop {
            let rows = self.rows(HEADS, args![build, from, ROWS]).await?;
            let Some(group) = group(&rows)? else { break };
            if group.n_rows > 1 {
                let bodies = self.rows(BODIES, args![build, group.first, group.last]).await?;
                self.merge(build, &group, bodies).await?;
            }
            from = group.next;
        }
        transact!(self, async |tx| {
            let sql = "UPDATE builds SET compacted = 1 WHERE id = $1 AND completed = 1";
            tx.execute(sql, args![build]).await.map(drop)
        })
    }

    /// Ended builds whose log is not compacted yet, oldest first.
    pub async fn uncompacted_builds(&self, limit: u32) -> Result<Vec<BuildId>> {
        let sql =
            "SELECT id FROM builds WHERE completed = 1 AND compacted = 0 ORDER BY id LIMIT $1";
        let rows = self.rows(sql, args![limit]).await?;
        rows.iter().map(|row| row.req_int("id").map(BuildId)).collect()
    }
}

/// Rows of a log that hold events from `$2` on.
const HEADS: &str = "SELECT first_seq, n_events, n_bytes FROM event_segments
    WHERE build_id = $1 AND first_seq >= (
        SELECT coalesce(max(s.first_seq), 0) FROM event_segments s
        WHERE s.build_id = $1 AND s.first_seq <= $2)
    AND first_seq + n_events > $2 ORDER BY first_seq LIMIT $3";

/// The same rows up to the one that begins at `$3`, with their bodies.
const BODIES: &str = "SELECT first_seq, n_bytes, codec, body FROM event_segments
    WHERE build_id = $1 AND first_seq >= (
        SELECT coalesce(max(s.first_seq), 0) FROM event_segments s
        WHERE s.build_id = $1 AND s.first_seq <= $2)
    AND first_seq + n_events > $2 AND first_seq <= $3 ORDER BY first_seq";

pub(crate) fn unpack_row(row: &Row) -> Result<Vec<String>> {
    unpack(row.req_int("codec")?, row.req_int("n_bytes")?, row.req_blob("body")?)
}

/// The beginning of the last row that is needed to fill `room`.
fn last_to_read(rows: &[Row], room: usize) -> Result<Option<i64>> {
    let mut last = None;
    let mut bytes = 0_i64;
    for row in rows {
        last = Some(row.req_int("first_seq")?);
        bytes = bytes.saturating_add(row.req_int("n_bytes")?);
        if usize::try_from(bytes).unwrap_or_default() > room {
            break;
        }
    }
    Ok(last)
}

/// Rows to merge into one.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    first: i64,
    last: i64,
    n_rows: usize,
    /// Where the next group begins.
    next: i64,
}

/// The first rows that together have about [`MERGED_BYTES`].
fn group(rows: &[Row]) -> Result<Option<Group>> {
    let mut group: Option<Group> = None;
    let mut bytes = 0_i64;
    for row in rows {
        let first_seq = row.req_int("first_seq")?;
        bytes = bytes.saturating_add(row.req_int("n_bytes")?);
        if group.is_some() && bytes > MERGED_BYTES {
            break;
        }
        let next = first_seq + row.req_int("n_events")?;
        group = Some(match group {
            Some(group) => Group { last: first_seq, n_rows: group.n_rows + 1, next, ..group },
            None => Group { first: first_seq, last: first_seq, n_rows: 1, next },
        });
    }
    Ok(group)
}

impl Store {
    /// Replaces rows by one. When another server was faster there is nothing left to do.
    async fn merge(&self, build: BuildId, group: &Group, bodies: Vec<Row>) -> Result<()> {
        if bodies.len() != group.n_rows {
            return Ok(());
        }
        let packed = tokio::task::spawn_blocking(move || {
            let mut events = Vec::new();
            for row in &bodies {
                events.append(&mut unpack_row(row)?);
            }
            pack(&events, SMALL)
        });
        let segment = packed
            .await
            .map_err(|error| Error::refused(format!("compaction stopped: {error}")))??;
        let wanted = u64::try_from(group.n_rows).unwrap_or_default();
        transact!(self, async |tx| {
            let deleted = tx
                .execute(
                    "DELETE FROM event_segments
                     WHERE build_id = $1 AND first_seq >= $2 AND first_seq <= $3",
                    args![build, group.first, group.last],
                )
                .await?;
            if deleted == 0 {
                // The build, or its log, was deleted meanwhile.
                return Ok(());
            }
            if deleted != wanted {
                // Rolls the deletion back.
                return Err(Error::refused("another server compacts the same log"));
            }
            insert_segment(tx, build, group.first, &segment).await
        })
    }
}

/// Moves a position when it is where the caller thinks.
pub(crate) async fn advance(tx: &mut Tx, build: BuildId, position: &Position<'_>) -> Result<bool> {
    let number = |record: u64| i64::try_from(record).unwrap_or(i64::MAX);
    let (from, upto) = (number(position.from), number(position.upto));
    if upto < from {
        return Err(Error::refused(format!("position `{}` cannot go back", position.key)));
    }
    let moved = tx
        .execute(
            "UPDATE event_positions SET upto = $4 WHERE build_id = $1 AND key = $2 AND upto = $3",
            args![build, position.key, from, upto],
        )
        .await?;
    if moved > 0 || from > 0 {
        return Ok(moved > 0);
    }
    // Nothing for a build that was deleted meanwhile.
    let begun = tx
        .execute(
            "INSERT INTO event_positions (build_id, key, upto)
             SELECT b.id, $2, $3 FROM builds b WHERE b.id = $1
             ON CONFLICT (build_id, key) DO NOTHING",
            args![build, position.key, upto],
        )
        .await?;
    Ok(begun > 0)
}

/// Stores packed events from number `first` on.
pub(crate) async fn insert_segment(
    tx: &mut Tx,
    build: BuildId,
    first: i64,
    segment: &Segment,
) -> Result<()> {
    if segment.n_events == 0 {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO event_segments (build_id, first_seq, n_events, n_bytes, codec, body)
         VALUES ($1, $2, $3, $4, $5, $6)",
        args![
            build,
            first,
            segment.n_events,
            segment.n_bytes,
            segment.codec,
            segment.body.as_slice()
        ],
    )
    .await?;
    tx.changed(Change::Build(build));
    Ok(())
}

pub(crate) fn lost_or_missing(build: BuildId, fence: Option<Fence>) -> Error {
    match fence {
        Some(_) => Error::FenceLost { build: build.0 },
        None => Error::not_found("build", build),
    }
}
