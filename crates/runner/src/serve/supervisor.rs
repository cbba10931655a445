//! The processes and what can be asked of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jb_runner_protocol::record::MAX_RECORD;
use jb_runner_protocol::{FailureKind, ProcessInfo, ProcessSpec};

use crate::args::Options;
use crate::journal::{self, Journal};
use crate::oom::OomCounter;
use crate::process::{Process, SpawnError, Waiter};
use crate::{say, sys};

/// Processes known at the same time, ended ones that were not forgotten included.
const MAX_PROCESSES: usize = 10_000;
/// After SIGKILL, what still runs cannot be ended by anyone.
const KILLED: Duration = Duration::from_secs(5);

/// Why a request cannot be done.
pub(super) type Failure = (FailureKind, String);

pub(super) struct Supervisor {
    dir: PathBuf,
    /// See [`Options::journal_limit`].
    journal_limit: u64,
    processes: BTreeMap<String, Process>,
    main: Option<String>,
    main_ended: Option<Instant>,
    oom: OomCounter,
    shutdown: Option<Shutdown>,
    /// Something was acknowledged or let go of: there may be segments to delete.
    acknowledged: bool,
}

enum Shutdown {
    /// Processes were asked to end.
    Asked {
        until: Instant,
    },
    Killed {
        until: Instant,
    },
    GivenUp,
}

