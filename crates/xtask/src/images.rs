//! `cargo xtask images`: the images of a deployment, assembled from what was built here and from Debian packages.
//! No daemon and no registry takes part; the same programs and packages give the same bytes.

pub(crate) mod archive;
pub(crate) mod packages;
pub(crate) mod recipe;
pub(crate) mod recipes;
pub(crate) mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use jb_agent_protocol::command_line::{self, CommandLine};

use crate::images::packages::Packages;
use crate::images::recipe::Recipe;

#[derive(Args, Clone)]
pub(crate) struct Options {
    /// Where the archives go, one NAME.tar per image
    #[arg(value_name = "DIR", default_value = "target/images")]
    pub(crate) dir: PathBuf,
    /// Only this image; may be given several times. Those of agents' harnesses are left out unless given
    #[arg(long, value_name = "IMAGE")]
    pub(crate) only: Vec<Image>,
    /// An image of steps by your own recipe, named as its file; alone unless `--only` is given, too. See deploy/images/README.md
    #[arg(long, value_name = "FILE")]
    pub(crate) recipe: Vec<PathBuf>,
    /// Programs as `cargo build` makes them, which is sooner done than with `--release`
    #[arg(long)]
    pub(crate) dev: bool,
    /// What the images' names begin with
    #[arg(long, value_name = "REGISTRY/PATH", default_value = "localhost")]
    pub(crate) prefix: String,
    /// The images' tag
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    pub(crate) tag: String,
    /// Whether the server is built already
    #[arg(skip)]
    pub(crate) is_built: bool,
}

