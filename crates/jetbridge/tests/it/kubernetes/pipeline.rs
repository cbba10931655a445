//! A pipeline that does a little of everything, and says so.

/// Each step needs the API server, for its pod, its stream and its volumes.
pub const PIPELINE: &str = r#"
resources:
- {name: source, type: mock, check_every: never, source: {initial_version: "1", create_files: {lines: "250"}}}
- {name: release, type: mock, check_every: never, source: {no_initial_version: true}}
jobs:
- name: all
  plan:
  - get: source
  - task: count
    config:
      platform: linux
      inputs: [{name: source}]
      outputs: [{name: built}]
      run: {path: sh, args: [-ec, 'for n in $(seq $(cat source/lines)); do echo line $n; sleep 0.02; done; printf 7 > built/version']}
  - {put: release, params: {file: built/version}, inputs: [built]}
  - task: look
    config:
      platform: linux
      inputs: [{name: built}, {name: release}]
      run: {path: sh, args: [-ec, 'echo looked at $(cat built/version release/version)']}
"#;

/// What tasks said in a build of [`PIPELINE`].
pub fn assert_whole(log: &str) {
    let said = log.lines().filter(|line| line.starts_with("line ") || line.starts_with("looked"));
    let expected = (1..=250).map(|n| format!("line {n}")).chain(["looked at 77".to_owned()]);
    assert!(said.eq(expected), "{log}");
}
