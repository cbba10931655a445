//! What each image is made of; those of steps by their recipes.

use std::path::Path;

use anyhow::Context as _;

use crate::images::archive::{Run, write as write_archive};
use crate::images::packages::Packages;
use crate::images::recipe::Recipe;
use crate::images::tree::Tree;
use crate::images::{Image, Programs};

/// What packages need only to be installed or configured, or for parts of them that are left out.
const WITHOUT: &[&str] = &[
    "adduser",
    "debconf",
    "dpkg",
    "gcc-1",
    "git-man",
    "install-info",
    "libdebconf",
    "liberror-perl",
    "libgdbm",
    "libllvm",
    "libperl",
    "libz3",
    "login",
    "lsb-base",
    "passwd",
    "perl",
    "postgresql-common",
    "readline-common",
    "sensible-utils",
    "ssl-cert",
    "sysvinit-utils",
    "ucf",
];

/// The built-in resource types, each in a directory that is bound or found at `/opt/resource`.
const TYPES: &[&str] = &["git", "time", "registry-image", "mock"];

/// The user of servers: no name on the node is known to have this id.
const SERVER_USER: &str = "65532:65532";
/// As whom checks of different sources run in one pod: ssh insists on a name.
const CHECK_USERS: std::ops::Range<u64> = 20_000..20_128;
const POSTGRES_USER: u64 = 999;

pub(super) fn write(
    image: Image,
    path: &Path,
    name: &str,
    packages: &Packages,
    programs: Option<&Programs>,
) -> anyhow::Result<()> {
    let programs = || programs.context("the programs were not built");
    match image {
        Image::Server => server(path, name, packages, programs()?),
        Image::Runner => runner(path, name, programs()?),
        Image::Resources => resources(path, name, packages, programs()?),
        Image::Postgres => postgres(path, name, packages),
        Image::Task | Image::ClaudeCode | Image::Codex | Image::OpenCode => {
            steps(&Recipe::read(&Recipe::file(image.name()))?, path, name, packages)
        }
    }
}

fn server(path: &Path, name: &str, packages: &Packages, programs: &Programs) -> anyhow::Result<()> {
    let mut tree = Tree::root();
    packages.add(
        &mut tree,
        &["ca-certificates", "libc6", "libgcc-s1", "tzdata"],
        &["openssl", "libssl", "perl", "debconf", "libdebconf", "dpkg", "ucf"],
    )?;
    certificates(&mut tree)?;
    users(&mut tree, &[("jetbridge", 65532, "/var/lib/jetbridge")]);
    tree.directory("var/lib/jetbridge", 0o700);
    tree.owned("var/lib/jetbridge", 65532, 65532);
    tree.file("usr/bin/jetbridge", 0o755, programs.server.clone());
    let run = Run {
        user: SERVER_USER,
        env: &[("JETBRIDGE_STATE_DIR", "/var/lib/jetbridge")],
        entrypoint: &["/usr/bin/jetbridge"],
        cmd: &["web"],
        workdir: "/var/lib/jetbridge",
        ports: &[8080],
    };
    write_archive(path, name, &run, &tree)
}

/// Nothing but the programs, so that it can be mounted as a volume into any container.
fn runner(path: &Path, name: &str, programs: &Programs) -> anyhow::Result<()> {
    let mut tree = Tree::default();
    tree.file("jb-runner", 0o755, programs.runner.clone());
    if let Some(artifacts) = &programs.artifacts {
        tree.file("jb-artifacts", 0o755, artifacts.clone());
    }
    tree.file("jb-agent", 0o755, programs.agent.clone());
    let run = Run { user: SERVER_USER, entrypoint: &["/jb-runner"], ..Run::default() };
    write_archive(path, name, &run, &tree)
}

fn resources(
    path: &Path,
    name: &str,
    packages: &Packages,
    programs: &Programs,
) -> anyhow::Result<()> {
    let mut tree = Tree::root();
    packages.add(
        &mut tree,
        &["busybox-static", "ca-certificates", "git", "git-lfs", "gpg", "openssh-client"],
        WITHOUT,
    )?;
    certificates(&mut tree)?;
    busybox(&mut tree)?;
    let checks: Vec<(String, u64)> =
        (0..).zip(CHECK_USERS).map(|(n, id)| (format!("check-{n}"), id)).collect();
    let checks = checks.iter().map(|(name, id)| (name.as_str(), *id, "/tmp"));
    let own = [("resource", 65532, "/home/resource")];
    users(&mut tree, &own.into_iter().chain(checks).collect::<Vec<_>>());
    tree.directory("home/resource", 0o755);
    tree.owned("home/resource", 65532, 65532);
    tree.file("opt/resources/jb-resources", 0o755, programs.resources.clone());
    for kind in TYPES {
        let directory = format!("opt/resources/{kind}");
        tree.same("opt/resources/jb-resources", format!("{directory}/jb-resources"));
        tree.file(format!("{directory}/type"), 0o644, *kind);
        for script in ["check", "in", "out"] {
            tree.link(format!("{directory}/{script}"), "jb-resources");
        }
    }
    let run = Run { cmd: &["/bin/sh"], ..Run::default() };
    write_archive(path, name, &run, &tree)
}

