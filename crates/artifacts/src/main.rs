//! `jb-artifacts`: fills and reads volumes where their directory is mounted.

use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use jb_artifacts::command::{ARTIFACTS_DIR, CACHES_DIR, Command, NO_VOLUME, SCRATCH_DIR};
use jb_artifacts::frames::{FrameReader, FrameWriter};
use jb_artifacts::{Caches, Error, Kind, Volumes, alive, rest};

mod objects;

/// The largest JSON that [`Command::PutImage`] takes.
const IMAGE_BYTES_MAX: u64 = 4 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (every, arguments) = alive::split(&arguments);
    if let Some(every) = every {
        alive::say(every);
    }
    let command = match Command::parse(arguments) {
        Ok(command) => command,
        Err(usage) => {
            say(&usage);
            return ExitCode::from(2);
        }
    };
    rest::disturb(Path::new(rest::FILE));
    match run(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            match error {
                Error::NoVolume(_) => ExitCode::from(NO_VOLUME),
                Error::Io(..) => ExitCode::FAILURE,
            }
        }
    }
}

/// One line on stderr. There is nobody to tell when that fails.
fn say(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Io(what.to_owned(), error)
}

fn run(command: &Command) -> Result<(), Error> {
    // Files are for their group: the containers of a pod need not have the same user.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o007));
    let scratch = Path::new(SCRATCH_DIR);
    let volumes = Volumes::new(Path::new(ARTIFACTS_DIR), scratch);
    if let Command::Piped(command) = command {
        return objects::piped(command, scratch, |volumes| run_with(command, volumes));
    }
    run_with(command, &volumes)
}

fn run_with(command: &Command, volumes: &Volumes) -> Result<(), Error> {
    let caches = Caches::new(Path::new(CACHES_DIR));
    match command {
        Command::Rest { seconds } => {
            rest::until_idle(Path::new(rest::FILE), Duration::from_secs(*seconds))
                .map_err(failed("see whether commands are run"))
        }
        Command::Install { target, directory } => {
            let directory = directory.as_ref().map(|(from, to)| (from.as_str(), to.as_str()));
            install(Path::new(target), directory).map_err(failed("install the programs"))
        }
        Command::Prepare { group } => volumes.prepare(Some(*group)),
        Command::Extract { volumes: wanted, owners, image, made } => {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
            made.iter()
                .try_for_each(std::fs::create_dir_all)
                .map_err(failed("make a directory"))?;
            if let Some((volume, file)) = image {
                volumes.copy_archive(volume, Path::new(file))?;
            }
            let mut wanted = wanted.iter();
            wanted.try_for_each(|(volume, dir)| volumes.extract(volume, Path::new(dir), *owners))
        }
        Command::Boot { archive, owners, command } => {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
            jb_artifacts::extract_root(Path::new(archive), Path::new("/"), *owners)?;
            let Some((program, arguments)) = command.split_first() else { return Ok(()) };
            let error = std::process::Command::new(program).args(arguments).exec();
            Err(Error::Io(format!("start {program}"), error))
        }
        Command::Fetch => {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
            objects::fetch()
        }
        Command::Receive { volume, target, is_file } => {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
            objects::receive(volume, Path::new(target), *is_file)
        }
        Command::Store => objects::store(),
        Command::Send { source } => objects::send(Path::new(source)),
        Command::Publish { volumes: made } => {
            made.iter().try_for_each(|(volume, dir)| volumes.publish(volume, Path::new(dir)))
        }
        Command::Create { volume } => volumes.create(volume),
        Command::Add { volume, path, limit } => {
            volumes.add(volume, path, FrameReader::new(io::stdin().lock()), *limit)
        }
        Command::PutImage { volume } => {
            let mut json = Vec::new();
            let stdin = FrameReader::new(io::stdin().lock());
            stdin.take(IMAGE_BYTES_MAX).read_to_end(&mut json).map_err(failed("read an image"))?;
            volumes.put_image(volume, &json)
        }
        Command::Remove { volume } => {
            volumes.remove(volume)?;
            caches.remove(volume).map_err(failed("remove a cache"))
        }
        Command::MakeCaches { volumes } => {
            rustix::process::umask(rustix::fs::Mode::empty());
            volumes
                .iter()
                .try_for_each(|volume| caches.make(volume))
                .map_err(failed("make a cache"))
        }
        Command::List
        | Command::Kind { .. }
        | Command::Archive { .. }
        | Command::Read { .. }
        | Command::Image { .. }
        | Command::Piped(_) => tell(command, volumes, &caches),
    }
}

/// The commands that answer.
fn tell(command: &Command, volumes: &Volumes, caches: &Caches) -> Result<(), Error> {
    match command {
        Command::List => {
            let mut all = volumes.list()?;
            all.extend(caches.list().map_err(failed("list the caches"))?);
            answer(|out| out.write_all(all.join("\n").as_bytes()))
        }
        Command::Kind { volume } => {
            let kind = match volumes.kind(volume)? {
                Some(Kind::Archive) => "archive",
                Some(Kind::Image) => "image",
                None if caches.has(volume) => "archive",
                None => "",
            };
            answer(|out| out.write_all(kind.as_bytes()))
        }
        Command::Archive { volume, path } => {
            let mut out = FrameWriter::new(io::stdout().lock());
            if caches.has(volume) {
                caches.archive(volume, path, &mut out).map_err(failed("read a cache"))?;
            } else {
                volumes.archive(volume, path, &mut out)?;
            }
            out.finish().map_err(failed("answer"))
        }
        Command::Read { volume, path, limit } => {
            let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
            let found = if caches.has(volume) {
                caches.read_file(volume, path, limit).map_err(failed("read a cache"))?
            } else {
                volumes.read_file(volume, path, limit)?
            };
            answer(|out| match &found {
                Some(content) => out.write_all(&[1]).and_then(|()| out.write_all(content)),
                None => out.write_all(&[0]),
            })
        }
        Command::Image { volume } => {
            let json = volumes.image(volume)?;
            let json = json.ok_or_else(|| Error::NoVolume(volume.clone()))?;
            answer(|out| out.write_all(&json))
        }
        // Not among those that `run` leaves to this.
        _ => Ok(()),
    }
}

fn answer(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut out = FrameWriter::new(BufWriter::new(io::stdout().lock()));
    let written = write(&mut out).and_then(|()| out.finish());
    written.map_err(|error| Error::Io("answer".to_owned(), error))
}

/// For clusters that cannot mount an image: what others mount is copied.
fn install(target: &Path, directory: Option<(&str, &str)>) -> io::Result<()> {
    let own = std::env::current_exe()?;
    let beside = own.parent().unwrap_or_else(|| Path::new("/"));
    let copy = |from: &Path, to: &Path| -> io::Result<()> {
        std::fs::copy(from, to)?;
        std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755))
    };
    for name in ["jb-runner", "jb-artifacts", "jb-agent"] {
        copy(&beside.join(name), &target.join(name))?;
    }
    let Some((from, to)) = directory else { return Ok(()) };
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = Path::new(to).join(entry.file_name());
        if entry.file_type()?.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, to)?;
        } else {
            copy(&entry.path(), &to)?;
        }
    }
    Ok(())
}
