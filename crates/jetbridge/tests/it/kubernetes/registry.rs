//! Images that nodes pull from a registry.

use std::path::{Path, PathBuf};

use jb_oci::{Credentials, Options};
use serde_json::json;

use super::Place;
use crate::api::Api;
use crate::docker_registry::Registry;
use crate::image::{Contents, Layer, shell};

/// A registry on this machine that the cluster's nodes pull from.
pub struct Reached {
    pub registry: Registry,
    /// What nodes are told of it.
    told: PathBuf,
    login: Option<Credentials>,
}

impl Reached {
    /// None, said aloud, where nodes could not reach it.
    pub fn start(wants_login: bool) -> Option<Self> {
        let told = |name: &str| std::env::var(format!("JETBRIDGE_CLUSTER_{name}")).ok();
        let Some((address, registries)) = told("HOST").zip(told("REGISTRIES")) else {
            eprintln!("SKIPPED: only nodes of the tests' own cluster pull from this machine");
            return None;
        };
        let registry = Registry::start_at(address.parse().unwrap(), wants_login)?;
        let told = Path::new(&registries).join(registry.host());
        let login = wants_login
            .then(|| Credentials { username: "someone".into(), password: "s3cret".into() });
        let reached = Self { registry, told, login };
        reached.tell_nodes();
        Some(reached)
    }

    /// Nodes speak to it without TLS.
    fn tell_nodes(&self) {
        std::fs::create_dir_all(&self.told).unwrap();
        let server = format!("server = \"http://{}\"\n", self.registry.host());
        std::fs::write(self.told.join("hosts.toml"), server).unwrap();
    }

    /// Nodes know nothing of it any more, and take it for one with TLS.
    fn untell_nodes(&self) {
        let _ = std::fs::remove_dir_all(&self.told);
    }

    /// Pushes an image that has a shell and one more layer; returns its name by digest.
    pub async fn push(&self, repository: &str, layer: Layer) -> String {
        let contents = Contents::default();
        let digest = contents.image(&[&shell().done(), &layer.done()]);
        let options =
            Options { insecure: true, credentials: self.login.clone(), ..Options::default() };
        let registry = jb_oci::Registry::connect(&self.registry.host(), options).await.unwrap();
        contents.push(&registry, repository, "v1").await;
        format!("{}@{digest}", self.registry.name(repository))
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        self.untell_nodes();
    }
}

async fn run(api: &Api, job: &str) -> (String, String) {
    api.ended(api.trigger("p", job).await).await
}

/// The scripts of a resource type, of which `in` keeps what it was asked.
fn scripts() -> Layer {
    let script = |layer: Layer, name: &str, text: &str| {
        let text = format!("#!/bin/sh\nset -e\n{text}\n");
        layer.bytes(&format!("opt/resource/{name}"), text.as_bytes(), 0o755, 0)
    };
    let check = r#"echo checking >&2; echo '[{"n": "1"}]'"#;
    let get = r#"cat > "$1/asked"; echo '{"version": {"n": "1"}}'"#;
    let put = r#"cat "$1/made/f" >&2; echo '{"version": {"n": "2"}}'"#;
    let layer = script(Layer::new(), "check", check);
    script(script(layer, "in", get), "out", put)
}

const PUBLIC: &str = r#"
resource_types:
- {name: custom, type: registry-image, source: {repository: REGISTRY/custom, tag: v1, insecure: true}}
resources:
- {name: image, type: registry-image, check_every: never, source: &app {repository: REGISTRY/app, tag: v1, insecure: true}}
- {name: thing, type: custom, check_every: never, source: {of: pipeline}}
jobs:
- name: resolved
  plan: [{task: t, config: {platform: linux, image_resource: {type: registry-image, source: *app}, run: {path: sh, args: [-c, 'cat /hello; exit 3']}}}]
- name: got
  plan:
  - get: image
  - {task: on-it, image: image, config: {platform: linux, run: {path: cat, args: [/hello]}}}
  - {task: look, config: {platform: linux, inputs: [{name: image}], run: {path: sh, args: [-ec, 'cat image/rootfs/hello; ls -1 image']}}}
- name: custom
  plan:
  - get: thing
  - {task: make, config: {platform: linux, inputs: [{name: thing}], outputs: [{name: made}], run: {path: sh, args: [-ec, 'cat thing/asked; echo from-task > made/f']}}}
  - {put: thing, params: {file: made/f}}
- name: no-tag
  plan: [{task: t, config: {platform: linux, image_resource: {type: registry-image, source: {<<: *app, tag: none}}, run: {path: never}}}]
- name: no-digest
  plan: [{task: t, config: {platform: linux, image_resource: {type: registry-image, source: *app, version: {tag: v1, digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}}, run: {path: never}}}]
- name: mirrored
  plan: [{task: t, config: {platform: linux, image_resource: {type: registry-image, source: {repository: mirrored/app, tag: v1, insecure: true, registry_mirror: {host: REGISTRY}}}, run: {path: cat, args: [/hello]}}}]
