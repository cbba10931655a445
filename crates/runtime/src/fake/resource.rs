//! Resource types as closures, and `mock`, which is scripted by its own source and params.

use std::collections::BTreeMap;
use std::sync::Arc;

use jb_runner_protocol::{ProcessSpec, Stream};
use serde_json::{Map, Value, json};

use super::files::absolute;
use super::process::{Exit, Program, Stop};
use crate::{BaseType, Image};

/// Where an image's volume says which type's scripts it holds.
const TYPE_FILE: &str = "rootfs/etc/resource-type";

/// `check`, `in` or `out`: gives what it prints, or why it fails.
pub type Script = Arc<dyn Fn(&mut Invocation) -> Result<Value, String> + Send + Sync>;

/// A resource type of a fake runtime.
#[derive(Clone)]
pub struct ResourceType {
    pub base: BaseType,
    pub check: Script,
    pub fetch: Script,
    pub push: Script,
}

/// One call of a script.
#[derive(Debug, Default)]
pub struct Invocation {
    /// What came on standard input.
    pub request: Value,
    pub env: BTreeMap<String, String>,
    /// Lines for its log.
    pub log: Vec<String>,
    /// What it prints instead of its result, be it JSON or not.
    pub prints: Option<Vec<u8>>,
    /// Files to write below the directory that `in` fills.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Every file that `out` sees, by its path below its directory.
    pub seen: BTreeMap<String, Vec<u8>>,
}

impl Invocation {
    /// A field of the source.
    pub fn source(&self, key: &str) -> &Value {
        &self.request["source"][key]
    }

    pub fn param(&self, key: &str) -> &Value {
        &self.request["params"][key]
    }

    fn version(&self) -> Option<&str> {
        self.request["version"]["version"].as_str()
    }
}

/// `mock`, with these fields of Concourse's: in `source` `initial_version`, `no_initial_version`, `force_version`,
/// `check_failure`, `create_files`, `metadata`, `mirror_self`; for a `get` `create_files_via_params`; for a `put` `version`,
/// `file`, `print_env`. Besides, `versions` lists what a check finds. On every script: `sleep` in source or params
/// waits to be released, `exit` in params gives the status to end with.
pub fn mock() -> ResourceType {
    ResourceType {
        base: BaseType {
            name: "mock".to_owned(),
            version: "fake".to_owned(),
            privileged: false,
            unique_version_history: false,
        },
        check: Arc::new(check),
        fetch: Arc::new(fetch),
        push: Arc::new(push),
    }
}

fn check(call: &mut Invocation) -> Result<Value, String> {
    if let Some(failure) = call.source("check_failure").as_str() {
        return Err(format!("intentionally failing to check: {failure}"));
    }
    let version = |version: &Value| json!({"version": version});
    if let Some(forced) = Some(call.source("force_version")).filter(|forced| !forced.is_null()) {
        return Ok(json!([version(forced)]));
    }
    if let Some(versions) = call.source("versions").as_array() {
        let known = versions.iter().position(|listed| listed.as_str() == call.version());
        return Ok(versions.iter().skip(known.unwrap_or(0)).map(version).collect());
    }
    if let Some(given) = call.version() {
        return Ok(json!([{"version": given}]));
    }
    if call.source("no_initial_version").as_bool() == Some(true) {
        return Ok(json!([]));
    }
    let initial = call.source("initial_version");
    Ok(json!([if initial.is_null() { json!({"version": "mock"}) } else { version(initial) }]))
}