fn postgres(path: &Path, name: &str, packages: &Packages) -> anyhow::Result<()> {
    let mut tree = Tree::root();
    packages.add(&mut tree, &["busybox-static", "postgresql", "tzdata"], WITHOUT)?;
    busybox(&mut tree)?;
    // Without its library, the just-in-time compiler must be absent, too: then nobody asks for it.
    tree.remove(|path| {
        path.file_name().is_some_and(|name| name == "llvmjit.so")
            || path.components().any(|part| part.as_os_str() == "bitcode")
    });
    // The programs of the one version that is there, under names that no version is in.
    let programs: Vec<String> = tree
        .below("usr/lib/postgresql")
        .filter(|path| path.parent().is_some_and(|directory| directory.ends_with("bin")))
        .map(|path| path.display().to_string())
        .collect();
    for program in programs {
        let name = program.rsplit('/').next().unwrap_or(&program);
        tree.link(format!("usr/bin/{name}"), &format!("/{program}"));
    }
    users(&mut tree, &[("postgres", POSTGRES_USER, "/var/lib/postgresql")]);
    for directory in ["var/lib/postgresql", "run/postgresql"] {
        tree.directory(directory, 0o700);
        tree.owned(directory, POSTGRES_USER, POSTGRES_USER);
    }
    tree.file("usr/bin/postgres-entrypoint", 0o755, include_str!("postgres-entrypoint.sh"));
    let run = Run {
        user: "999:999",
        env: &[("PGDATA", "/var/lib/postgresql/data")],
        entrypoint: &["/usr/bin/postgres-entrypoint"],
        workdir: "/var/lib/postgresql",
        ports: &[5432],
        ..Run::default()
    };
    write_archive(path, name, &run, &tree)
}

/// An image of steps: what its recipe says.
pub(super) fn steps(
    recipe: &Recipe,
    path: &Path,
    name: &str,
    packages: &Packages,
) -> anyhow::Result<()> {
    let mut tree = Tree::root();
    let wanted: Vec<&str> = recipe.packages.iter().map(String::as_str).collect();
    packages.add(&mut tree, &wanted, WITHOUT)?;
    certificates(&mut tree)?;
    busybox(&mut tree)?;
    users(&mut tree, &[("app", 1000, "/home/app")]);
    tree.directory("home/app", 0o755);
    tree.owned("home/app", 1000, 1000);
    if let Some(line) = recipe.command_line()? {
        let program = crate::harnesses::install(&line)?;
        let content =
            std::fs::read(&program).with_context(|| format!("read {}", program.display()))?;
        tree.file(format!("usr/local/bin/{}", line.program), 0o755, content);
    }
    let run = Run { cmd: &["/bin/sh"], ..Run::default() };
    write_archive(path, name, &run, &tree)
}

/// The names of root, nobody and of the image's own users: uid, gid and home.
pub(crate) fn users(tree: &mut Tree, own: &[(&str, u64, &str)]) {
    let mut passwd = String::from("root:x:0:0:root:/root:/bin/sh\n");
    let mut group = String::from("root:x:0:\n");
    for (name, id, home) in own {
        passwd.push_str(&format!("{name}:x:{id}:{id}:{name}:{home}:/bin/sh\n"));
        group.push_str(&format!("{name}:x:{id}:\n"));
    }
    passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    group.push_str("nogroup:x:65534:\n");
    tree.file("etc/passwd", 0o644, passwd);
    tree.file("etc/group", 0o644, group);
    tree.file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
}

/// The bundle of certificates that installing the package would have made.
fn certificates(tree: &mut Tree) -> anyhow::Result<()> {
    let source = "usr/share/ca-certificates";
    let mut bundle = Vec::new();
    for path in tree.below(source).filter(|path| path.extension().is_some_and(|ext| ext == "crt")) {
        bundle.extend_from_slice(tree.content(path).unwrap_or_default());
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    anyhow::ensure!(!bundle.is_empty(), "the package ca-certificates has none in {source}");
    tree.file("etc/ssl/certs/ca-certificates.crt", 0o644, bundle);
    Ok(())
}

/// The tools of busybox that images offer.
const APPLETS: &str = "
    awk basename cat chgrp chmod chown cp cut date dd df diff dirname du echo egrep env expr false find
    fgrep free grep gunzip gzip head hostname httpd id ip kill killall ln ls md5sum mkdir mkfifo mknod
    mktemp mount mv nc nproc nslookup od ping printf ps pwd readlink realpath rm rmdir sed seq sh
    sha256sum sleep sort stat stty sync tail tar tee test time timeout top touch tr true truncate tty
    umount uname uniq usleep vi wc wget which whoami xargs yes zcat [
";

/// Names for busybox's tools wherever no package brings a better one.
pub(crate) fn busybox(tree: &mut Tree) -> anyhow::Result<()> {
    anyhow::ensure!(tree.content("bin/busybox").is_some(), "the package busybox-static is missing");
    for applet in APPLETS.split_whitespace() {
        if !tree.has(format!("usr/bin/{applet}")) && !tree.has(format!("usr/sbin/{applet}")) {
            tree.link(format!("usr/bin/{applet}"), "busybox");
        }
    }
    Ok(())
}
