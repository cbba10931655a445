//! Agents with harnesses of others, in their images, against a scripted model.

use std::path::{Path, PathBuf};

use jb_oci::{ManifestKind, Options, Registry};

use crate::agent_approvals::{PARKED, PARKED_SCRIPT, nothing_runs, stop_at_once};
use crate::agents;
use crate::docker_registry;

/// One of them, and the model it is given.
pub struct Harness {
    pub name: &'static str,
    pub model: &'static str,
}

pub const HARNESSES: [Harness; 3] = [
    Harness { name: "claude-code", model: "anthropic/scripted" },
    Harness { name: "codex", model: "openai/scripted" },
    Harness { name: "opencode", model: "anthropic/scripted" },
];

/// Where the images are that `cargo xtask test` assembles.
pub fn images() -> Option<PathBuf> {
    const IMAGES: &str = "JETBRIDGE_HARNESS_IMAGES";
    let images = std::env::var_os(IMAGES).map(PathBuf::from);
    if images.is_none() {
        eprintln!("SKIPPED: images with harnesses, as {IMAGES} does not say where they are");
    }
    images
}

/// The example with this harness in its image, which a registry without TLS is given.
pub async fn pipeline(
    harness: &Harness,
    images: &Path,
    registry: &docker_registry::Registry,
) -> String {
    let image = image(harness, images, registry).await;
    agents::example("harness.yml")
        .replace("((harness))", harness.name)
        .replace("((model))", harness.model)
        .replace("((image))", &image)
}

/// Its image in the registry, as the source of a resource has it.
async fn image(harness: &Harness, images: &Path, registry: &docker_registry::Registry) -> String {
    push(images, registry, harness).await;
    format!("{}, insecure: true", registry.name(harness.name))
}

async fn push(images: &Path, registry: &docker_registry::Registry, harness: &Harness) {
    let archive = images.join(format!("jetbridge-{}.tar", harness.name));
    let work = tempfile::tempdir().unwrap();
    let (layout, manifest) = jb_oci::open_archive(&archive, work.path()).unwrap();
    let manifest = manifest.unwrap();
    let ManifestKind::Image(image) = &manifest.kind else { panic!("no image in the archive") };
    let options = Options { insecure: true, ..Options::default() };
    let to = Registry::connect(&registry.host(), options).await.unwrap();
    for blob in image.layers.iter().chain([&image.config]) {
        to.push_blob(harness.name, blob, &layout.blob(&blob.digest)).await.unwrap();
    }
    let kind = &manifest.media_type;
    to.push_manifest(harness.name, "latest", kind, &manifest.bytes).await.unwrap();
}

async fn a_change_is_made_by(harness: &Harness) {
    let Some(images) = images() else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::script("change.model.yml")).await;
    let Some(server) = agents::server(dir.path(), &model).await else { return };
    let api = server.login().await;
    let host = agents::host(&api).await;
    let Some(registry) = docker_registry::Registry::start_at(host, false) else { return };
    let pipeline = pipeline(harness, &images, &registry).await;
    agents::change(&api, dir.path(), host, &model, &pipeline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_by_claude_code() {
    a_change_is_made_by(&HARNESSES[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_by_codex() {
    a_change_is_made_by(&HARNESSES[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_by_opencode() {
    a_change_is_made_by(&HARNESSES[2]).await;
}

/// Command lines of others begin anew when they go on, and nobody sees it: not the model, nor whoever reads the transcript.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_claude_code_runs_while_people_take_their_time() {
    let Some(images) = images() else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::parsed(PARKED_SCRIPT)).await;
    let Some(mut server) = agents::server(dir.path(), &model).await else { return };
    stop_at_once(dir.path());
    server.kill();
    server.start_again().await;
    let api = server.login().await;
    let host = agents::host(&api).await;
    let Some(registry) = docker_registry::Registry::start_at(host, false) else { return };
    let harness = &HARNESSES[0];
    let image = image(harness, &images, &registry).await;
    let source = format!("{{type: registry-image, source: {{repository: {image}}}}}");
    let config = "    config: {platform: linux, inputs: [{name: src}], outputs: [{name: out}";
    let pipeline = PARKED.replace(
        config,
        &format!(
            "    harness: {}\n    model: {}\n{}",
            harness.name,
            harness.model,
            config.replace("linux,", &format!("linux, image_resource: {source},"))
        ),
    );
    nothing_runs(api, &pipeline, async || {
        server.kill();
        server.start_again().await;
        server.login().await
    })
    .await;
    assert_eq!(model.received().len(), 3);
}