fn fetch(call: &mut Invocation) -> Result<Value, String> {
    let version = call.version().ok_or("version.version: missing")?.to_owned();
    call.log.push(format!("fetching version: {version}"));
    call.files.insert("version".to_owned(), format!("{version}\n").into_bytes());
    if call.source("mirror_self").as_bool() == Some(true) {
        call.log.push("mirroring self image".to_owned());
        call.files.insert("metadata.json".to_owned(), br#"{"env":["IMAGE=mirrored"]}"#.to_vec());
        call.files.insert(TYPE_FILE.to_owned(), b"mock".to_vec());
    }
    let none = Map::new();
    let created = [call.source("create_files"), call.param("create_files_via_params")]
        .into_iter()
        .flat_map(|files| files.as_object().unwrap_or(&none))
        .map(|(name, content)| {
            // So a pipeline can hold a file with vars that are not its own.
            let text = content.as_str().unwrap_or_default();
            (name.clone(), text.replace("START_VAR", "((").replace("END_VAR", "))").into())
        })
        .collect::<Vec<(String, Vec<u8>)>>();
    call.files.extend(created);
    Ok(json!({"version": {"version": version}, "metadata": call.source("metadata")}))
}

fn push(call: &mut Invocation) -> Result<Value, String> {
    let version = match (call.param("version").as_str(), call.param("file").as_str()) {
        (Some(version), _) => version.to_owned(),
        (None, Some(file)) => {
            let content = call.seen.get(file);
            let content =
                content.ok_or_else(|| format!("error reading version from file {file}"))?;
            String::from_utf8_lossy(content).into_owned()
        }
        (None, None) => return Err("no version specified".to_owned()),
    };
    call.log.push(format!("pushing version: {version}"));
    if call.param("print_env").as_bool() == Some(true) {
        call.log.extend(call.env.iter().map(|(name, value)| format!("env: {name}={value}")));
    }
    Ok(json!({"version": {"version": version}, "metadata": call.source("metadata")}))
}

pub(super) fn is_script(path: &str) -> bool {
    path.starts_with("/opt/resource/")
}

/// Runs a script in its container.
pub(super) async fn run(program: &Program, spec: &ProcessSpec) -> Result<Exit, Stop> {
    let input = program.input().await?;
    let request: Value = serde_json::from_slice(&input).unwrap_or(Value::Null);
    let mut call =
        Invocation { request, env: spec.env.iter().cloned().collect(), ..Invocation::default() };
    for place in [call.source("sleep"), call.param("sleep")] {
        if let Some(name) = place.as_str() {
            program.write(Stream::Stderr, format!("sleeping: {name}\n").as_bytes());
            program.sleep(name, false).await?;
        }
    }
    let Some(kind) = type_of(program) else {
        program.write(Stream::Stderr, b"this image holds no resource type\n");
        return Ok(Exit::status(127));
    };
    let dir = spec.args.first().cloned().unwrap_or_default();
    let script = match spec.path.rsplit('/').next() {
        Some("check") => &kind.check,
        Some("in") => &kind.fetch,
        _ => {
            call.seen = files_below(program, &dir, "");
            &kind.push
        }
    };
    let printed = script(&mut call);
    program.take_signal(false)?;
    for (path, content) in std::mem::take(&mut call.files) {
        program.write_file(&absolute(&dir, &path), content);
    }
    for line in &call.log {
        program.write(Stream::Stderr, format!("{line}\n").as_bytes());
    }
    match printed {
        Ok(printed) => {
            let printed = call.prints.take().unwrap_or_else(|| printed.to_string().into_bytes());
            program.write(Stream::Stdout, &printed);
            let status = call.param("exit").as_i64().and_then(|status| i32::try_from(status).ok());
            Ok(Exit::status(status.unwrap_or(0)))
        }
        Err(why) => {
            program.write(Stream::Stderr, format!("{why}\n").as_bytes());
            Ok(Exit::status(1))
        }
    }
}

fn type_of(program: &Program) -> Option<ResourceType> {
    let state = program.inner.lock();
    let name = match &state.containers.get(&program.container)?.spec.image {
        Image::BaseType(name) => name.clone(),
        Image::Volume(volume) => {
            String::from_utf8(state.volumes.get(volume)?.read(TYPE_FILE)?.to_vec()).ok()?
        }
        Image::Host => return None,
    };
    program.inner.types.get(&name).cloned()
}

fn files_below(program: &Program, dir: &str, below: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in program.list_dir(&absolute(dir, below)).unwrap_or_default() {
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        match program.read(&absolute(dir, &path)) {
            Some(content) => drop(found.insert(path, content)),
            None => found.extend(files_below(program, dir, &path)),
        }
    }
    found
}
