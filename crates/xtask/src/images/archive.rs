//! One image in one tar: an OCI layout that is also what `docker load` reads.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::images::tree::Tree;

/// High enough that layers are small, low enough that the largest takes a few seconds.
const LAYER_LEVEL: i32 = 6;

/// How a container of the image runs, in the terms of an image's configuration.
#[derive(Debug, Default)]
pub(crate) struct Run<'a> {
    /// `UID:GID`; root when empty.
    pub(crate) user: &'a str,
    pub(crate) env: &'a [(&'a str, &'a str)],
    pub(crate) entrypoint: &'a [&'a str],
    pub(crate) cmd: &'a [&'a str],
    pub(crate) workdir: &'a str,
    pub(crate) ports: &'a [u16],
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Writes an image of one layer; `name` is its full name with a tag.
pub(crate) fn write(path: &Path, name: &str, run: &Run<'_>, tree: &Tree) -> anyhow::Result<()> {
    let mut tar = Vec::new();
    tree.write(&mut tar)?;
    let diff = digest(&tar);
    let layer = zstd::encode_all(tar.as_slice(), LAYER_LEVEL)?;
    drop(tar);
    let config = serde_json::to_vec(&configuration(run, &diff))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+zstd", &layer)],
    }))?;
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["platform"] = json!({"architecture": architecture(), "os": "linux"});
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    entry["annotations"] =
        json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    });
    let saved = json!([{"Config": blob(&config), "RepoTags": [name], "Layers": [blob(&layer)]}]);

    let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
    let mut tar = tar::Builder::new(BufWriter::new(file));
    append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut tar, "index.json", &serde_json::to_vec(&index)?)?;
    append(&mut tar, "manifest.json", &serde_json::to_vec(&saved)?)?;
    for content in [&config, &layer, &manifest] {
        append(&mut tar, &blob(content), content)?;
    }
    tar.into_inner()?.flush().with_context(|| format!("write {}", path.display()))
}

fn configuration(run: &Run<'_>, diff: &str) -> Value {
    let mut env = vec![format!("PATH={PATH}")];
    env.extend(run.env.iter().map(|(name, value)| format!("{name}={value}")));
    let mut config = json!({"Env": env});
    if !run.user.is_empty() {
        config["User"] = json!(run.user);
    }
    if !run.entrypoint.is_empty() {
        config["Entrypoint"] = json!(run.entrypoint);
    }
    if !run.cmd.is_empty() {
        config["Cmd"] = json!(run.cmd);
    }
    if !run.workdir.is_empty() {
        config["WorkingDir"] = json!(run.workdir);
    }
    for port in run.ports {
        config["ExposedPorts"][format!("{port}/tcp")] = json!({});
    }
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff]},
        "history": [{"created_by": "cargo xtask images"}],
    })
}

/// This machine's, as images name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", crate::images::hex(&Sha256::digest(content)))
}

/// Where a blob lies in a layout.
fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", crate::images::hex(&Sha256::digest(content)))
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, content: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_an_image_that_others_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        let mut tree = Tree::root();
        tree.file("etc/greeting", 0o644, "hello");
        let run = Run { user: "7:8", env: &[("A", "b")], cmd: &["sh"], ..Run::default() };
        write(&path, "localhost/greeting:1", &run, &tree).unwrap();

        let work = dir.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let (layout, manifest) = jb_oci::open_archive(&path, &work).unwrap();
        let Some(jb_oci::ManifestKind::Image(image)) = manifest.map(|raw| raw.kind) else {
            panic!("no image was found");
        };
        let config = std::fs::read(layout.blob(&image.config.digest)).unwrap();
        let config: jb_oci::ImageConfig = serde_json::from_slice(&config).unwrap();
        assert_eq!(config.config.user, "7:8");
        assert_eq!(config.config.env, [format!("PATH={PATH}"), "A=b".to_owned()]);
        assert_eq!(config.config.cmd, Some(vec!["sh".to_owned()]));
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let options = jb_oci::UnpackOptions {
            owners: jb_oci::Owners::Ignore,
            ..jb_oci::UnpackOptions::default()
        };
        let mut unpacker = jb_oci::Unpacker::new(&root, options).unwrap();
        let layer = std::fs::File::open(layout.blob(&image.layers[0].digest)).unwrap();
        unpacker.layer(std::io::BufReader::new(layer)).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("etc/greeting")).unwrap(), "hello");
    }
}
