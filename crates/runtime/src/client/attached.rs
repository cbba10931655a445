//! Following one process's journal.

use std::sync::Arc;

use jb_model::Timestamp;
use jb_model::event::LogSource;
use jb_runner_protocol::{Reply, Request, record};
use tokio::sync::mpsc;

use super::{Connection, State, WINDOW, lock, unexpected};
use crate::{Error, Result};

/// Bytes that are taken before the runner is told what it may delete. Far less than it keeps for those who do not say.
const ACKNOWLEDGE_BYTES: u64 = 1 << 20;

/// One record of a process's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Data {
        /// Counts from 0 without gaps.
        seq: u64,
        /// When the runner read it.
        time: Timestamp,
        stream: LogSource,
        /// Raw, cut anywhere, 1 byte to 64 KiB.
        bytes: Vec<u8>,
    },
    /// The last record.
    Exited {
        seq: u64,
        time: Timestamp,
        /// 128 + signal when a signal ended the process.
        status: i32,
        signal: Option<i32>,
        /// Memory ran out in the container while the process ran, and that killed it.
        oom: bool,
    },
}

impl Output {
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Data { seq, .. } | Self::Exited { seq, .. } => *seq,
        }
    }

    /// What it takes in the runner's journal, in bytes.
    pub fn wire_len(&self) -> u32 {
        let length = match self {
            Self::Data { bytes, .. } => record::OUTPUT_HEADER + bytes.len(),
            Self::Exited { .. } => record::EXIT_LENGTH,
        };
        u32::try_from(length).unwrap_or(WINDOW)
    }
}

/// A process's journal as it grows. Dropping it detaches; the process goes on either way.
pub struct Attached {
    connection: Arc<Connection>,
    attachment: u32,
    first_seq: u64,
    records: mpsc::Receiver<Output>,
    /// Bytes taken that the runner was not granted again.
    taken: u32,
    id: String,
    /// Bytes taken since the last acknowledgement.
    unacknowledged: u64,
}

impl Attached {
    pub(super) async fn new(connection: Arc<Connection>, id: &str, from_seq: u64) -> Result<Self> {
        // No more records than fit in the window can be on their way, so this is never full.
        let (sender, records) = mpsc::channel(WINDOW as usize / record::OUTPUT_HEADER + 1);
        let attachment = {
            let mut state = lock(&connection.state);
            let attachment = state.next_number();
            state.attachments.insert(attachment, sender);
            attachment
        };
        // Made first, so that its drop cleans up when this future is dropped half-way.
        let mut attached = Self {
            connection,
            attachment,
            first_seq: from_seq,
            records,
            taken: 0,
            id: id.to_owned(),
            unacknowledged: 0,
        };
        let id = id.to_owned();
        let attach = |token| Request::Attach { token, attachment, id, from_seq, window: WINDOW };
        match attached.connection.call(attach).await? {
            Reply::Attached { first_seq, .. } => attached.first_seq = first_seq,
            Reply::Failed { message, .. } => return Err(Error::Protocol(message)),
            other => return Err(unexpected(&other)),
        }
        Ok(attached)
    }

    /// The first number that will come: later than asked for when earlier ones were acknowledged.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// The next record. `None` after the exit, or when the connection was lost: then attach again,
    /// from the number after the last. Dropping this future loses nothing.
    pub async fn next(&mut self) -> Option<Output> {
        // Granted before waiting, since a record taken and then dropped would be lost.
        if self.taken >= WINDOW / 2 {
            let grant = Request::Grant { attachment: self.attachment, bytes: self.taken };
            if self.connection.send(&grant).await.is_ok() {
                self.taken = 0;
            }
        }
        let output = self.records.recv().await?;
        self.count(&output);
        Some(output)
    }

    /// A record that is there already, for taking many at once. Flow goes on with [`Attached::next`].
    pub fn try_next(&mut self) -> Option<Output> {
        let output = self.records.try_recv().ok()?;
        self.count(&output);
        Some(output)
    }

    fn count(&mut self, output: &Output) {
        self.taken = self.taken.saturating_add(output.wire_len());
        self.unacknowledged += u64::from(output.wire_len());
    }

    /// Says that all records before `seq` are done with: once in a while the runner is told to delete them, without
    /// which a process that says much has to wait. It is not told when the connection is lost; say it again then.
    pub async fn done_before(&mut self, seq: u64) {
        if self.unacknowledged < ACKNOWLEDGE_BYTES {
            return;
        }
        self.acknowledge_before(seq).await;
    }

    /// As [`Self::done_before`], at once: for what was done with over an earlier connection, which may have taken the
    /// word with it.
    pub async fn acknowledge_before(&mut self, seq: u64) {
        let Some(seq) = seq.checked_sub(1) else { return };
        self.unacknowledged = 0;
        // Of a lost connection its reader learns.
        let _ = self.connection.send(&Request::Ack { id: self.id.clone(), seq }).await;
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut state = lock(&self.connection.state);
        let ended = state.attachments.remove(&self.attachment).is_none() || state.lost.is_some();
        drop(state);
        if ended {
            return;
        }
        let mut frame = Vec::new();
        Request::Detach { attachment: self.attachment }.encode(&mut frame);
        if let Err(mpsc::error::TrySendError::Full(frame)) =
            self.connection.outgoing.try_send(frame)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let outgoing = self.connection.outgoing.clone();
            runtime.spawn(async move { outgoing.send(frame).await });
        }
    }
}

/// Gives a record to its reader. Records for one that just detached are dropped.
pub(super) fn deliver(state: &State, attachment: u32, output: Output) -> Result<(), String> {
    let Some(reader) = state.attachments.get(&attachment) else { return Ok(()) };
    match reader.try_send(output) {
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        Err(mpsc::error::TrySendError::Full(_)) => {
            Err("the runner sent more output than it was granted".to_owned())
        }
    }
}
