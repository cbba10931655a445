//! The program's command line, in both directions: the server writes it, the program reads it.

/// Where a claim is mounted in the containers that may use it.
pub const ARTIFACTS_DIR: &str = "/.jetbridge/artifacts";
pub const CACHES_DIR: &str = "/.jetbridge/caches";
pub const SCRATCH_DIR: &str = "/.jetbridge/scratch";
/// The exit status that says that a volume is not there.
pub const NO_VOLUME: u8 = 44;

/// What the program is asked to do with the volumes in [`ARTIFACTS_DIR`]. Content comes and goes in
/// [`crate::frames`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Lasts until no other command has been run in the container for this many seconds.
    Rest {
        seconds: u64,
    },
    /// Copies the programs beside this one, and a directory if one is named, into a directory.
    Install {
        target: String,
        directory: Option<(String, String)>,
    },
    /// Makes the directories of volumes and caches.
    Prepare {
        group: u32,
    },
    /// Extracts volumes into directories, and makes those of `made`. Of `image`, which stays an archive, a copy is made
    /// for [`Self::Boot`].
    Extract {
        volumes: Vec<(String, String)>,
        owners: bool,
        image: Option<(String, String)>,
        made: Vec<String>,
    },
    /// Extracts the root file system of an image's archive over that of this container and becomes the command.
    Boot {
        archive: String,
        owners: bool,
        command: Vec<String>,
    },
    /// Makes directories' contents volumes.
    Publish {
        volumes: Vec<(String, String)>,
    },
    /// Extracts volumes that lie in an object store, as stdin says: a [`crate::exchange::Fetch`].
    Fetch,
    /// Stores directories in an object store, as stdin says: a [`crate::exchange::Store`].
    Store,
    /// As [`Self::Extract`], of an archive on stdin: for containers that reach nothing else.
    Receive {
        volume: String,
        target: String,
        is_file: bool,
    },
    /// As [`Self::Publish`], to stdout.
    Send {
        source: String,
    },
    /// Does [`Self::Add`], [`Self::Archive`] or [`Self::Read`] with a volume whose archive is on stdin before anything
    /// else. What it becomes is written to stdout.
    Piped(Box<Self>),
    /// Prints the handles of volumes and caches, one a line.
    List,
    Create {
        volume: String,
    },
    /// Prints `archive`, `image`, or nothing.
    Kind {
        volume: String,
    },
    /// Extracts the tar archive on stdin into a directory of a volume.
    Add {
        volume: String,
        path: String,
        limit: u64,
    },
    /// Writes a directory of a volume to stdout as a tar archive.
    Archive {
        volume: String,
        path: String,
    },
    /// Writes one file of a volume to stdout: a byte 1 and its content, or a byte 0.
    Read {
        volume: String,
        path: String,
        limit: u64,
    },
    /// Keeps the JSON on stdin as an image's place.
    PutImage {
        volume: String,
    },
    /// Writes what was kept to stdout.
    Image {
        volume: String,
    },
    Remove {
        volume: String,
    },
    /// Makes directories in [`CACHES_DIR`] that everybody can write in.
    MakeCaches {
        volumes: Vec<String>,
    },
}

const USAGE: &str = "usage: jb-artifacts [--alive MILLISECONDS] COMMAND, which is one of rest SECONDS | install DIR [FROM TO] | prepare GROUP | \
extract [--owners] [--image VOLUME FILE] {VOLUME DIR} | boot [--owners] FILE COMMAND {ARGUMENT} | \
publish {VOLUME DIR} | fetch | store | receive VOLUME DIR | receive --file VOLUME FILE | send DIR | \
piped COMMAND | list | create VOLUME | kind VOLUME | add VOLUME PATH LIMIT | archive VOLUME PATH | \
read VOLUME PATH LIMIT | put-image VOLUME | image VOLUME | remove VOLUME | make-caches {VOLUME}";

