//! The command lines of others that can be an agent's harness: one version of each, from npm, kept in the cache directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use jb_agent_protocol::CommandLine;
use jb_agent_protocol::command_line::{CLAUDE_CODE, CODEX, OPENCODE};
use sha2::{Digest as _, Sha512};

use crate::go::ran;

/// Where a program of this machine's kind comes from.
struct Source {
    line: CommandLine,
    /// As Rust names it.
    architecture: &'static str,
    /// A package of npm's that holds the program itself, and needs no other; with its version.
    package: &'static str,
    /// SHA-512 of the package, as npm writes it.
    integrity: &'static str,
    /// Where in the package the program is.
    program: &'static str,
}

const SOURCES: [Source; 5] = [
    Source {
        line: CLAUDE_CODE,
        architecture: "x86_64",
        package: "@anthropic-ai/claude-code-linux-x64@2.1.330",
        integrity: "sha512-9Gn+V7DtJ8M1nztP9CeDVl9g3RtrepI7rOFTyPRRnZe8D6zebIHKmC7OvBauucuAP0X0k85SDN/LPVZyjsGezQ==",
        program: "package/claude",
    },
    Source {
        line: CLAUDE_CODE,
        architecture: "aarch64",
        package: "@anthropic-ai/claude-code-linux-arm64@2.1.330",
        integrity: "sha512-V4yanAY5EA5UpwwRPtjSfqDbNqAlUJeVn3NYZw2AgmRHjdpSsLtHAzbxRXfkAnbjwTXzE0uedjQxUY02ARPcsA==",
        program: "package/claude",
    },
    Source {
        line: CODEX,
        architecture: "x86_64",
        package: "@openai/codex@0.169.0-linux-x64",
        integrity: "sha512-o05NyAOCDygSPRo1yinzxvkRSdmsZyBD9E7mbpmjRanSfM8lypqWtQgEo4XfNkwhuCR2aFu8mlGOsQGFXVbVww==",
        program: "package/vendor/x86_64-unknown-linux-musl/bin/codex",
    },
    Source {
        line: CODEX,
        architecture: "aarch64",
        package: "@openai/codex@0.169.0-linux-arm64",
        integrity: "sha512-NZ/DaQUpcQmxmqee7Z9uC1rzw3GhSbooawcaTe1LN5Yk+WlinUKGdTXJgClRT/9ogQEEM9TWxYzvxPfj5G/xFg==",
        program: "package/vendor/aarch64-unknown-linux-musl/bin/codex",
    },
    Source {
        line: OPENCODE,
        architecture: "x86_64",
        package: "opencode-linux-x64-baseline@1.18.33",
        integrity: "sha512-1KQGBiiDDeL/VHHbHkOvvFo8Jr97WT5+C1tear+p7IcDTnXgVHXqIjU4O4jM4mHQzykTP2i884FCnW5LDa+zCA==",
        program: "package/bin/opencode",
    },
];

/// Installs those that are missing; returns their files in the order of [`CommandLine::ALL`].
pub(crate) fn install_all() -> anyhow::Result<Vec<PathBuf>> {
    CommandLine::ALL.iter().map(install).collect()
}

/// The file of a harness's program, installed if it was missing.
pub(crate) fn install(line: &CommandLine) -> anyhow::Result<PathBuf> {
    let architecture = std::env::consts::ARCH;
    let here = |source: &&Source| source.line == *line && source.architecture == architecture;
    let source = SOURCES.iter().find(here);
    let source = source.with_context(|| format!("no {} for {architecture} is known", line.name))?;
    // A version has a place of its own.
    let cache = crate::images::cache()?.join("harnesses");
    let dir = cache.join(format!("{}-{}", line.program, line.version));
    let file = dir.join(line.program);
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    // Of two that install at once, the second waits and finds it there.
    let lock = File::create(cache.join("lock")).context("lock the cache of harnesses")?;
    lock.lock().context("lock the cache of harnesses")?;
    if !file.exists() {
        fetch(source, &cache, &dir, &file).with_context(|| format!("install {}", line.name))?;
    }
    Ok(file)
}

fn fetch(source: &Source, cache: &Path, dir: &Path, file: &Path) -> anyhow::Result<()> {
    eprintln!("downloading {}", source.package);
    let work = tempfile::tempdir_in(cache)?;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--ignore-scripts", "--pack-destination"]);
    let output = npm.arg(work.path()).arg(source.package).output().context("start npm")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("npm cannot fetch {}: {}", source.package, said.trim());
    }
    let packed = fs::read_dir(work.path())?.next().context("npm fetched nothing")??.path();
    let digest = Sha512::digest(fs::read(&packed)?);
    let integrity = format!("sha512-{}", base64::engine::general_purpose::STANDARD.encode(digest));
    if integrity != source.integrity {
        bail!("{} is {integrity}, not {}", source.package, source.integrity);
    }
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&packed).arg("-C").arg(work.path()).arg(source.program);
    ran(&mut tar)?;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    fs::rename(work.path().join(source.program), file)
        .with_context(|| format!("write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_is_installed_is_the_one_that_is_driven() {
        for source in SOURCES {
            let (_, version) = source.package.rsplit_once('@').expect("a version");
            let suffix = version.strip_prefix(source.line.version);
            assert!(matches!(suffix, Some("" | "-linux-x64" | "-linux-arm64")), "{version}");
        }
        for line in CommandLine::ALL {
            let is = |source: &&Source| source.line == line && source.architecture == "x86_64";
            assert_eq!(SOURCES.iter().filter(is).count(), 1, "{}", line.name);
        }
    }
}