- name: unreached
  plan: [{task: t, config: {platform: linux, image_resource: {type: registry-image, source: {<<: *app, repository: UNREACHED/app}}, run: {path: never}}}]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_by_digest_from_where_they_were_found() {
    let (Some(reached), Some(unreached)) = (Reached::start(false), Reached::start(false)) else {
        return;
    };
    unreached.untell_nodes();
    let Some(place) = Place::start("restricted").await else { return };
    let hello = |text: &str| Layer::new().file("hello", &format!("{text}\n"));
    let app = reached.push("app", hello("app")).await;
    let mirrored = reached.push("mirrored/app", hello("mirrored")).await;
    reached.push("custom", scripts()).await;
    unreached.push("app", hello("never")).await;
    let pipeline = PUBLIC.replace("REGISTRY", &reached.registry.host());
    let pipeline = pipeline.replace("UNREACHED", &unreached.registry.host());
    let api = place.login().await;
    api.set_pipeline("p", &pipeline).await;

    let resolved = async {
        let build = api.trigger("p", "resolved").await;
        let (status, log) = api.ended(build).await;
        assert_eq!(status, "failed", "{log}");
        assert!(log.ends_with("app\r\n") && !log.contains("waiting"), "{log}");
        let pods = api.get(&format!("/builds/{build}/pods")).await;
        assert_eq!(pods[0]["containers"][0]["image"], json!(app), "{pods}");
    };
    let got = async {
        let (status, log) = run(&api, "got").await;
        assert_eq!(status, "succeeded", "{log}");
        let seen = "app\r\napp\r\ndigest\r\nlabels.json\r\nmetadata.json\r\nrepository\r\nrootfs\r\ntag\r\n";
        assert!(log.ends_with(seen), "{log}");
    };
    let custom = async {
        let (status, log) = run(&api, "custom").await;
        assert_eq!(status, "succeeded", "{log}");
        assert!(log.contains(r#""source":{"of":"pipeline"}"#), "{log}");
        assert!(log.contains("from-task"), "{log}");
    };
    let no_tag = async {
        let (status, log) = run(&api, "no-tag").await;
        assert_ne!(status, "succeeded");
        let wanted = format!("found no image `{}:none`", reached.registry.name("app"));
        assert!(log.contains(&wanted), "{log}");
    };
    let no_digest = async {
        let (status, log) = run(&api, "no-digest").await;
        assert_ne!(status, "succeeded");
        assert_eq!(log.matches("not found").count(), 1, "{log}");
    };
    let from_mirror = async {
        let (status, log) = run(&api, "mirrored").await;
        assert_eq!(status, "succeeded", "{log}");
        assert!(log.contains(&format!("nodes pull {mirrored}")), "{log}");
        assert!(log.ends_with("mirrored\r\n"), "{log}");
    };
    let back_off = async {
        let build = api.trigger("p", "unreached").await;
        let begun = "waiting: node node cannot pull image";
        api.events_until(build, None, |said| said.contains(begun)).await;
        // It is given up at once, however long the pod might wait.
        api.put(&format!("/builds/{build}/abort")).await;
        let (status, log) = api.ended(build).await;
        assert_eq!(status, "aborted", "{log}");
        assert!(log.contains("HTTP response to HTTPS client"), "{log}");
    };
    tokio::join!(resolved, got, custom, no_tag, no_digest, from_mirror, back_off);
}

const PRIVATE: &str = r#"
resources:
- {name: image, type: registry-image, check_every: never, source: &app {repository: REGISTRY/app, tag: v1, insecure: true, username: someone, password: s3cret}}
- {name: other, type: registry-image, check_every: never, source: {<<: *app, repository: REGISTRY/other}}
jobs:
- name: allowed
  plan:
  - get: image
  - {task: on-it, image: image, config: {platform: linux, run: {path: cat, args: [/hello]}}}
  - {task: look, config: {platform: linux, inputs: [{name: image}], run: {path: cat, args: [image/rootfs/hello]}}}
- name: fetch
  plan: [{get: other}]
- name: refused
  plan:
  - get: other
  - {task: on-it, image: other, config: {platform: linux, run: {path: never}}}
- name: wrong
  plan: [{task: t, config: {platform: linux, image_resource: {type: registry-image, source: {<<: *app, password: wr0ng}}, run: {path: never}}}]
- name: anonymous
  plan: [{task: t, config: {platform: linux, image_resource: {type: registry-image, source: {repository: REGISTRY/app, tag: v1, insecure: true}}, run: {path: never}}}]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_pull_private_images_with_their_sources_login() {
    let Some(reached) = Reached::start(true) else { return };
    let Some(place) = Place::start("restricted").await else { return };
    for repository in ["app", "other"] {
        reached.push(repository, Layer::new().file("hello", "private\n")).await;
    }
    let api = place.login().await;
    api.set_pipeline("p", &PRIVATE.replace("REGISTRY", &reached.registry.host())).await;
    let (status, log) = run(&api, "allowed").await;
    assert_eq!(status, "succeeded", "{log}");
    assert!(log.ends_with("private\r\nprivate\r\n") && !log.contains("s3cret"), "{log}");
    for job in ["wrong", "anonymous"] {
        let (status, log) = run(&api, job).await;
        assert_ne!(status, "succeeded");
        assert_eq!(log.matches("denied access").count(), 1, "{job}: {log}");
        assert!(!log.contains("wr0ng"), "{log}");
    }
    // Another build uses what is there, image and login.
    let log = api.succeeded(api.trigger("p", "allowed").await).await;
    assert!(log.contains("found existing resource cache"), "{log}");
    // Nodes that have no login are refused.
    api.succeeded(api.trigger("p", "fetch").await).await;
    let deleted = place.cluster.kubectl(&["delete", "secrets", "--selector=jetbridge.dev/worker"]);
    assert_eq!(deleted.lines().count(), 2, "{deleted}");
    let (status, log) = run(&api, "refused").await;
    assert_eq!(status, "errored", "{log}");
    assert_eq!(log.matches("cannot be pulled").count(), 1, "{log}");
}
