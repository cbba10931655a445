//! What this process was asked to do, from its argument vector.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A built-in resource type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Git,
    Time,
    RegistryImage,
    Mock,
}

impl Kind {
    fn parse(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "git" => Self::Git,
            "time" => Self::Time,
            "registry-image" => Self::RegistryImage,
            "mock" => Self::Mock,
            _ => bail!("unknown resource type {name:?}: give git, time, registry-image or mock"),
        })
    }
}

/// Which of the three scripts of a resource type is run; the directories are the step's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Check,
    /// Fetch a version into this directory.
    In(PathBuf),
    /// Push from the artifacts in this directory.
    Out(PathBuf),
}

/// Everything this binary does; the last two are how git and ssh call it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Invocation {
    Resource { kind: Kind, action: Action },
    Askpass { prompt: String },
    Ssh { args: Vec<OsString> },
}

/// Names under which git finds this binary for credentials and for ssh.
pub(crate) const ASKPASS_NAME: &str = "askpass";
pub(crate) const SSH_NAME: &str = "git-ssh";

/// Decides from `argv`; `type_of(argv[0])` is asked only when the binary is installed as a script.
pub(crate) fn parse(
    argv: &[OsString],
    type_of: impl FnOnce(&Path) -> anyhow::Result<String>,
) -> anyhow::Result<Invocation> {
    let (program, rest) = argv.split_first().context("empty argument vector")?;
    let program = Path::new(program);
    match program.file_name().and_then(OsStr::to_str) {
        Some(ASKPASS_NAME) => {
            let prompt = rest.first().map(|p| p.to_string_lossy().into_owned());
            Ok(Invocation::Askpass { prompt: prompt.unwrap_or_default() })
        }
        Some(SSH_NAME) => Ok(Invocation::Ssh { args: rest.to_vec() }),
        Some(script @ ("check" | "in" | "out")) => {
            let kind = Kind::parse(type_of(program)?.trim())?;
            Ok(Invocation::Resource { kind, action: action(script, rest)? })
        }
        _ => {
            const USAGE: &str =
                "usage: jb-resources git|time|registry-image|mock check|in DIR|out DIR";
            let [kind, script, rest @ ..] = rest else { bail!("{USAGE}") };
            let kind = Kind::parse(&kind.to_string_lossy())?;
            let script = script.to_string_lossy();
            if !matches!(&*script, "check" | "in" | "out") {
                bail!("unknown script {script:?}; {USAGE}");
            }
            Ok(Invocation::Resource { kind, action: action(&script, rest)? })
        }
    }
}

fn action(script: &str, rest: &[OsString]) -> anyhow::Result<Action> {
    let dir = || {
        let dir = rest.first().filter(|dir| !dir.is_empty());
        dir.map(PathBuf::from).with_context(|| format!("{script} needs a directory argument"))
    };
    Ok(match script {
        "check" => Action::Check,
        "in" => Action::In(dir()?),
        _ => Action::Out(dir()?),
    })
}

/// The type this binary is installed as: the file `type` beside the script, else `JETBRIDGE_RESOURCE_TYPE`.
pub(crate) fn installed_type(program: &Path) -> anyhow::Result<String> {
    let beside = match program.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => Some(dir.to_path_buf()),
        None => std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf)),
    };
    let file = beside.map(|dir| dir.join("type"));
    if let Some(file) = &file {
        match std::fs::read_to_string(file) {
            Ok(name) => return Ok(name),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("failed to read the resource type from {}", file.display())
                });
            }
        }
    }
    std::env::var("JETBRIDGE_RESOURCE_TYPE").with_context(|| {
        let file = file.map_or_else(|| "a file named type".into(), |f| f.display().to_string());
        format!("cannot tell which resource type to be: neither {file} nor JETBRIDGE_RESOURCE_TYPE exists")
    })
}

#[cfg(test)]
mod tests;
