//! What the agents of a build said and did: an append-only list of entries beside the build's log, numbered from 0.

use jb_model::BuildId;

use crate::agent_usage::{self, AgentUse};
use crate::events::{
    FAST, Position, StoredEvent, advance, insert_segment, lost_or_missing, pack, unpack_row,
};
use crate::sql::args;
use crate::store::transact;
use crate::{Change, Fence, Result, Store};

/// Rows looked at per query.
const ROWS: i64 = 64;

/// What is stored of an agent's words at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transcribed<'a> {
    /// For the transcript.
    pub entries: &'a [String],
    /// For the build's log.
    pub events: &'a [String],
    /// What it tells of models that were used.
    pub used: &'a [AgentUse<'a>],
}

impl Store {
    /// Appends entries to a build's transcript and events to its log, and counts what was used, in one transaction. Whether anything happens is
    /// decided as by [`Store::append_events`].
    pub async fn append_transcript(
        &self,
        build: BuildId,
        said: Transcribed<'_>,
        fence: Option<Fence>,
        position: Position<'_>,
    ) -> Result<bool> {
        let (entries, events) = (pack(said.entries, FAST)?, pack(said.events, FAST)?);
        transact!(self, async |tx| {
            if !advance(tx, build, &position).await? {
                return Ok(false);
            }
            let row = tx
                .row(
                    "UPDATE build_runs SET next_event = next_event + $2,
                     next_transcript = next_transcript + $3
                     WHERE build_id = $1 AND ($4 IS NULL OR fence = $4)
                     RETURNING next_event, next_transcript",
                    args![build, events.n_events, entries.n_events, fence.map(|fence| fence.0)],
                )
                .await?;
            let Some(row) = row else { return Err(lost_or_missing(build, fence)) };
            let first = row.req_int("next_event")? - events.n_events;
            insert_segment(tx, build, first, &events).await?;
            for used in said.used {
                agent_usage::add(tx, build, used).await?;
            }
            if entries.n_events > 0 {
                let first = row.req_int("next_transcript")? - entries.n_events;
                tx.execute(
                    "INSERT INTO transcript_segments
                     (build_id, first_seq, n_events, n_bytes, codec, body)
                     VALUES ($1, $2, $3, $4, $5, $6)",
                    args![
                        build,
                        first,
                        entries.n_events,
                        entries.n_bytes,
                        entries.codec,
                        entries.body.as_slice()
                    ],
                )
                .await?;
                tx.changed(Change::Build(build));
            }
            Ok(true)
        })
    }

    /// Entries from number `from` on, as many as fit in `max_bytes` and at least one if there is any.
    pub async fn transcript(
        &self,
        build: BuildId,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>> {
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let rows = self.rows(SEGMENTS, args![build, from, ROWS]).await?;
        let mut entries = Vec::new();
        let mut room = max_bytes;
        for row in &rows {
            let first = row.req_int("first_seq")?;
            for (seq, json) in (first..).zip(unpack_row(row)?) {
                if seq < from {
                    continue;
                }
                if json.len() > room && !entries.is_empty() {
                    return Ok(entries);
                }
                room = room.saturating_sub(json.len());
                entries.push(StoredEvent { seq: u64::try_from(seq).unwrap_or_default(), json });
            }
        }
        Ok(entries)
    }
}

/// Rows that hold entries from `$2` on.
const SEGMENTS: &str = "SELECT first_seq, n_bytes, codec, body FROM transcript_segments
    WHERE build_id = $1 AND first_seq >= (
        SELECT coalesce(max(s.first_seq), 0) FROM transcript_segments s
        WHERE s.build_id = $1 AND s.first_seq <= $2)
    AND first_seq + n_events > $2 ORDER BY first_seq LIMIT $3";
