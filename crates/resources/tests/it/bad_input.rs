use serde_json::json;

use crate::script::{BINARY, Scripts};

#[test]
fn a_request_that_is_not_json_is_refused() {
    for kind in ["git", "time", "registry-image", "mock"] {
        let ended = Scripts::new().run(&[kind, "check"], "{oops");
        assert!(
            ended.failure().starts_with("invalid payload: stdin is not a JSON request"),
            "{kind}: {ended:?}"
        );
        let ended = Scripts::new().run(&[kind, "check"], "[]");
        assert!(
            ended.failure().starts_with("invalid payload: stdin must be a JSON object"),
            "{kind}: {ended:?}"
        );
        let ended = Scripts::new().run(&[kind, "check"], r#"{"source": 5}"#);
        assert_eq!(ended.failure(), "source: expected a map, got a number", "{kind}");
    }
}

#[test]
fn an_unknown_type_script_or_missing_directory_is_refused() {
    assert!(
        Scripts::new()
            .run(&["hg", "check"], "{}")
            .failure()
            .contains("unknown resource type \"hg\"")
    );
    assert!(
        Scripts::new().run(&["git", "chek"], "{}").failure().contains("unknown script \"chek\"")
    );
    assert_eq!(Scripts::new().run(&["git", "in"], "{}").failure(), "in needs a directory argument");
}

#[test]
fn unknown_keys_are_pointed_out_but_do_not_fail() {
    let ended = Scripts::new().check("mock", &json!({"source": {"initial_versoin": "x"}}));
    assert_eq!(ended.json()[0]["version"], "mock");
    assert!(
        ended.stderr.contains("ignoring unknown keys: source.initial_versoin"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_installed_script_takes_its_type_from_the_file_beside_it() {
    let scripts = Scripts::new();
    let opt = scripts.path("opt/resource");
    std::fs::create_dir_all(&opt).unwrap();
    std::fs::write(opt.join("type"), "mock\n").unwrap();
    for name in ["check", "in", "out"] {
        std::os::unix::fs::symlink(BINARY, opt.join(name)).unwrap();
    }
    assert_eq!(scripts.run_as(&opt.join("check"), &[], "{}").json()[0]["version"], "mock");
    let request = json!({"version": {"version": "v1"}}).to_string();
    let dest = scripts.path("get");
    let got = scripts.run_as(&opt.join("in"), &[dest.to_str().unwrap()], &request).json();
    assert_eq!(got["version"]["version"], "v1");
    assert_eq!(std::fs::read_to_string(dest.join("version")).unwrap(), "v1\n");
}

#[test]
fn the_type_may_come_from_the_environment() {
    let scripts = Scripts::new();
    let check = scripts.path("check");
    std::os::unix::fs::symlink(BINARY, &check).unwrap();
    assert!(scripts.run_as(&check, &[], "{}").failure().contains("JETBRIDGE_RESOURCE_TYPE"));
    let scripts = scripts.env("JETBRIDGE_RESOURCE_TYPE", "time");
    assert!(scripts.run_as(&check, &[], "{}").json()[0]["time"].is_string());
}
