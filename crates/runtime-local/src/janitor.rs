//! Removes what nobody needs any more, behind the back of those who wait: taking apart a large
//! tree or a network interface takes the kernel long, and nothing depends on it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::netlink::Netlink;

/// Removes a tree with ids of another user namespace.
pub(crate) type Remover = Box<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

enum Job {
    Tree(PathBuf),
    Link(String),
    /// Answered when all jobs before it are done.
    Barrier(Sender<()>),
}

/// A thread that removes things in the order given. What it does not get to is found in the trash
/// at the next start.
pub(crate) struct Janitor(Sender<Job>);

impl Janitor {
    /// `remover` gets the trees that this user may not remove.
    pub(crate) fn start(remover: Option<Remover>) -> io::Result<Self> {
        let (sender, jobs) = channel();
        std::thread::Builder::new()
            .name("local-janitor".into())
            .spawn(move || work(&jobs, remover.as_ref()))?;
        Ok(Self(sender))
    }

    fn give(&self, job: Job) {
        if self.0.send(job).is_err() {
            tracing::warn!("the janitor has ended; what it had to remove waits for a restart");
        }
    }

    pub(crate) fn remove_tree(&self, path: PathBuf) {
        self.give(Job::Tree(path));
    }

    pub(crate) fn remove_link(&self, name: String) {
        self.give(Job::Link(name));
    }

    /// Waits until everything given so far is gone.
    pub(crate) fn finish(&self) {
        let (done, wait) = channel();
        self.give(Job::Barrier(done));
        // An error means that the thread has ended, and there is nothing to wait for.
        wait.recv().ok();
    }
}

fn work(jobs: &Receiver<Job>, remover: Option<&Remover>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Tree(path) => {
                if let Err(error) = remove_tree(&path, remover) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove a directory");
                }
            }
            Job::Link(name) => {
                if let Err(error) = Netlink::open().and_then(|netlink| netlink.delete(&name)) {
                    tracing::warn!(name, %error, "cannot remove a network interface");
                }
            }
            Job::Barrier(done) => {
                done.send(()).ok();
            }
        }
    }
}

fn remove_tree(path: &Path, remover: Option<&Remover>) -> io::Result<()> {
    match (fs::remove_dir_all(path), remover) {
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        (Err(error), Some(remover)) if error.kind() == io::ErrorKind::PermissionDenied => {
            remover(path)
        }
        (result, _) => result,
    }
}
