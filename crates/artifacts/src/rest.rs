//! The first process of the pod through which servers reach volumes. It lasts as long as somebody uses the pod: commands say
//! by a file's time that they are there, when they begin and as often as they say that they are alive.
//!
//! So nobody has to know which servers there are: when servers are replaced by others that want another pod, the one that
//! was theirs ends by itself, and not under a command.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// The file, beside which commands unpack things.
pub const FILE: &str = "/.jetbridge/scratch/.used";
/// Between looks at the file, at most.
const LOOK: Duration = Duration::from_secs(60);

/// Says that a command is there, if anybody wants to know.
pub fn disturb(file: &Path) {
    // Where there is no such file, nothing rests.
    if let Ok(file) = File::options().append(true).open(file) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Returns when no command has been there for `idle`, a second at least.
///
/// # Errors
/// When the file cannot be made or looked at.
pub fn until_idle(file: &Path, idle: Duration) -> io::Result<()> {
    let idle = idle.max(Duration::from_secs(1));
    File::create(file)?;
    let mut rest = Rest { seen: modified(file)?, since: Instant::now() };
    loop {
        std::thread::sleep((idle / 4).min(LOOK));
        if rest.lasts(modified(file)?, Instant::now()) >= idle {
            return Ok(());
        }
    }
}

fn modified(file: &Path) -> io::Result<SystemTime> {
    fs::metadata(file)?.modified()
}

/// How long nobody was there. The file's time is only compared with itself: clocks are set.
struct Rest {
    seen: SystemTime,
    since: Instant,
}

impl Rest {
    fn lasts(&mut self, modified: SystemTime, now: Instant) -> Duration {
        if modified != self.seen {
            *self = Self { seen: modified, since: now };
        }
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn it_lasts_from_the_last_command_on() {
        let (time, now) = (SystemTime::UNIX_EPOCH, Instant::now());
        let second = Duration::from_secs(1);
        let mut rest = Rest { seen: time, since: now };
        assert_eq!(rest.lasts(time, now + second), second);
        // Set back or not, it is another time.
        assert_eq!(rest.lasts(time - second, now + 5 * second), Duration::ZERO);
        assert_eq!(rest.lasts(time - second, now + 7 * second), 2 * second);
    }

    #[test]
    fn a_command_changes_the_time_of_a_file_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("used");
        disturb(&file);
        assert!(!file.exists());
        File::create(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        disturb(&file);
        assert_ne!(modified(&file).unwrap(), SystemTime::UNIX_EPOCH);
    }
}
