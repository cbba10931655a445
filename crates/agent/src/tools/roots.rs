//! The directories that file tools work in.
//!
//! They are opened once, before the model says anything. Every path is resolved by the kernel beneath one of them, so
//! that neither `..` nor a link, whoever made it and whenever, leads outside.

use std::io;
use std::os::fd::OwnedFd;

use jb_agent_protocol::{LoopSpec, Root};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::Refusal;

pub(super) struct Roots {
    working_dir: String,
    /// Longest path first, so that the innermost is found.
    roots: Vec<Opened>,
}

struct Opened {
    root: Root,
    dir: OwnedFd,
}

/// A path beneath one of the roots.
pub(super) struct Place<'a> {
    pub(super) dir: &'a OwnedFd,
    /// Relative to it; `.` for itself.
    pub(super) rest: String,
    /// As the model knows it.
    pub(super) shown: String,
    writable: bool,
    /// Whether strangers may have written what is there.
    pub(super) untrusted: bool,
}

impl Roots {
    pub(super) fn open(working_dir: &str, roots: &[Root]) -> Result<Self, String> {
        let mut opened = Vec::new();
        for root in roots {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::openat(CWD, root.path.as_str(), flags, Mode::empty())
                .map_err(|error| format!("open {}: {error}", root.path))?;
            opened.push(Opened { root: root.clone(), dir });
        }
        opened.sort_by_key(|opened| std::cmp::Reverse(opened.root.path.len()));
        let working_dir = working_dir.trim_end_matches('/').to_owned();
        Ok(Self { working_dir, roots: opened })
    }

    /// Finds the root that a path of the model's lies in.
    pub(super) fn place(&self, path: &str) -> Result<Place<'_>, Refusal> {
        if path.contains('\0') {
            return Err(Refusal::failed("a path has no NUL"));
        }
        let absolute = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{path}", self.working_dir)
        };
        let mut parts = Vec::new();
        for part in absolute.split('/') {
            match part {
                "" | "." => {}
                // By its name alone it cannot be known where it leads.
                ".." => return Err(Refusal::Denied(format!("`{path}`: paths have no `..`"))),
                part => parts.push(part),
            }
        }
        let absolute = format!("/{}", parts.join("/"));
        for opened in &self.roots {
            let root = opened.root.path.trim_end_matches('/');
            let Some(rest) = absolute.strip_prefix(root) else { continue };
            if !rest.is_empty() && !rest.starts_with('/') {
                continue;
            }
            let rest = rest.trim_start_matches('/');
            let within = opened.root.untrusted.as_deref();
            return Ok(Place {
                dir: &opened.dir,
                untrusted: within.is_some_and(|within| rest.split('/').next() == Some(within)),
                rest: if rest.is_empty() { ".".to_owned() } else { rest.to_owned() },
                shown: self.shown(&absolute),
                writable: opened.root.writable,
            });
        }
        Err(Refusal::Denied(format!(
            "`{path}` lies in no input or output of this step; there are: {}",
            self.names().join(", ")
        )))
    }

    /// All roots, outermost names first.
    pub(super) fn all(&self) -> Vec<Place<'_>> {
        let mut places: Vec<Place<'_>> = self
            .roots
            .iter()
            .map(|opened| Place {
                dir: &opened.dir,
                rest: ".".to_owned(),
                shown: self.shown(&opened.root.path),
                writable: opened.root.writable,
                untrusted: false,
            })
            .collect();
        places.sort_by(|a, b| a.shown.cmp(&b.shown));
        places
    }

    /// The roots as the model is told of them; the working directory itself has nothing else in it.
    pub(super) fn names(&self) -> Vec<String> {
        self.all().into_iter().map(|place| place.shown).collect()
    }

    /// Whether a path is the working directory's.
    pub(super) fn is_working_dir(&self, path: &str) -> bool {
        matches!(path.trim_end_matches('/'), "" | ".") && !path.starts_with('/')
            || path.trim_end_matches('/') == self.working_dir
    }

    fn shown(&self, absolute: &str) -> String {
        let inside =
            absolute.strip_prefix(&self.working_dir).and_then(|rest| rest.strip_prefix('/'));
        inside.unwrap_or(absolute).to_owned()
    }
}

impl Place<'_> {
    /// Opens it, following links only where they stay beneath the root.
    pub(super) fn open(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Refusal> {
        self.open_at(&self.rest, flags, mode)
    }

    pub(super) fn open_at(
        &self,
        rest: &str,
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, Refusal> {
        // A pipe must not wait for its other end. The kernel wants neither flag with a mere path.
        let calm = if flags.contains(OFlags::PATH) {
            OFlags::empty()
        } else {
            OFlags::NONBLOCK | OFlags::NOCTTY
        };
        let flags = flags | calm | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(self.dir, rest, flags, mode, resolve).map_err(|error| {
            if error == rustix::io::Errno::XDEV {
                return Refusal::Denied(format!(
                    "`{}` leads out of the step's inputs and outputs",
                    self.shown
                ));
            }
            Refusal::failed(format!("{}: {}", self.shown, io::Error::from(error)))
        })
    }

    pub(super) fn check_writable(&self) -> Result<(), Refusal> {
        if self.writable {
            return Ok(());
        }
        let what = format!("`{}` lies in an input; only outputs are written", self.shown);
        Err(Refusal::Denied(what))
    }
}

/// The directories of a step whose files an agent could have written.
pub(super) fn is_within(path: &str, spec: &LoopSpec) -> bool {
    let mut dirs =
        spec.roots.iter().map(|root| root.path.as_str()).chain([spec.working_dir.as_str()]);
    dirs.any(|dir| {
        let dir = dir.trim_end_matches('/');
        path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}
