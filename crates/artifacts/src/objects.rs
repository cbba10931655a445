//! What is done where volumes lie in an object store.

mod http;

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use jb_artifacts::command::Command;
use jb_artifacts::exchange::{self, Fetch, Fetched, LINE_BYTES_MAX, Origin, Place, Said, Store};
use jb_artifacts::frames::{FrameReader, FrameWriter};
use jb_artifacts::{Error, Volumes, extract_archive, extract_files, pack_archive};
use serde::de::DeserializeOwned;

use crate::failed;
use http::{Client, Writing};

/// Where volumes are while they are worked on.
const WORK_DIR: &str = "objects";

/// Extracts what stdin says, from where it says.
pub(crate) fn fetch() -> Result<(), Error> {
    let Fetch { volumes, files, trust } = read_line()?;
    let client = Client::new(trust.as_deref()).map_err(failed("use the certificates to trust"))?;
    for Fetched { volume, target, origin } in &files {
        let Origin::Url(url) = origin else {
            let error = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(Error::Io(format!("fetch volume `{volume}`"), error));
        };
        let mut archive = open(&client, volume, url)?;
        let copied = File::create(target).and_then(|mut to| io::copy(&mut archive, &mut to));
        copied.map_err(|error| Error::Io(format!("fetch volume `{volume}`"), error))?;
    }
    for Fetched { volume, target, origin } in &volumes {
        let target = Path::new(target);
        match origin {
            Origin::Image(json) => extract_files(volume, json.as_bytes(), target)?,
            Origin::Url(url) => {
                extract_archive(volume, open(&client, volume, url)?, target, false)?;
            }
        }
    }
    Ok(())
}

fn open<'a>(client: &'a Client, volume: &str, url: &'a str) -> Result<http::Download<'a>, Error> {
    let context = || format!("fetch volume `{volume}`");
    let found = client.get(url).map_err(|error| Error::Io(context(), error))?;
    found.ok_or_else(|| Error::NoVolume(volume.to_owned()))
}

/// Stores the volumes that the first line names, asking for places as it goes.
pub(crate) fn store() -> Result<(), Error> {
    let Store { volumes, trust } = read_line()?;
    let client = Client::new(trust.as_deref()).map_err(failed("use the certificates to trust"))?;
    for (volume, source) in &volumes {
        let mut ask = |wanted: &Said| -> io::Result<Place> {
            say(wanted)?;
            let Said::Want { part: wanted, .. } = wanted else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            loop {
                // A server that began anew repeats what it said before; that is passed over.
                match serde_json::from_slice::<Place>(&next_line()?) {
                    Ok(place) if place.volume == *volume && place.part == *wanted => {
                        return Ok(place);
                    }
                    _ => {}
                }
            }
        };
        let writing = Writing::new(&client, volume, &mut ask);
        let stored = pack_archive(Path::new(source), writing).and_then(Writing::finish);
        let said = stored.and_then(|stored| say(&stored));
        said.map_err(|error| Error::Io(format!("store volume `{volume}`"), error))?;
    }
    Ok(())
}

fn say(said: &Said) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&exchange::line(said))?;
    out.flush()
}

fn read_line<T: DeserializeOwned>() -> Result<T, Error> {
    let line = next_line().map_err(failed("read what to do"))?;
    // What it says is not repeated: addresses are secrets.
    serde_json::from_slice(&line)
        .map_err(|_| failed("understand what to do")(io::ErrorKind::InvalidData.into()))
}

fn next_line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut stdin = io::stdin().lock().take(LINE_BYTES_MAX as u64);
    stdin.read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}

/// Takes an archive in from stdin: into a directory, or as it is into a file.
pub(crate) fn receive(volume: &str, target: &Path, is_file: bool) -> Result<(), Error> {
    let mut archive = FrameReader::new(io::stdin().lock());
    if is_file {
        let copied = File::create(target).and_then(|mut to| io::copy(&mut archive, &mut to));
        copied.map_err(|error| Error::Io(format!("fetch volume `{volume}`"), error))?;
    } else {
        extract_archive(volume, archive, target, false)?;
    }
    // An answer that is whole, though there is nothing in it.
    FrameWriter::new(io::stdout().lock()).finish().map_err(failed("answer"))
}

/// Writes a directory to stdout as a volume's archive.
pub(crate) fn send(source: &Path) -> Result<(), Error> {
    let out = FrameWriter::new(io::stdout().lock());
    let packed = pack_archive(source, out).and_then(FrameWriter::finish);
    packed.map_err(|error| Error::Io(format!("send {}", source.display()), error))
}

/// Does a command with a volume whose archive comes first on stdin, and sends back what it becomes.
pub(crate) fn piped(
    command: &Command,
    scratch: &Path,
    run: impl FnOnce(&Volumes) -> Result<(), Error>,
) -> Result<(), Error> {
    let (Command::Add { volume, .. }
    | Command::Archive { volume, .. }
    | Command::Read { volume, .. }) = command
    else {
        return Err(Error::Io("pipe a command".to_owned(), io::ErrorKind::Unsupported.into()));
    };
    let work = Work::make(scratch)?;
    let volumes = Volumes::new(&work.0, scratch);
    volumes.prepare(None)?;
    volumes.put_archive(volume, &mut FrameReader::new(io::stdin().lock()))?;
    run(&volumes)?;
    if let Command::Add { .. } = command {
        let mut out = FrameWriter::new(io::stdout().lock());
        volumes.write_archive(volume, &mut out)?;
        out.finish().map_err(failed("answer"))?;
    }
    Ok(())
}

/// A directory that goes with this process.
struct Work(std::path::PathBuf);

impl Work {
    fn make(scratch: &Path) -> Result<Self, Error> {
        let path = scratch.join(format!("{WORK_DIR}-{}", std::process::id()));
        // One of a process that was killed may have the name.
        let made = match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => std::fs::create_dir_all(&path),
        };
        made.map_err(|error| Error::Io(format!("make {}", path.display()), error))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // The next process of the number takes what stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
