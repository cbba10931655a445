use std::fs;

use serde_json::json;

use crate::script::Scripts;

/// Tests may themselves run in a privileged container; what that adds is taken off.
fn unprivileged(mut value: serde_json::Value) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Array(items) => {
            for item in items {
                item.as_object_mut().unwrap().remove("privileged");
            }
        }
        other => {
            if let Some(version) = other["version"].as_object_mut() {
                version.remove("privileged");
            }
        }
    }
    value
}

#[test]
fn check_returns_the_initial_the_forced_or_the_given_version() {
    let scripts = Scripts::new();
    let check = |request| unprivileged(scripts.check("mock", &request).json());
    assert_eq!(check(json!({})), json!([{"version": "mock"}]));
    assert_eq!(check(json!({"source": {"initial_version": "v1"}})), json!([{"version": "v1"}]));
    assert_eq!(check(json!({"source": {"no_initial_version": true}, "version": null})), json!([]));
    let given = json!({"source": {"no_initial_version": true}, "version": {"version": "v2"}});
    assert_eq!(check(given), json!([{"version": "v2"}]));
    let forced = json!({"source": {"force_version": "v3"}, "version": {"version": "v2"}});
    assert_eq!(check(forced), json!([{"version": "v3"}]));
    let mirrored = Scripts::new().env("MIRRORED_VERSION", "m1");
    assert_eq!(unprivileged(mirrored.check("mock", &json!({})).json()), json!([{"version": "m1"}]));
}

#[test]
fn check_can_wait_and_fail_on_demand() {
    let failing =
        json!({"source": {"check_delay": "1ms", "check_failure": "as asked", "log": "hello"}});
    let ended = Scripts::new().check("mock", &failing);
    assert_eq!(ended.failure(), "intentionally failing to check: as asked");
    assert!(ended.stderr.starts_with("\u{1b}[36mINFO\u{1b}[0m[0000] hello "), "{}", ended.stderr);
    let malformed = json!({"source": {"check_delay": "soon"}});
    assert!(
        Scripts::new()
            .check("mock", &malformed)
            .failure()
            .starts_with("malformed check_delay duration (soon)")
    );
}

#[test]
fn in_writes_the_version_and_files_and_logs_as_upstream() {
    let scripts = Scripts::new();
    let dest = scripts.path("get");
    let request = json!({
        "source": {
            "create_files": {"a.txt": "hello\n", "dir/b.json": {"x": 1}, "c": "source"},
            "metadata": [{"name": "author", "value": "someone"}],
        },
        "params": {"create_files_via_params": {"c": "params START_VARx END_VAR"}},
        "version": {"version": "v1"},
    });
    let ended = scripts.fetch("mock", &dest, &request);
    assert_eq!(
        ended.json(),
        json!({"version": {"version": "v1"}, "metadata": [{"name": "author", "value": "someone"}]})
    );
    let recorded = "\u{1b}[36mINFO\u{1b}[0m[0000] fetching version: v1                         \n";
    assert!(ended.stderr.ends_with(recorded), "{:?}", ended.stderr);
    let read = |name: &str| fs::read_to_string(dest.join(name)).unwrap();
    assert_eq!(read("version"), "v1\n");
    assert_eq!(read("a.txt"), "hello\n");
    assert_eq!(read("dir/b.json"), r#"{"x":1}"#);
    assert_eq!(read("c"), "params ((x ))");
    assert!(["true\n", "false\n"].contains(&read("privileged").as_str()));
}

#[test]
fn in_refuses_files_outside_its_directory() {
    let scripts = Scripts::new();
    let request =
        json!({"source": {"create_files": {"../out": "x"}}, "version": {"version": "v1"}});
    let ended = scripts.fetch("mock", &scripts.path("get"), &request);
    assert!(ended.failure().contains("\"../out\""), "{ended:?}");
    assert!(!scripts.path("out").exists());
}

#[test]
fn out_takes_its_version_from_params_or_a_file() {
    let scripts = Scripts::new();
    let push = |params| scripts.push("mock", scripts.dir.path(), &json!({"params": params}));
    let ended = push(json!({"version": "o1"}));
    assert_eq!(unprivileged(ended.json()), json!({"version": {"version": "o1"}, "metadata": null}));
    let recorded = "\u{1b}[36mINFO\u{1b}[0m[0000] pushing version: o1                          \n";
    assert!(ended.stderr.ends_with(recorded), "{:?}", ended.stderr);
    fs::create_dir(scripts.path("dir")).unwrap();
    fs::write(scripts.path("dir/version"), "from file").unwrap();
    assert_eq!(push(json!({"file": "dir/version"})).json()["version"]["version"], "from file");
    assert_eq!(
        push(json!({})).failure(),
        "no version specified: set params.version or params.file"
    );
    assert!(
        push(json!({"file": "nosuch"}))
            .failure()
            .starts_with("error reading version from file nosuch")
    );
    let ended = Scripts::new().env("SOME_VARIABLE", "some value");
    let ended = ended.push(
        "mock",
        std::path::Path::new("/"),
        &json!({"params": {"version": "v", "print_env": true}}),
    );
    assert!(ended.stderr.contains("] env: SOME_VARIABLE=some value "), "{}", ended.stderr);
}