impl Options {
    /// All images as a cluster on this machine is given them.
    pub(crate) fn local() -> Self {
        Self {
            dir: crate::server::target().join("images"),
            only: Vec::new(),
            recipe: Vec::new(),
            dev: true,
            prefix: "localhost".to_owned(),
            tag: env!("CARGO_PKG_VERSION").to_owned(),
            is_built: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Image {
    /// The server
    #[value(name = "jetbridge")]
    Server,
    /// The program that every container runs first
    #[value(name = "jetbridge-runner")]
    Runner,
    /// The built-in resource types, with git and ssh
    #[value(name = "jetbridge-resources")]
    Resources,
    /// A PostgreSQL server
    #[value(name = "jetbridge-postgres")]
    Postgres,
    /// A shell and the usual tools, for tasks
    #[value(name = "jetbridge-task")]
    Task,
    /// The same with the harness `claude-code`
    #[value(name = "jetbridge-claude-code")]
    ClaudeCode,
    /// The same with the harness `codex`
    #[value(name = "jetbridge-codex")]
    Codex,
    /// The same with the harness `opencode`
    #[value(name = "jetbridge-opencode")]
    OpenCode,
}

impl Image {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "jetbridge",
            Self::Runner => "jetbridge-runner",
            Self::Resources => "jetbridge-resources",
            Self::Postgres => "jetbridge-postgres",
            Self::Task => "jetbridge-task",
            Self::ClaudeCode => "jetbridge-claude-code",
            Self::Codex => "jetbridge-codex",
            Self::OpenCode => "jetbridge-opencode",
        }
    }

    /// Those of agents' harnesses, whose programs are somebody else's and large.
    pub(crate) const HARNESSES: [Self; 3] = [Self::ClaudeCode, Self::Codex, Self::OpenCode];

    /// The harness that it has.
    pub(crate) fn harness(self) -> Option<CommandLine> {
        match self {
            Self::ClaudeCode => Some(command_line::CLAUDE_CODE),
            Self::Codex => Some(command_line::CODEX),
            Self::OpenCode => Some(command_line::OPENCODE),
            _ => None,
        }
    }

    /// Whether it holds a program of this workspace.
    fn needs_build(self) -> bool {
        matches!(self, Self::Server | Self::Runner | Self::Resources)
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    for path in assemble(options)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// Makes the archives; returns their paths.
pub(crate) fn assemble(options: &Options) -> anyhow::Result<Vec<PathBuf>> {
    let wanted: Vec<Image> = if options.only.is_empty() && options.recipe.is_empty() {
        let all = Image::value_variants().iter().copied();
        all.filter(|image| image.harness().is_none()).collect()
    } else {
        options.only.clone()
    };
    fs::create_dir_all(&options.dir)
        .with_context(|| format!("create {}", options.dir.display()))?;
    let packages = Packages::new(&cache()?)?;
    let programs = if wanted.iter().any(|image| image.needs_build()) {
        Some(Programs::build(!options.dev, options.is_built)?)
    } else {
        None
    };
    let mut paths = Vec::new();
    for image in wanted {
        paths.push(options.archive(image.name(), |path, name| {
            recipes::write(image, path, name, &packages, programs.as_ref())
        })?);
    }
    for file in &options.recipe {
        let recipe = Recipe::read(file)?;
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        let stem = stem.with_context(|| format!("{} names no image", file.display()))?;
        paths.push(
            options.archive(stem, |path, name| recipes::steps(&recipe, path, name, &packages))?,
        );
    }
    Ok(paths)
}

impl Options {
    /// Has one archive written, and says so.
    fn archive(
        &self,
        image: &str,
        write: impl FnOnce(&Path, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let begin = Instant::now();
        let path = self.dir.join(format!("{image}.tar"));
        let name = format!("{}/{image}:{}", self.prefix, self.tag);
        // An interrupted run leaves no half an image under the image's name.
        let partial = path.with_extension("partial");
        write(&partial, &name).with_context(|| format!("assemble {name}"))?;
        fs::rename(&partial, &path).with_context(|| format!("write {}", path.display()))?;
        let size = fs::metadata(&path)?.len();
        eprintln!("{name}: {} MB in {} ms", size / 1_000_000, begin.elapsed().as_millis());
        Ok(path)
    }
}

/// What was built from this workspace.
pub(crate) struct Programs {
    pub(crate) server: Vec<u8>,
    pub(crate) runner: Vec<u8>,
    pub(crate) resources: Vec<u8>,
    /// What moves artifacts in pods, where the server carries it.
    pub(crate) artifacts: Option<Vec<u8>>,
    pub(crate) agent: Vec<u8>,
}

impl Programs {
    fn build(release: bool, is_built: bool) -> anyhow::Result<Self> {
        let server =
            if is_built { crate::server::binary(release) } else { crate::server::build(release)? };
        // The server's build puts the programs it carries here.
        let embedded = crate::server::target().join("embedded");
        let host = host()?;
        let profile = if release { "embedded" } else { "dev" };
        let programs = embedded.join(&host).join(if release { "embedded" } else { "debug" });
        // The server carries no program that only pods run: it is built here, as the others were.
        let artifacts = if crate::server::root().join("crates/artifacts").exists() {
            let mut command = crate::server::cargo();
            command
                .args(["build", "--package", "jb-artifacts", "--profile", profile])
                .args(["--target", &host, "--target-dir"])
                .arg(&embedded)
                .env("RUSTFLAGS", "-C target-feature=+crt-static");
            if !command.status().context("start cargo")?.success() {
                bail!("building jb-artifacts failed");
            }
            Some(read(&programs.join("jb-artifacts"))?)
        } else {
            None
        };
        Ok(Self {
            artifacts,
            server: read(&server)?,
            runner: read(&programs.join("jb-runner"))?,
            resources: read(&programs.join("jb-resources"))?,
            agent: read(&programs.join("jb-agent"))?,
        })
    }
}

/// A program that a release's images hold, as the last such build made it.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    Ok(crate::server::target().join("embedded").join(host()?).join("embedded").join(name))
}

/// The target that programs are built for.
fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("start rustc")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// A program without what only a debugger reads.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let stripped = path.with_extension("stripped");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(path).status();
    let read = if status.is_ok_and(|status| status.success()) { &stripped } else { path };
    let content = fs::read(read).with_context(|| format!("read {}", read.display()))?;
    let _ = fs::remove_file(&stripped);
    Ok(content)
}

/// Where downloads and built tools are kept: `jetbridge` in the user's cache directory.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let Some(base) = base.or_else(home) else {
        bail!("neither XDG_CACHE_HOME nor HOME says where to keep downloads")
    };
    let dir = base.join("jetbridge");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
