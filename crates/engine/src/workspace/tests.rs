#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::config::{TaskCache, TaskInput, TaskOutput};
use serde_json::json;

use super::*;

fn volume(name: &str) -> VolumeHandle {
    VolumeHandle::new(name)
}

#[test]
fn task_directory_is_the_hash_of_its_name() {
    // As recorded from a real server for the tasks `tried` and `f`.
    assert_eq!(task_dir("tried"), "/tmp/build/b90bc939");
    assert_eq!(task_dir("f"), "/tmp/build/252f10c8");
}

#[test]
fn paths_cannot_climb() {
    assert_eq!(clean_path("./a/../b//c"), "a/b/c");
    assert_eq!(clean_path("/x/./y"), "/x/y");
}

fn task() -> TaskConfig {
    TaskConfig {
        inputs: vec![
            TaskInput { name: "src".into(), path: String::new(), optional: false },
            TaskInput { name: "extra".into(), path: "src/extra".into(), optional: true },
        ],
        outputs: vec![
            TaskOutput { name: "src".into(), path: String::new() },
            TaskOutput { name: "out".into(), path: String::new() },
        ],
        caches: vec![TaskCache { path: "src/cache".into(), ttl: String::new() }],
        ..TaskConfig::default()
    }
}

#[test]
fn an_output_on_an_inputs_path_is_its_written_copy() {
    let names = VolumeNames { container: "c" };
    let mapping = BTreeMap::from([("src".to_owned(), "repo".to_owned())]);
    let layout = task_mounts(
        &task(),
        &mapping,
        &BTreeMap::new(),
        |name| (name == "repo").then(|| volume("v")),
        &names,
        |path| (path == "src/cache").then(|| volume("k")),
    )
    .unwrap();
    assert_eq!(
        layout.mounts,
        vec![
            Mount {
                path: "src".into(),
                source: MountSource::Input { volume: volume("v"), copy: Some(volume("c-o0")) }
            },
            Mount { path: "out".into(), source: MountSource::Output(volume("c-o1")) },
            Mount { path: "src/cache".into(), source: MountSource::Cache(volume("k")) },
        ]
    );
    assert_eq!(
        layout.outputs,
        vec![("src".to_owned(), volume("c-o0")), ("out".to_owned(), volume("c-o1"))]
    );
}

#[test]
fn missing_inputs_are_named_by_their_artifact() {
    let mapping = BTreeMap::from([("src".to_owned(), "repo".to_owned())]);
    let names = VolumeNames { container: "c" };
    let error =
        task_mounts(&task(), &mapping, &BTreeMap::new(), |_| None, &names, |_| None).unwrap_err();
    assert_eq!(error.to_string(), "missing inputs: repo");
}

#[test]
fn put_detects_artifacts_in_strings_lists_and_maps() {
    let artifacts: BTreeMap<String, VolumeHandle> =
        ["a", "b", "c", "d"].into_iter().map(|name| (name.to_owned(), volume(name))).collect();
    let params = json!({"x": "./a/file", "y": ["b"], "z": {"deep": ["../c/x"]}, "n": 4});
    let seen = put_inputs(&PutInputs::Detect, params.as_object().unwrap(), &artifacts).unwrap();
    assert_eq!(seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    let error = put_inputs(&PutInputs::Only(vec!["q".into()]), &Object::new(), &artifacts);
    assert_eq!(error.unwrap_err().to_string(), "missing inputs: q");
}
