//! A recipe of an image of steps: a file as those in `deploy/images`, whose README says what its keys mean.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jb_agent_protocol::CommandLine;
use serde::Deserialize;

/// Recipes on recipes; more is a circle.
const MAX_DEPTH: usize = 8;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recipe {
    from: Option<String>,
    /// Debian packages; those of `from` first once [`Recipe::read`] has joined them.
    pub(crate) packages: Vec<String>,
    pub(crate) harness: Option<String>,
    pub(crate) npm: Vec<Source>,
}

/// Where the program of a harness comes from, for one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// As images name it.
    pub(crate) architecture: String,
    /// A package of npm's that holds the program itself, and needs no other; with its version.
    pub(crate) package: String,
    /// SHA-512 of the package, as npm writes it.
    pub(crate) integrity: String,
    /// Where in the package the program is.
    pub(crate) program: String,
}

impl Recipe {
    /// The file of one that comes with JetBridge.
    pub(crate) fn file(name: &str) -> PathBuf {
        crate::server::root().join("deploy/images").join(format!("{name}.yml"))
    }

    /// Reads a recipe with those that it begins from.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut whole = Self::parse(path)?;
        let mut last = path.to_owned();
        for _ in 0..MAX_DEPTH {
            let Some(from) = whole.from.take() else { return Ok(whole) };
            let base = Self::file(&from);
            let base = Self::parse(&base)
                .with_context(|| format!("read what {} is from", last.display()))?;
            whole = whole.upon(base)?;
            last = Self::file(&from);
        }
        bail!("{} is from more than {MAX_DEPTH} others", path.display())
    }

    fn parse(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let read = || -> anyhow::Result<Self> {
            let node = jb_yaml::parse(&text).map_err(|error| anyhow::anyhow!("{error}"))?;
            Ok(serde_json::from_value(node.to_json())?)
        };
        read().with_context(|| format!("read the recipe {}", path.display()))
    }

    /// What both say.
    fn upon(self, base: Self) -> anyhow::Result<Self> {
        if let (Some(own), Some(other)) = (&self.harness, &base.harness) {
            bail!("an image has one harness, not both {own} and {other}");
        }
        let mut packages = base.packages;
        packages.extend(self.packages);
        let (harness, npm) = match self.harness {
            Some(own) => (Some(own), self.npm),
            None => (base.harness, base.npm),
        };
        Ok(Self { from: base.from, packages, harness, npm })
    }

    /// The harness that it brings.
    pub(crate) fn command_line(&self) -> anyhow::Result<Option<CommandLine>> {
        let Some(name) = &self.harness else { return Ok(None) };
        let known = || CommandLine::ALL.map(|line| line.name).join(", ");
        let line = CommandLine::named(name);
        line.map(Some).with_context(|| format!("no harness {name:?}; there are {}", known()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: CommandLine) -> Recipe {
        Recipe::read(&Recipe::file(&format!("jetbridge-{}", line.name))).unwrap()
    }

    #[test]
    fn the_version_that_is_installed_is_the_one_that_is_driven() {
        for line in CommandLine::ALL {
            let recipe = of(line);
            assert_eq!(recipe.command_line().unwrap(), Some(line));
            assert!(recipe.npm.iter().any(|source| source.architecture == "amd64"), "{line:?}");
            for source in recipe.npm {
                let (_, version) = source.package.rsplit_once('@').expect("a version");
                let suffix = version.strip_prefix(line.version);
                assert!(matches!(suffix, Some("" | "-linux-x64" | "-linux-arm64")), "{version}");
            }
        }
    }

    #[test]
    fn a_recipe_has_what_it_is_from() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own.yml");
        fs::write(&own, "from: jetbridge-codex\npackages: [python3]\n").unwrap();
        let recipe = Recipe::read(&own).unwrap();
        assert_eq!(recipe.harness.as_deref(), Some("codex"));
        assert!(recipe.packages.contains(&"git".to_owned()));
        assert_eq!(recipe.packages.last().map(String::as_str), Some("python3"));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file_that_says_it() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own.yml");
        for (text, said) in [
            ("package: [python3]", "unknown field `package`"),
            ("from: nothing", "nothing.yml"),
            ("{from: jetbridge-codex, harness: opencode}", "not both opencode and codex"),
        ] {
            fs::write(&own, text).unwrap();
            let error = format!("{:#}", Recipe::read(&own).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
