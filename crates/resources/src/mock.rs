//! `mock`: a resource type without an outside world, for trying pipelines and for tests.

mod mirror;

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use jb_model::script::Fields;
use serde_json::{Map, Value, json};

use crate::invocation::Action;
use crate::log::Log;
use crate::payload::Payload;

const SOURCE_KEYS: &[&str] = &[
    "mirror_self",
    "initial_version",
    "no_initial_version",
    "force_version",
    "create_files",
    "check_delay",
    "check_failure",
    "metadata",
    "log",
];
const GET_KEYS: &[&str] = &["mirror_self_via_params", "create_files_via_params"];
const PUT_KEYS: &[&str] = &["version", "print_env", "file"];

/// A version read from a file is at most this long.
const MAX_VERSION_BYTES: u64 = 1 << 20;

pub(crate) fn run(action: &Action, payload: &Payload, log: &Log) -> anyhow::Result<Value> {
    let source = payload.source()?;
    log.ignored_keys(&source.unknown(SOURCE_KEYS));
    if let Some(message) = source.filled("log")? {
        log.info(&message);
    }
    match action {
        Action::Check => check(&source, payload),
        Action::In(dir) => fetch(&source, payload, dir, log),
        Action::Out(dir) => push(&source, payload, dir, log),
    }
}

fn check(source: &Fields<'_>, payload: &Payload) -> anyhow::Result<Value> {
    if let Some(delay) = source.filled("check_delay")? {
        let delay = jb_model::duration::parse(&delay)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("malformed check_delay duration ({delay})"))?;
        std::thread::sleep(delay);
    }
    if let Some(message) = source.filled("check_failure")? {
        bail!("intentionally failing to check: {message}");
    }
    let initial = || -> anyhow::Result<String> {
        let mirrored =
            || std::env::var("MIRRORED_VERSION").ok().filter(|version| !version.is_empty());
        let chosen = source.filled("initial_version")?.or_else(mirrored);
        Ok(chosen.unwrap_or_else(|| "mock".to_owned()))
    };
    let given = payload.version()?;
    let versions = if let Some(version) = source.filled("force_version")? {
        vec![marked(json!({"version": version}), is_privileged()?)]
    } else if !given.is_empty() {
        let version = given.text("version")?.unwrap_or_default();
        let privileged = is_privileged()? || given.text("privileged")?.as_deref() == Some("true");
        vec![marked(json!({"version": version}), privileged)]
    } else if !source.flag("no_initial_version", false)? {
        vec![marked(json!({"version": initial()?}), is_privileged()?)]
    } else {
        Vec::new()
    };
    Ok(Value::Array(versions))
}

fn fetch(source: &Fields<'_>, payload: &Payload, dest: &Path, log: &Log) -> anyhow::Result<Value> {
    let params = payload.params()?;
    log.ignored_keys(&params.unknown(GET_KEYS));
    let given = payload.version()?;
    let version = given.text("version")?.context("version.version: missing")?;
    let metadata = metadata(source)?;
    let via_params = params.flag("mirror_self_via_params", false)?;
    let mirror = source.flag("mirror_self", false)? || via_params;
    let mut files = Map::new();
    for from in [source.map("create_files")?, params.map("create_files_via_params")?] {
        files
            .extend(from.keys().filter_map(|key| Some((key.to_owned(), from.value(key)?.clone()))));
    }
    let files: Vec<(PathBuf, String)> = files
        .iter()
        .map(|(name, content)| Ok((contained(dest, name)?, file_content(content))))
        .collect::<anyhow::Result<_>>()?;

    let privileged = is_privileged()?;
    if privileged {
        log.info("fetching in a privileged container");
    }
    std::fs::create_dir_all(dest)
        .with_context(|| format!("failed to create {}", dest.display()))?;
    write(&dest.join("privileged"), &format!("{privileged}\n"))?;
    log.info(&format!("fetching version: {version}"));
    write(&dest.join("version"), &format!("{version}\n"))?;
    if mirror {
        log.info_with(
            "mirroring self image",
            &[("via_params", if via_params { "true" } else { "false" })],
        );
        mirror::image(Path::new("/"), dest, &version)?;
    }
    for (path, content) in files {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("failed to create directory {}", parent.display()))?;
        }
        write(&path, &content)?;
    }
    let mut echoed = json!({"version": version});
    if let Some(privileged) = given.filled("privileged")? {
        echoed["privileged"] = Value::String(privileged);
    }
    Ok(json!({"version": echoed, "metadata": metadata}))
}

fn push(source: &Fields<'_>, payload: &Payload, dir: &Path, log: &Log) -> anyhow::Result<Value> {
    let params = payload.params()?;
    log.ignored_keys(&params.unknown(PUT_KEYS));
    let version = match (params.filled("version")?, params.filled("file")?) {
        (Some(version), _) => version,
        (None, Some(file)) => read_version(&dir.join(&file))
            .with_context(|| format!("error reading version from file {file}"))?,
        (None, None) => bail!("no version specified: set params.version or params.file"),
    };
    let metadata = metadata(source)?;
    let privileged = is_privileged()?;
    if privileged {
        log.info("pushing in a privileged container");
    }
    log.info(&format!("pushing version: {version}"));
    if params.flag("print_env", false)? {
        for (name, value) in std::env::vars_os() {
            log.info(&format!("env: {}={}", name.to_string_lossy(), value.to_string_lossy()));
        }
    }
    Ok(json!({"version": marked(json!({"version": version}), privileged), "metadata": metadata}))
}

fn read_version(path: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_VERSION_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn metadata(source: &Fields<'_>) -> anyhow::Result<Value> {
    if source.value("metadata").is_none() {
        return Ok(Value::Null);
    }
    let pairs = source.maps("metadata")?.into_iter().map(|pair| {
        let (name, value) = (pair.text("name")?, pair.text("value")?);
        Ok(json!({"name": name.unwrap_or_default(), "value": value.unwrap_or_default()}))
    });
    pairs.collect::<anyhow::Result<Vec<_>>>().map(Value::Array)
}

/// A string as it stands, anything else as JSON. `START_VAR` and `END_VAR` become `((` and `))`, so that a pipeline
/// can create a file with variables in it that are not interpolated in the pipeline itself.
fn file_content(content: &Value) -> String {
    let text = match content {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.replace("START_VAR", "((").replace("END_VAR", "))")
}

/// `name` under `dest`; a name that would leave `dest` is refused.
fn contained(dest: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let mut path = dest.to_path_buf();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                bail!("create_files: {name:?} would be written outside the resource's directory")
            }
        }
    }
    if path == dest {
        bail!("create_files: {name:?} is not a file name");
    }
    Ok(path)
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    std::fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}

fn marked(mut version: Value, privileged: bool) -> Value {
    if privileged {
        version["privileged"] = json!("true");
    }
    version
}

fn is_privileged() -> anyhow::Result<bool> {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .with_context(|| format!("could not check privilege: failed to read {path}"))
    };
    Ok(privileged(&read("/proc/self/uid_map")?, &read("/proc/self/status")?))
}

/// A container is privileged when its root is the machine's root and may administrate it. The map alone does not
/// tell: runtimes without user namespaces map root to root in every container, and only drop its capabilities.
fn privileged(uid_map: &str, status: &str) -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let root_is_root = uid_map.lines().any(|line| {
        let mut columns = line.split_whitespace();
        columns.next() == Some("0") && columns.next() == Some("0")
    });
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    root_is_root && effective & (1 << CAP_SYS_ADMIN) != 0
}

#[cfg(test)]
mod tests;
