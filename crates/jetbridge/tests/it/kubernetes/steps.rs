//! What steps may ask for, at each Pod Security level.

use super::Place;
use crate::api::Api;
use crate::hijack;

const STEPS: &str = r#"
resources:
- {name: source, type: mock, source: {initial_version: "1", create_files: {a: from-source}}}
jobs:
- name: number
  plan: [{task: t, config: {platform: linux, outputs: [{name: o}], run: {path: sh, user: "1234", args: [-ec, 'id -u; touch o/f; stat -c %u o/f']}}}]
- name: named
  plan: [{task: t, config: {platform: linux, run: {path: sh, user: nobody, args: [-ec, 'id -un']}}}]
- name: root
  plan: [{task: t, config: {platform: linux, run: {path: sh, user: root, args: [-ec, 'id -u']}}}]
- name: privileged
  plan: [{task: t, privileged: true, config: {platform: linux, run: {path: sh, args: [-ec, 'mount -t tmpfs none /tmp; echo mounted']}}}]
- name: nested
  plan:
  - get: source
  - task: make
    config:
      platform: linux
      inputs: [{name: source}, {name: source, path: source/in/side}]
      outputs: [{name: out, path: source/in/side/out}]
      run: {path: sh, args: [-ec, 'cp source/a source/in/side/a2; cat source/in/side/a; echo; cat source/a source/in/side/a2 > source/in/side/out/both']}
  - {task: look, config: {platform: linux, inputs: [{name: out}], run: {path: cat, args: [out/both]}}}
- name: open
  plan: [{task: t, config: {platform: linux, run: &reach {path: bash, args: [-c, 'if timeout 5 bash -c "</dev/tcp/$KUBERNETES_SERVICE/443"; then echo reached; else echo alone; fi']}, params: &api {KUBERNETES_SERVICE: 10.96.0.1}}}]
- name: hermetic
  plan: [{task: t, hermetic: true, config: {platform: linux, run: *reach, params: *api}}]
- name: slow
  plan: [{task: t, timeout: 2s, config: {platform: linux, run: {path: sh, args: [-c, 'echo begun; sleep 1000']}}}]
- name: stubborn
  plan: [{task: t, config: {platform: linux, run: {path: sh, args: [-c, "trap 'echo asked' TERM; echo begun; while true; do sleep 1; done"]}}}]
- name: built
  plan:
  - task: build
    config:
      platform: linux
      outputs: [{name: image}]
      run:
        path: sh
        args:
        - -ec
        - |
          mkdir -p image/rootfs/bin image/rootfs/etc image/rootfs/dev image/rootfs/tmp
          cp /bin/busybox image/rootfs/bin/busybox
          for tool in sh cat ls id ps; do ln -s busybox image/rootfs/bin/$tool; done
          echo 'root:x:0:0::/:/bin/sh' > image/rootfs/etc/passwd
          echo 'app:x:700:700::/:/bin/sh' >> image/rootfs/etc/passwd
          echo built > image/rootfs/etc/release
          echo '{"env": ["FROM=image"]}' > image/metadata.json
  - task: run
    image: image
    config:
      platform: linux
      inputs: [{name: image}]
      outputs: [{name: made}]
      run: {path: sh, args: [-ec, 'cat /etc/release; echo $FROM; ls -1 /bin; ps >/dev/null; cat /proc/self/comm; echo from-it > made/f; ls -1 image']}
  - task: as
    image: image
    config: {platform: linux, run: {path: id, user: app, args: [-u]}}
  - {task: look, config: {platform: linux, inputs: [{name: made}], run: {path: cat, args: [made/f]}}}
"#;

async fn at(level: &str) -> Option<(Place, Api)> {
    let place = Place::start(level).await?;
    let api = place.login().await;
    api.set_pipeline("p", STEPS).await;
    Some((place, api))
}

/// How a job's build ends.
async fn ended(api: &Api, job: &str) -> (String, String) {
    api.ended(api.trigger("p", job).await).await
}

