//! Output copied to the runner's own stdout, where the cluster keeps it for `kubectl logs`.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use jb_runner_protocol::record::{self, OUTPUT_HEADER, RecordKind};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::supervisor::Supervisor;
use crate::journal::Cursor;
use crate::say;

/// Said where output is missing. The log is whole; this is only what `kubectl logs` shows.
const SKIPPED: &[u8] = b"\n[jb-runner: output is left out here, since it was not taken in time]\n";
/// Bytes taken from journals at once.
const PIECE: usize = 256 << 10;

/// A reader of journals like any client: a stdout that takes nothing holds up nobody.
pub(super) struct Echo {
    /// Only this process's output.
    main: Option<String>,
    cursors: BTreeMap<String, Cursor>,
    pending: Vec<u8>,
    written: usize,
}

impl Echo {
    pub(super) fn new(main: Option<String>) -> Self {
        let stdout = rustix::stdio::stdout();
        let kind = rustix::fs::fstat(stdout).map(|file| FileType::from_raw_mode(file.st_mode));
        // Of a terminal the mode would also change for whoever shares it.
        if matches!(kind, Ok(FileType::Fifo | FileType::Socket))
            && let Err(error) = rustix::io::ioctl_fionbio(stdout, true)
        {
            say(&format!("write to stdout without waiting: {error}"));
        }
        Self { main, cursors: BTreeMap::new(), pending: Vec::new(), written: 0 }
    }

    /// Stdout, when something waits to be written to it.
    pub(super) fn writable(&self) -> Option<BorrowedFd<'_>> {
        (self.written < self.pending.len()).then(rustix::stdio::stdout)
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = (&str, u64)> {
        self.cursors.iter().map(|(id, cursor)| (id.as_str(), cursor.seq()))
    }

    /// Everything that finished processes wrote is out.
    pub(super) fn is_done(&self, supervisor: &Supervisor) -> bool {
        self.writable().is_none()
            && self.ids(supervisor).iter().all(|id| {
                let process = supervisor.process(id);
                let cursor = self.cursors.get(id);
                process.is_none_or(|process| {
                    cursor.is_some_and(|cursor| cursor.at_end(&process.journal))
                })
            })
    }

    fn ids(&self, supervisor: &Supervisor) -> Vec<String> {
        match &self.main {
            Some(main) => vec![main.clone()],
            None => supervisor.ids().cloned().collect(),
        }
    }

    /// Writes what stdout takes. False when it is closed: nobody will ever read there.
    pub(super) fn pump(&mut self, supervisor: &Supervisor) -> bool {
        loop {
            if self.written == self.pending.len() {
                self.pending.clear();
                self.written = 0;
                self.fill(supervisor);
                if self.pending.is_empty() {
                    return true;
                }
            }
            match rustix::io::write(rustix::stdio::stdout(), &self.pending[self.written..]) {
                Ok(n) => self.written += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(error) => {
                    say(&format!("copy output to stdout: {error}"));
                    return false;
                }
            }
        }
    }

    fn fill(&mut self, supervisor: &Supervisor) {
        self.cursors.retain(|id, _| supervisor.process(id).is_some());
        for id in self.ids(supervisor) {
            let Some(process) = supervisor.process(&id) else { continue };
            let journal = &process.journal;
            let cursor = self.cursors.entry(id).or_insert_with(|| Cursor::new(journal, 0));
            if cursor.is_behind(journal) {
                self.pending.extend_from_slice(SKIPPED);
                *cursor = Cursor::new(journal, 0);
            }
            let mut records = Vec::new();
            if let Err(error) = cursor.read(journal, 0, PIECE, &mut records) {
                say(&format!("copy output to stdout: {error}"));
            }
            let mut rest = records.as_slice();
            while let Ok(Some(record)) = record::parse(rest) {
                let (this, others) = rest.split_at(record.length);
                if matches!(record.kind, RecordKind::Output(_)) {
                    self.pending.extend_from_slice(&this[OUTPUT_HEADER..]);
                }
                rest = others;
            }
        }
    }
}
