//! SQLite on a disk that is full: writes are refused, and nothing that was written is lost.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use jb_model::BuildId;
use jb_store::events::Position;
use jb_store::{Error, Store};

use crate::engines::{block_on, open};
use crate::world::world;

/// A small file system of its own, removed at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    /// None where only root could mount one.
    fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can mount a file system to fill");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "jetbridge-it"])
            .arg(directory.path())
            .status();
        assert!(mounted.unwrap().success());
        Some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("everything");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        assert!(unmounted.unwrap().success() || std::thread::panicking());
    }
}

/// A megabyte that does not get smaller.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    (0..1 << 16).map(|_| word()).collect()
}

async fn append(store: &Store, build: BuildId, n: u64) -> Result<Option<u64>, Error> {
    store.append_events(build, &[noise(n)], None, None).await
}

#[test]
fn what_was_written_before_the_disk_was_full_stays_and_writing_goes_on_after() {
    let Some(disk) = Disk::mount() else { return };
    let url = format!("sqlite:{}", disk.path().join("store.db").display());
    block_on(async {
        let made = world(open(&url).await).await;
        let store = &made.store;
        let build = made.one_off().await;
        let everything = disk.fill();

        // Logs leave the reserve to the rest, which finds room in it for long.
        let position = Position { key: "task", from: 0, upto: 1 };
        let log = store.append_events(build, &[noise(0)], None, Some(position)).await;
        let Err(Error::NoRoomForLogs { path }) = log else { panic!("{log:?}") };
        assert!(path.ends_with("store.db"));
        assert_eq!(append(store, build, 0).await.unwrap(), Some(0));
        let mut written = 1;
        let refused = loop {
            match append(store, build, written).await {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::Full { .. }), "{refused:?}");
        assert!(refused.to_string().contains("free some space on its disk"), "{refused}");
        // Reading goes on, and so does refusing.
        store.ping().await.unwrap();
        let again = append(store, build, written).await;
        assert!(matches!(again, Err(Error::Full { .. })), "{again:?}");

        std::fs::remove_file(everything).unwrap();
        assert_eq!(append(store, build, written).await.unwrap(), Some(written));
        written += 1;
        store.close().await;

        let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
        let check: String =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&pool).await.unwrap();
        assert_eq!(check, "ok");
        pool.close().await;
        let store = open(&url).await;
        for n in 0..written {
            let events = store.events(build, n, 1).await.unwrap();
            assert!(events[0].json == noise(n), "event {n} is not what was written");
        }
        store.close().await;
    });
}
