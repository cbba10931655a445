//! Debian packages as parts of images: downloaded and unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::images::tree::Tree;

/// What nobody needs inside a container, by the beginnings of paths.
const UNWANTED: &[&str] = &[
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/gitweb",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/perl5",
];

/// Where downloaded packages are kept from one run to the next.
pub(crate) struct Packages {
    dir: PathBuf,
}

impl Packages {
    pub(crate) fn new(cache: &Path) -> anyhow::Result<Self> {
        let dir = cache.join("packages");
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// Unpacks packages with all they depend on, but for those whose names begin with one of `without`.
    pub(crate) fn add(
        &self,
        tree: &mut Tree,
        names: &[&str],
        without: &[&str],
    ) -> anyhow::Result<()> {
        let wanted = self.closure(names)?;
        let wanted = wanted.iter().filter(|file| {
            let name = package_name(file);
            names.contains(&name) || !without.iter().any(|start| name.starts_with(start))
        });
        let wanted: Vec<&String> = wanted.collect();
        self.download(&wanted)?;
        for file in wanted {
            self.unpack(tree, file)?;
        }
        tree.remove(|path| UNWANTED.iter().any(|unwanted| path.starts_with(unwanted)));
        Ok(())
    }

    /// Unpacks these packages alone, into a tree of their own.
    pub(crate) fn alone(&self, names: &[&str]) -> anyhow::Result<Tree> {
        let wanted = self.closure(names)?;
        let wanted: Vec<&String> =
            wanted.iter().filter(|file| names.contains(&package_name(file))).collect();
        self.download(&wanted)?;
        let mut tree = Tree::default();
        for file in wanted {
            self.unpack(&mut tree, file)?;
        }
        Ok(tree)
    }

    /// The files of packages and of all they depend on, as if nothing were installed.
    fn closure(&self, names: &[&str]) -> anyhow::Result<Vec<String>> {
        let nothing = self.dir.join("nothing-installed");
        fs::write(&nothing, "").with_context(|| format!("write {}", nothing.display()))?;
        let ask = || {
            Command::new("apt-get")
                .args(["--quiet", "--yes", "--no-install-recommends", "--print-uris"])
                .arg(format!("--option=Dir::State::status={}", nothing.display()))
                .arg(format!("--option=Dir::Cache::archives={}", self.dir.join("none").display()))
                .arg("--option=Debug::NoLocking=true")
                .arg("install")
                .args(names)
                .output()
                .context("start apt-get; images are assembled from Debian packages")
        };
        let mut output = ask()?;
        if !output.status.success() {
            // A machine that has never read the list of packages knows none.
            let _ = Command::new("apt-get").args(["-qq", "update"]).status();
            output = ask()?;
        }
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("apt-get cannot resolve {}: {}", names.join(", "), said.trim());
        }
        let mut files = parse_uris(&String::from_utf8_lossy(&output.stdout));
        if files.is_empty() {
            bail!("apt-get resolved {} to no package", names.join(", "));
        }
        files.sort();
        Ok(files)
    }

    fn download(&self, files: &[&String]) -> anyhow::Result<()> {
        let missing: Vec<&str> = files
            .iter()
            .filter(|file| !self.dir.join(file).exists())
            .map(|file| package_name(file))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        eprintln!("downloading {} Debian packages", missing.len());
        let output = Command::new("apt-get")
            .args(["-qq", "--option=APT::Sandbox::User=root", "download"])
            .args(&missing)
            .current_dir(&self.dir)
            .output()
            .context("start apt-get")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("apt-get cannot download {}: {}", missing.join(", "), said.trim());
        }
        Ok(())
    }

    fn unpack(&self, tree: &mut Tree, file: &str) -> anyhow::Result<()> {
        let path = self.dir.join(file);
        let mut reader = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .context("start dpkg-deb")?;
        let tar = reader.stdout.take().context("the output of dpkg-deb")?;
        tree.unpack(tar).with_context(|| format!("unpack {}", path.display()))?;
        if !reader.wait()?.success() {
            bail!("dpkg-deb cannot read {}; remove the file to download it anew", path.display());
        }
        Ok(())
    }
}

/// The files in what `apt-get --print-uris` says: `'URI' FILE SIZE HASH` on each line.
fn parse_uris(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with('\''));
    lines.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

/// A package's name, from its file's: `NAME_VERSION_ARCHITECTURE.deb`.
fn package_name(file: &str) -> &str {
    file.split('_').next().unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_from_what_apt_says() {
        let said = "Reading package lists...\nThe following NEW packages will be installed:\n  git\n\
            'mirror/pool/main/g/git/git_2.39.5-0%2bdeb12u2_amd64.deb' git_1%3a2.39.5-0+deb12u2_amd64.deb 7256292 SHA256:0a\n";
        assert_eq!(parse_uris(said), ["git_1%3a2.39.5-0+deb12u2_amd64.deb"]);
        assert_eq!(package_name("git_1%3a2.39.5-0+deb12u2_amd64.deb"), "git");
    }
}