async fn succeeded(api: &Api, job: &str) -> String {
    api.succeeded(api.trigger("p", job).await).await
}

/// What was made of nothing runs; returns what the task that names a user came to.
async fn runs_an_image_that_is_an_artifact(api: &Api) -> (String, String) {
    let (status, log) = ended(api, "built").await;
    let began = "built\r\nimage\r\nbusybox\r\ncat\r\nid\r\nls\r\nps\r\nsh\r\ncat\r\nmetadata.json\r\nrootfs\r\n";
    let rest = log.strip_prefix(began);
    (status, rest.unwrap_or_else(|| panic!("{log}")).to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_where_pods_are_restricted() {
    let Some((place, api)) = at("restricted").await else { return };
    let (number, root, nested, named, privileged, built) = tokio::join!(
        succeeded(&api, "number"),
        succeeded(&api, "root"),
        succeeded(&api, "nested"),
        ended(&api, "named"),
        ended(&api, "privileged"),
        runs_an_image_that_is_an_artifact(&api),
    );
    assert_eq!(number, "1234\r\n1234\r\n");
    assert_eq!(root, "0\r\n");
    assert!(
        nested.contains("from-source\r\n") && nested.ends_with("from-sourcefrom-source"),
        "{nested}"
    );
    for (status, log) in [&named, &privileged, &built] {
        assert_eq!(status, "errored", "{log}");
        assert!(log.contains("--kubernetes-pod-security"), "{log}");
    }
    drop(place);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_at_the_baseline() {
    let Some((place, api)) = at("baseline").await else { return };
    let (named, root, privileged, built) = tokio::join!(
        succeeded(&api, "named"),
        succeeded(&api, "root"),
        ended(&api, "privileged"),
        runs_an_image_that_is_an_artifact(&api),
    );
    assert_eq!((named.as_str(), root.as_str()), ("nobody\r\n", "0\r\n"));
    assert_eq!(privileged.0, "errored");
    assert!(privileged.1.contains("which is `baseline`"), "{}", privileged.1);
    assert_eq!(built, ("succeeded".to_owned(), "700\r\nfrom-it\r\n".to_owned()));
    drop(place);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_may_be_privileged() {
    let Some((place, api)) = at("privileged").await else { return };
    let (privileged, looked, resized) = tokio::join!(
        succeeded(&api, "privileged"),
        hijack::looks_into_a_failed_step(&api),
        hijack::changes_a_terminals_size(&api),
    );
    let () = looked;
    let () = resized;
    assert_eq!(privileged, "mounted\r\n");
    drop(place);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_are_stopped() {
    let Some((place, api)) = at("restricted").await else { return };
    let stubborn = async {
        let build = api.trigger("p", "stubborn").await;
        api.events_until(build, None, |said| said.contains("begun")).await;
        api.put(&format!("/builds/{build}/abort")).await;
        api.ended(build).await
    };
    let (stubborn, slow, looked, resized) = tokio::join!(
        stubborn,
        ended(&api, "slow"),
        hijack::looks_into_a_failed_step(&api),
        hijack::changes_a_terminals_size(&api),
    );
    let () = looked;
    let () = resized;
    assert_eq!(stubborn.0, "aborted");
    assert!(stubborn.1.contains("begun\r\n") && stubborn.1.contains("asked\r\n"), "{}", stubborn.1);
    assert_eq!(slow.0, "failed");
    assert!(slow.1.contains("begun") && slow.1.contains("timeout exceeded"), "{}", slow.1);
    drop(place);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hermetic_step_reaches_nothing() {
    if std::env::var("JETBRIDGE_CLUSTER_NETWORK_POLICY").is_ok_and(|policy| policy == "stored") {
        eprintln!("SKIPPED: this cluster does not enforce NetworkPolicies");
        return;
    }
    let Some((place, api)) = at("restricted").await else { return };
    let (open, hermetic) = tokio::join!(succeeded(&api, "open"), succeeded(&api, "hermetic"));
    assert_eq!((open.as_str(), hermetic.as_str()), ("reached\r\n", "alone\r\n"));
    drop(place);
}
