//! `cargo xtask test`: everything that must hold, in one command.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cluster::{self, NetworkPolicy};
use crate::install::on_path;
use crate::{collector, deploy, images, object_store};

#[derive(Args)]
pub(crate) struct Options {
    /// Only the tests whose names contain this
    filter: Option<String>,
    /// Leave out formatting and lints
    #[arg(long)]
    only_tests: bool,
    /// Leave out what needs a Kubernetes cluster
    #[arg(long)]
    without_kubernetes: bool,
}

/// Where the cluster of the tests lies; it is made anew for each run.
const CLUSTER_DIR: &str = "/var/tmp/jetbridge-test-cluster";

/// A check by a program that takes minutes to compile: it runs where someone installed it.
struct Check {
    what: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    install: &'static str,
}

const CHECKS: [Check; 2] = [
    Check {
        what: "spelling",
        program: "typos",
        arguments: &[],
        install: "cargo install --locked typos-cli",
    },
    // Advisories need the network and change by themselves: `cargo deny check advisories` is for releases.
    Check {
        what: "licenses, sources and bans of dependencies",
        program: "cargo-deny",
        arguments: &["--offline", "--log-level", "error", "check", "bans", "licenses", "sources"],
        install: "cargo install --locked cargo-deny",
    },
];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    let missing = crate::install::tools();
    let kubernetes = Kubernetes::choose(options);
    let extras = Extras::begin();
    if let Kubernetes::None { why } = &kubernetes {
        println!("MISSING: Kubernetes ({why}); its tests are skipped");
    }
    let mut unchecked = Vec::new();
    if !options.only_tests {
        for check in &CHECKS {
            if on_path(check.program) {
                step(check.what, command(check.program, check.arguments))?;
            } else {
                unchecked.push(check);
            }
        }
        step("formatting", cargo(&["fmt", "--all", "--check"]))?;
        step(
            "lints",
            cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        )?;
    }
    // Compiling goes on while the cluster's programs are built.
    step("compiling the tests", cargo(&["test", "--quiet", "--workspace", "--no-run"]))?;
    let extras = extras.end()?;
    let cluster = kubernetes.start()?;
    // One failure does not hide what else is wrong.
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    if let Some(filter) = &options.filter {
        tests.arg(filter);
    }
    if !missing.contains(&"postgresql") {
        tests.env("JETBRIDGE_REQUIRE_POSTGRES", "1");
    }
    if !missing.contains(&"docker-registry") {
        tests.env("JETBRIDGE_REQUIRE_REGISTRY", "1");
    }
    cluster.tell(&mut tests)?;
    extras.tell(&mut tests)?;
    step("tests", tests)?;
    let skipped = cluster.stop()?;
    println!("all passed in {} s", begin.elapsed().as_secs());
    for package in missing {
        println!("SKIPPED: what needs `{package}`");
    }
    if let Some(what) = skipped {
        println!("SKIPPED: {what}");
    }
    for what in extras.missing() {
        println!("SKIPPED: {what}");
    }
    for Check { what, program, install, .. } in unchecked {
        println!("NOT CHECKED: {what}, as there is no `{program}`; `{install}` installs it");
    }
    Ok(())
}

/// Programs that tests do without where there is no Go or npm, or nowhere to have modules and packages from.
struct Extras<D, P, H> {
    deploy: D,
    object_store: P,
    collector: P,
    harnesses: H,
}

type Building<T> = JoinHandle<anyhow::Result<T>>;
type Built<T> = anyhow::Result<T>;

impl Extras<Building<deploy::tools::Tools>, Building<PathBuf>, Building<Harnesses>> {
    /// Building goes on while other things are done.
    fn begin() -> Self {
        Self {
            deploy: std::thread::spawn(deploy::tools::build),
            object_store: std::thread::spawn(object_store::build),
            collector: std::thread::spawn(collector::build),
            harnesses: std::thread::spawn(Harnesses::install),
        }
    }

    fn end(
        self,
    ) -> anyhow::Result<Extras<Built<deploy::tools::Tools>, Built<PathBuf>, Built<Harnesses>>> {
        let panicked = |what: &str| anyhow::anyhow!("building {what} panicked");
        Ok(Extras {
            deploy: self.deploy.join().map_err(|_| panicked("helm"))?,
            object_store: self.object_store.join().map_err(|_| panicked("an object store"))?,
            collector: self.collector.join().map_err(|_| panicked("a collector"))?,
            harnesses: self.harnesses.join().map_err(|_| panicked("harnesses"))?,
        })
    }
}

