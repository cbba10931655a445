//! The way in from outside of the container: a port of its loopback, for whoever has the key.
//!
//! The runner knows a digest of the key only, which may be known to everybody. Who connects says the key, and is answered
//! with one zero byte, after which the connection is like any other; whoever says anything else is shown out.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use jb_runner_protocol::KEY_BYTES;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

/// A digest of a key.
pub(crate) type Lock = [u8; 32];

/// Those who have not said the key yet. One more, and the first of them is shown out.
const CALLERS_MAX: usize = 8;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Door {
    listener: TcpListener,
    lock: Lock,
    callers: Vec<Caller>,
}

struct Caller {
    stream: OwnedFd,
    until: Instant,
    said: Vec<u8>,
}

impl Door {
    pub(super) fn open(port: u16, lock: Lock) -> std::io::Result<Self> {
        let loopback =
            [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()];
        let listener = TcpListener::bind(loopback.as_slice())?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, lock, callers: Vec::new() })
    }

    /// What to wait for: the door itself, and after it each caller.
    pub(super) fn sources(&self) -> impl Iterator<Item = PollFd<'_>> {
        let door = std::iter::once(PollFd::new(&self.listener, PollFlags::IN));
        door.chain(self.callers.iter().map(|caller| PollFd::new(&caller.stream, PollFlags::IN)))
    }

    /// When the first of the callers has taken too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.callers.iter().map(|caller| caller.until).min()
    }

    /// Lets in whoever has said the key by now.
    pub(super) fn answer(&mut self, now: Instant) -> Vec<OwnedFd> {
        for _ in 0..CALLERS_MAX {
            let Ok((stream, _)) = self.listener.accept() else { break };
            if let Some(stream) = ready(stream) {
                let said = Vec::with_capacity(KEY_BYTES);
                self.callers.push(Caller { stream, until: now + PATIENCE, said });
            }
        }
        let (mut let_in, mut waiting) = (Vec::new(), Vec::new());
        for mut caller in self.callers.drain(..) {
            match caller.listen() {
                Heard::Nothing if now < caller.until => waiting.push(caller),
                // Digests are compared, so how long that takes says nothing about the key.
                Heard::Key if Lock::from(Sha256::digest(&caller.said)) == self.lock => {
                    let_in.push(caller.stream);
                }
                Heard::Nothing | Heard::Key | Heard::End => {}
            }
        }
        waiting.drain(..waiting.len().saturating_sub(CALLERS_MAX));
        self.callers = waiting;
        let_in
    }
}

/// What a caller said.
enum Heard {
    /// Less than a key.
    Nothing,
    /// As much as a key.
    Key,
    End,
}

impl Caller {
    /// Reads no further than the end of the key.
    fn listen(&mut self) -> Heard {
        loop {
            let mut rest = [0; KEY_BYTES];
            let rest = &mut rest[self.said.len()..];
            if rest.is_empty() {
                return Heard::Key;
            }
            match rustix::io::read(&self.stream, &mut *rest) {
                Ok(0) => return Heard::End,
                Ok(n) => self.said.extend_from_slice(&rest[..n]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Heard::Nothing,
                Err(_) => return Heard::End,
            }
        }
    }
}

/// Answers are short and waited for, so none is held back for more to come.
fn ready(stream: TcpStream) -> Option<OwnedFd> {
    stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).ok()?;
    Some(stream.into())
}
