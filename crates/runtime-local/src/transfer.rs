//! Archives in and out of volumes: blocking work on one end of a pipe, async on the other.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use jb_archive::merged::{MergedDir, Node};
use jb_archive::unpack::{self, Bounds};

/// Entries one archive may have.
const MAX_ENTRIES: u64 = 10_000_000;

fn pipe() -> io::Result<(std::io::PipeReader, std::io::PipeWriter)> {
    std::io::pipe()
}

/// Extracts an archive into the directory `path` of a volume's content directory.
pub(crate) async fn stream_in(
    content: std::path::PathBuf,
    path: String,
    mut tar: jb_runtime::ByteStream,
    max_bytes: u64,
) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    let extract = tokio::task::spawn_blocking(move || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&content, flags, Mode::empty())?;
        let target = make_directories(&root, Path::new(&path))?;
        let bounds = Bounds { entries: MAX_ENTRIES, bytes: max_bytes };
        let mut reader = reader;
        unpack::unpack(&mut reader, &target, bounds, crate::privilege::is_root())?;
        // An archive may be followed by padding, which its sender must be able to get rid of.
        io::copy(&mut reader, &mut io::sink()).map(drop)
    });
    let fd: OwnedFd = writer.into();
    rustix::io::ioctl_fionbio(&fd, true)?;
    let mut writer = pipe::Sender::from_owned_fd(fd)?;
    let copied = tokio::io::copy(&mut tar, &mut writer).await;
    drop(writer);
    let extracted = extract.await.map_err(io::Error::other)?;
    match (copied, extracted) {
        // The archive was refused midway; that its rest could not be written is a consequence.
        (Err(copy), Err(extract)) if copy.kind() == io::ErrorKind::BrokenPipe => Err(extract),
        (Err(copy), _) => Err(copy),
        (Ok(_), extracted) => extracted,
    }
}

fn make_directories(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let names = jb_archive::merged::components(path)?;
    let mut walked = std::path::PathBuf::new();
    let mut current = root.try_clone()?;
    for name in names {
        walked.push(&name);
        match rustix::fs::mkdirat(&current, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        current = unpack::open_directory(root, &walked)?;
    }
    Ok(current)
}

/// Packs what was found in a volume; `keep` lives until the archive is read or dropped.
pub(crate) fn stream_out<K: Send + 'static>(
    node: Node,
    keep: K,
) -> io::Result<jb_runtime::ByteStream> {
    let (reader, writer) = pipe()?;
    let pack = tokio::task::spawn_blocking(move || {
        let result =
            jb_archive::pack::pack(&node, std::io::BufWriter::with_capacity(1 << 16, writer));
        drop(keep);
        result
    });
    let fd: OwnedFd = reader.into();
    rustix::io::ioctl_fionbio(&fd, true)?;
    let reader = pipe::Receiver::from_owned_fd(fd)?;
    Ok(Box::new(Packed { reader, pack: Some(pack) }))
}

/// An archive in the making, which ends with an error rather than too early.
struct Packed {
    reader: pipe::Receiver,
    pack: Option<JoinHandle<io::Result<()>>>,
}

impl AsyncRead for Packed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        if buffer.filled().len() > before || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(pack) = self.pack.as_mut() else { return Poll::Ready(Ok(())) };
        let result = ready!(Pin::new(pack).poll(context));
        self.pack = None;
        Poll::Ready(result.map_err(io::Error::other)?)
    }
}

/// Copies a volume's merged content into an empty directory.
pub(crate) fn flatten(from: MergedDir, to: &Path) -> io::Result<()> {
    let (reader, writer) = pipe()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::open(to, flags, Mode::empty())?;
    let bounds = Bounds { entries: u64::MAX, bytes: u64::MAX };
    std::thread::scope(|scope| {
        let pack = scope.spawn(move || {
            let out = std::io::BufWriter::with_capacity(1 << 16, writer);
            jb_archive::pack::pack(&Node::Directory(from), out)
        });
        let unpacked = unpack::unpack(reader, &target, bounds, crate::privilege::is_root());
        let packed =
            pack.join().unwrap_or_else(|_| Err(io::Error::other("copying a volume panicked")));
        unpacked.and(packed)
    })
}