impl Extras<Built<deploy::tools::Tools>, Built<PathBuf>, Built<Harnesses>> {
    /// Tells the tests what there is, and people what there is not.
    fn tell(&self, tests: &mut Command) -> anyhow::Result<()> {
        let missing = |what: &str, error: &anyhow::Error| {
            println!("MISSING: {what} ({error:#}); their tests are skipped");
        };
        match &self.deploy {
            Ok(_) => {
                tests.env("JETBRIDGE_REQUIRE_HELM", "1");
            }
            Err(error) => missing("helm and kustomize", error),
        }
        match &self.object_store {
            Ok(program) => {
                tests.env("JETBRIDGE_TEST_OBJECT_STORE", program);
                tests.env("JETBRIDGE_REQUIRE_OBJECT_STORE", "1");
            }
            Err(error) => missing("object stores", error),
        }
        match &self.collector {
            Ok(program) => {
                tests.env("JETBRIDGE_TEST_COLLECTOR", program);
            }
            Err(error) => missing("a collector of traces", error),
        }
        match &self.harnesses {
            Ok(harnesses) => harnesses.tell(tests)?,
            Err(error) => missing("harnesses of others", error),
        }
        Ok(())
    }

    /// What is skipped for lack of them.
    fn missing(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.deploy.is_err(), "what needs helm and kustomize"),
            (self.object_store.is_err(), "what needs an object store"),
            (self.collector.is_err(), "traces by way of a collector"),
            (self.harnesses.is_err(), "agents with harnesses of others"),
        ];
        all.into_iter().filter_map(|(is_missing, what)| is_missing.then_some(what))
    }
}

/// The harnesses of others: their programs, and images with them.
struct Harnesses {
    programs: Vec<PathBuf>,
    images: Vec<PathBuf>,
}

impl Harnesses {
    fn install() -> anyhow::Result<Self> {
        if !on_path("npm") {
            bail!("npm is missing");
        }
        let programs = crate::harnesses::install_all()?;
        let only = images::Image::HARNESSES.into();
        let images = images::assemble(&images::Options { only, ..images::Options::local() })?;
        Ok(Self { programs, images })
    }

    fn tell(&self, tests: &mut Command) -> anyhow::Result<()> {
        let dirs = self.programs.iter().filter_map(|program| program.parent());
        tests.env("JETBRIDGE_HARNESSES", std::env::join_paths(dirs)?);
        let images = self.images.first().and_then(|image| image.parent());
        tests.env("JETBRIDGE_HARNESS_IMAGES", images.context("there are no images")?);
        Ok(())
    }
}

/// The cluster that tests run on, before it is there.
enum Kubernetes {
    /// One of this machine, whose programs are being built.
    Own(JoinHandle<anyhow::Result<()>>),
    /// The one that `KUBECONFIG` names.
    Given,
    None {
        why: String,
    },
}

impl Kubernetes {
    fn choose(options: &Options) -> Self {
        if options.without_kubernetes {
            return Self::None { why: "--without-kubernetes".to_owned() };
        }
        if std::env::var_os("KUBECONFIG").is_some() {
            return Self::Given;
        }
        if let Some(why) = cluster::obstacle() {
            return Self::None { why: why.to_owned() };
        }
        Self::Own(std::thread::spawn(cluster::build))
    }

    fn start(self) -> anyhow::Result<Started> {
        match self {
            Self::Own(building) => {
                println!("== Kubernetes");
                let built = building.join().map_err(|_| anyhow::anyhow!("building it panicked"))?;
                built.context("build Kubernetes")?;
                let dir = PathBuf::from(CLUSTER_DIR);
                cluster::down(&dir)?;
                cluster::up(&dir, NetworkPolicy::Enforced)?;
                // The tests' own build has made the server.
                let images = images::Options { is_built: true, ..images::Options::local() };
                cluster::load(&dir, &images::assemble(&images)?)?;
                Ok(Started::Own(dir))
            }
            Self::Given => Ok(Started::Given),
            Self::None { why } => Ok(Started::None { why }),
        }
    }
}

/// The cluster that tests run on. One of our own is left running when a test fails: the next run removes it.
enum Started {
    Own(PathBuf),
    Given,
    None { why: String },
}

impl Started {
    fn tell(&self, tests: &mut Command) -> anyhow::Result<()> {
        match self {
            Self::Own(dir) => {
                let mut path = vec![cluster::commands(dir)];
                path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
                tests.env("PATH", std::env::join_paths(path)?);
                tests.envs(cluster::variables(dir)?);
                tests.env("JETBRIDGE_REQUIRE_KUBERNETES", "1");
            }
            Self::Given => {
                tests.env("JETBRIDGE_REQUIRE_KUBERNETES", "1");
            }
            Self::None { .. } => {}
        }
        Ok(())
    }

    /// Ends it; returns what could not run.
    fn stop(self) -> anyhow::Result<Option<String>> {
        match self {
            Self::Own(dir) => cluster::down(Path::new(&dir)).map(|()| None),
            Self::Given => Ok(Some("what needs a cluster of this machine's own".to_owned())),
            Self::None { why } => Ok(Some(format!("what needs Kubernetes ({why})"))),
        }
    }
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = crate::server::cargo();
    command.args(arguments);
    command
}

fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn step(what: &str, mut command: Command) -> anyhow::Result<()> {
    println!("== {what}");
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{what} failed: {command:?}");
    }
    Ok(())
}