impl Supervisor {
    /// Takes up the journals of a former runner.
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let dir = options.journal.clone();
        let failed = |error| format!("use the journal directory {}: {error}", dir.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed)?;
        let mut processes = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(id) = entry.file_name().to_str().and_then(journal::process_id) else {
                continue;
            };
            match Journal::open(entry.path()).and_then(Process::recovered) {
                Ok(process) => drop(processes.insert(id, process)),
                Err(error) => say(&format!("process `{id}` of a former runner: {error}")),
            }
        }
        let main_ended = options.main.as_ref().is_some_and(|main| processes.contains_key(main));
        Ok(Self {
            main_ended: main_ended.then(Instant::now),
            main: options.main.clone(),
            dir,
            journal_limit: options.journal_limit,
            processes,
            oom: OomCounter::find(),
            shutdown: None,
            acknowledged: false,
        })
    }

    pub(super) fn process(&self, id: &str) -> Option<&Process> {
        self.processes.get(id)
    }

    pub(super) fn process_mut(&mut self, id: &str) -> Option<&mut Process> {
        self.processes.get_mut(id)
    }

    pub(super) fn known(&mut self, id: &str) -> Result<&mut Process, Failure> {
        let missing = || (FailureKind::NoProcess, format!("process `{id}` does not exist"));
        self.processes.get_mut(id).ok_or_else(missing)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        self.processes.keys()
    }

    /// The processes whose exit is not in their journals yet.
    pub(super) fn running(&self) -> Vec<String> {
        let running = self.processes.iter().filter(|(_, process)| !process.finished());
        running.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn any_running(&self) -> bool {
        let given_up = matches!(self.shutdown, Some(Shutdown::GivenUp));
        !given_up && self.processes.values().any(|process| !process.finished())
    }

    /// Its number in the container (0 when it ended) and whether it was there before.
    pub(super) fn start(&mut self, id: &str, spec: ProcessSpec) -> Result<(u32, bool), Failure> {
        let other = |message: String| (FailureKind::Other, message);
        let number = |process: &Process| process.pid().map_or(0, i32::cast_unsigned);
        if let Some(process) = self.processes.get(id) {
            return Ok((number(process), true));
        }
        if self.shutdown.is_some() {
            return Err(other("the runner is shutting down".to_owned()));
        }
        if self.processes.len() >= MAX_PROCESSES {
            return Err(other(format!(
                "the runner knows {MAX_PROCESSES} processes: forget some that ended"
            )));
        }
        let name = journal::directory_name(id)
            .ok_or_else(|| other(format!("the process id `{id}` is too long")))?;
        let journal = Journal::create(self.dir.join(name))
            .map_err(|error| other(format!("create the journal of process `{id}`: {error}")))?;
        match Process::start(spec, journal, self.oom.kills()) {
            Ok(mut process) => {
                process.write_input();
                let pid = number(&process);
                self.processes.insert(id.to_owned(), process);
                Ok((pid, false))
            }
            Err((journal, error)) => {
                if let Err(error) = journal.remove() {
                    say(&format!("remove the journal of process `{id}`: {error}"));
                }
                Err(match error {
                    SpawnError::NotFound(message) => (FailureKind::ExecutableNotFound, message),
                    SpawnError::Other(message) => other(message),
                })
            }
        }
    }

    pub(super) fn acknowledge(&mut self, id: &str, seq: u64) {
        let Some(process) = self.processes.get_mut(id) else { return };
        let seq = seq.saturating_add(1).min(process.journal.next_seq());
        if seq > process.unacknowledged {
            process.unacknowledged = seq;
            self.acknowledged = true;
        }
    }

    pub(super) fn forget(&mut self, id: &str) -> Result<(), Failure> {
        if !self.known(id)?.finished() {
            return Err((FailureKind::Other, format!("process `{id}` is still running")));
        }
        if let Some(process) = self.processes.remove(id) {
            let failed = |error| format!("remove the journal of process `{id}`: {error}");
            process.journal.remove().map_err(|error| (FailureKind::Other, failed(error)))?;
        }
        Ok(())
    }

    pub(super) fn list(&self) -> Vec<ProcessInfo> {
        self.processes.iter().map(|(id, process)| process.info(id)).collect()
    }

    /// A child ended; most that are not known are orphans that came to process 1.
    pub(super) fn reaped(&mut self, pid: i32, how: (i32, i32), scratch: &mut [u8; MAX_RECORD]) {
        let kills = self.oom.kills();
        let process = self.processes.values_mut().find(|process| process.pid() == Some(pid));
        if let Some(process) = process {
            process.end(how, kills, scratch);
        }
    }

    /// Asks every process to end, and later makes it. A second call can only shorten the wait.
    pub(super) fn shut_down(&mut self, grace: Duration) {
        let until = Instant::now() + grace;
        match &mut self.shutdown {
            Some(Shutdown::Asked { until: earlier }) => *earlier = (*earlier).min(until),
            Some(_) => {}
            None => {
                self.shutdown = Some(Shutdown::Asked { until });
                self.signal_all(libc::SIGTERM);
            }
        }
    }

    fn signal_all(&self, signal: i32) {
        for (id, process) in &self.processes {
            if let Err(error) = process.signal(signal, true) {
                say(&format!("signal process `{id}`: {error}"));
            }
        }
    }

    /// Does what is due.
    pub(super) fn advance(&mut self, now: Instant, scratch: &mut [u8; MAX_RECORD]) {
        for process in self.processes.values_mut().filter(|process| !process.finished()) {
            process.advance(scratch);
        }
        let main = self.main.as_ref().and_then(|main| self.processes.get(main));
        if self.main_ended.is_none() && main.is_some_and(Process::finished) {
            self.main_ended = Some(now);
        }
        match self.shutdown {
            Some(Shutdown::Asked { until }) if now >= until => {
                self.signal_all(libc::SIGKILL);
                if rustix::process::getpid() == rustix::process::Pid::INIT {
                    // All but process 1 itself. There may be none.
                    let _ = sys::kill(-1, libc::SIGKILL);
                }
                self.shutdown = Some(Shutdown::Killed { until: now + KILLED });
            }
            Some(Shutdown::Killed { until }) if now >= until => {
                self.shutdown = Some(Shutdown::GivenUp);
            }
            _ => {}
        }
    }

    /// When [`Self::advance`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let shutdown = match self.shutdown {
            Some(Shutdown::Asked { until } | Shutdown::Killed { until }) => Some(until),
            Some(Shutdown::GivenUp) | None => None,
        };
        let unfinished = self.processes.values().filter(|process| !process.finished());
        unfinished.filter_map(Process::deadline).chain(shutdown).min()
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    /// Those whose process has room for more input.
    pub(super) fn take_relieved(&mut self) -> Vec<Waiter> {
        self.processes.values_mut().flat_map(|process| process.relieved.drain(..)).collect()
    }

    pub(super) fn take_acknowledged(&mut self) -> bool {
        std::mem::take(&mut self.acknowledged)
    }

    /// A reader went on or away: what it kept from being deleted may go now.
    pub(super) fn note_progress(&mut self) {
        self.acknowledged = true;
    }

    /// Deletes what was acknowledged and no reader wants any more. Once a journal has half of what it
    /// may have, readers that are slow or gone lose their places: the process shall not wait for them.
    pub(super) fn delete_acknowledged(&mut self, readers: &[(&str, u64)]) {
        for (id, process) in &mut self.processes {
            let of_this = readers.iter().filter(|(reader, _)| reader == id);
            let read = of_this.map(|(_, seq)| *seq).min().unwrap_or(u64::MAX);
            let acknowledged = process.unacknowledged;
            let mut deleted = process.journal.delete_before(read.min(acknowledged));
            if deleted.is_ok() && process.journal.size() > self.journal_limit / 2 {
                deleted = process.journal.delete_before(acknowledged);
            }
            if let Err(error) = deleted {
                say(&format!("delete acknowledged output of process `{id}`: {error}"));
            }
        }
    }

    pub(super) fn main_ended_at(&self) -> Option<Instant> {
        self.main_ended
    }

    pub(super) fn main_acknowledged(&self) -> bool {
        let main = self.main.as_ref().and_then(|main| self.processes.get(main));
        // One that was forgotten was acknowledged in the strongest way.
        main.is_none_or(Process::fully_acknowledged)
    }

    /// What the runner's own exit shall say.
    pub(super) fn main_status(&self) -> Option<u8> {
        let main = self.processes.get(self.main.as_ref()?)?;
        let status = main.journal.exit()?.status;
        Some(u8::try_from(status).unwrap_or(u8::MAX))
    }
}