impl Command {
    /// The arguments that [`Self::parse`] reads.
    pub fn to_args(&self) -> Vec<String> {
        let pairs = |name: &str, volumes: &[(String, String)]| {
            let pairs = volumes.iter().flat_map(|(volume, dir)| [volume.clone(), dir.clone()]);
            std::iter::once(name.to_owned()).chain(pairs).collect()
        };
        let args = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect();
        match self {
            Self::Rest { seconds } => args(&["rest", &seconds.to_string()]),
            Self::Install { target, directory: None } => args(&["install", target]),
            Self::Install { target, directory: Some((from, to)) } => {
                args(&["install", target, from, to])
            }
            Self::Prepare { group } => args(&["prepare", &group.to_string()]),
            Self::Extract { volumes, owners, image, made } => {
                let image = image.iter().flat_map(|(volume, file)| ["--image", volume, file]);
                let made = made.iter().flat_map(|directory| ["--make", directory]);
                let flags = owners.then_some("--owners").into_iter().chain(image).chain(made);
                let mut args: Vec<String> = pairs("extract", volumes);
                args.splice(1..1, flags.map(str::to_owned));
                args
            }
            Self::Boot { archive, owners, command } => {
                let flag = owners.then_some("--owners");
                let words = ["boot"].into_iter().chain(flag).chain([archive.as_str()]);
                words.map(str::to_owned).chain(command.iter().cloned()).collect()
            }
            Self::Publish { volumes } => pairs("publish", volumes),
            Self::Fetch => args(&["fetch"]),
            Self::Store => args(&["store"]),
            Self::Receive { volume, target, is_file: true } => {
                args(&["receive", "--file", volume, target])
            }
            Self::Receive { volume, target, is_file: false } => args(&["receive", volume, target]),
            Self::Send { source } => args(&["send", source]),
            Self::Piped(command) => {
                std::iter::once("piped".to_owned()).chain(command.to_args()).collect()
            }
            Self::List => args(&["list"]),
            Self::Create { volume } => args(&["create", volume]),
            Self::Kind { volume } => args(&["kind", volume]),
            Self::Add { volume, path, limit } => args(&["add", volume, path, &limit.to_string()]),
            Self::Archive { volume, path } => args(&["archive", volume, path]),
            Self::Read { volume, path, limit } => args(&["read", volume, path, &limit.to_string()]),
            Self::PutImage { volume } => args(&["put-image", volume]),
            Self::Image { volume } => args(&["image", volume]),
            Self::Remove { volume } => args(&["remove", volume]),
            Self::MakeCaches { volumes } => {
                std::iter::once("make-caches".to_owned()).chain(volumes.iter().cloned()).collect()
            }
        }
    }

    pub fn parse(args: &[String]) -> Result<Self, String> {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let number = |text: &str| {
            text.parse::<u64>().map_err(|_| format!("`{text}` is not a number\n{USAGE}"))
        };
        let owned = str::to_owned;
        let command = match words.as_slice() {
            ["rest", seconds] => Self::Rest { seconds: number(seconds)? },
            ["install", target] => Self::Install { target: owned(target), directory: None },
            ["install", target, from, to] => {
                Self::Install { target: owned(target), directory: Some((owned(from), owned(to))) }
            }
            ["prepare", group] => {
                let group = u32::try_from(number(group)?);
                Self::Prepare { group: group.map_err(|_| USAGE.to_owned())? }
            }
            ["extract", rest @ ..] => {
                let (owners, rest) = owners(rest);
                let (image, mut rest) = match rest {
                    ["--image", volume, file, rest @ ..] => {
                        (Some((owned(volume), owned(file))), rest)
                    }
                    rest => (None, rest),
                };
                let mut made = Vec::new();
                while let ["--make", directory, more @ ..] = rest {
                    made.push(owned(directory));
                    rest = more;
                }
                Self::Extract { volumes: pairs(rest)?, owners, image, made }
            }
            ["boot", rest @ ..] => match owners(rest) {
                (owners, [archive, program, arguments @ ..]) => {
                    let command = std::iter::once(program).chain(arguments);
                    let command = command.copied().map(owned).collect();
                    Self::Boot { archive: owned(archive), owners, command }
                }
                _ => return Err(USAGE.to_owned()),
            },
            ["publish", rest @ ..] => Self::Publish { volumes: pairs(rest)? },
            ["fetch"] => Self::Fetch,
            ["store"] => Self::Store,
            ["receive", "--file", volume, target] => {
                Self::Receive { volume: owned(volume), target: owned(target), is_file: true }
            }
            ["receive", volume, target] => {
                Self::Receive { volume: owned(volume), target: owned(target), is_file: false }
            }
            ["send", source] => Self::Send { source: owned(source) },
            ["piped", ..] => Self::Piped(Box::new(Self::parse(&args[1..])?)),
            ["list"] => Self::List,
            ["create", volume] => Self::Create { volume: owned(volume) },
            ["kind", volume] => Self::Kind { volume: owned(volume) },
            ["add", volume, path, limit] => {
                Self::Add { volume: owned(volume), path: owned(path), limit: number(limit)? }
            }
            ["archive", volume, path] => Self::Archive { volume: owned(volume), path: owned(path) },
            ["read", volume, path, limit] => {
                Self::Read { volume: owned(volume), path: owned(path), limit: number(limit)? }
            }
            ["put-image", volume] => Self::PutImage { volume: owned(volume) },
            ["image", volume] => Self::Image { volume: owned(volume) },
            ["remove", volume] => Self::Remove { volume: owned(volume) },
            ["make-caches", rest @ ..] => {
                Self::MakeCaches { volumes: rest.iter().copied().map(owned).collect() }
            }
            _ => return Err(USAGE.to_owned()),
        };
        Ok(command)
    }
}

/// Whether the first word asks for owners, and the rest.
fn owners<'a, 'b>(words: &'a [&'b str]) -> (bool, &'a [&'b str]) {
    match words {
        ["--owners", rest @ ..] => (true, rest),
        rest => (false, rest),
    }
}

fn pairs(words: &[&str]) -> Result<Vec<(String, String)>, String> {
    let (pairs, []) = words.as_chunks::<2>() else { return Err(USAGE.to_owned()) };
    Ok(pairs.iter().map(|[volume, dir]| ((*volume).to_owned(), (*dir).to_owned())).collect())
}

#[cfg(test)]
mod tests;
