//! Images put together from files at hand.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// One entry of a layer.
pub(crate) enum Item<'a> {
    Dir(&'a str, u32),
    File(&'a str, &'a [u8], u32),
    Link(&'a str, &'a str),
}

pub(crate) fn layer(items: &[Item<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_600_000_000);
        match item {
            Item::Dir(name, mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                header.set_size(0);
                tar.append_data(&mut header, name, std::io::empty()).unwrap();
            }
            Item::File(name, content, mode) => {
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, name, *content).unwrap();
            }
            Item::Link(name, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                tar.append_link(&mut header, name, target).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

/// Two layers with a shell (where the machine has a static one) and a file that the second removes.
pub(crate) fn small_layers() -> Vec<Vec<u8>> {
    let shell = std::fs::read("/bin/busybox").unwrap_or_else(|_| b"no shell".to_vec());
    let base = [
        Item::Dir("bin", 0o755),
        Item::File("bin/busybox", &shell, 0o755),
        Item::Link("bin/sh", "busybox"),
        Item::File("removed", b"x", 0o644),
        Item::Dir("sealed", 0o555),
        Item::File("sealed/file", b"sealed", 0o400),
    ];
    let upper = [Item::File(".wh.removed", b"", 0o644), Item::File("added", b"upper", 0o644)];
    vec![layer(&base), layer(&upper)]
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

pub(crate) fn config(layers: &[Vec<u8>], label: &str, created: &str) -> Vec<u8> {
    let config = json!({
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["PATH=/bin", "A=1"],
            "User": "1000:1000",
            "Entrypoint": ["/bin/sh"],
            "Cmd": ["-c", "true"],
            "WorkingDir": "/work",
            "Labels": {"commit": label, "other": "x"},
        },
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| digest(layer)).collect::<Vec<_>>()},
    });
    config.to_string().into_bytes()
}

/// Writes an image as `docker save` does, its layers uncompressed.
pub(crate) fn docker_save(path: &Path, label: &str, created: &str) {
    let layers = small_layers();
    let config = config(&layers, label, created);
    let mut tar = tar::Builder::new(std::fs::File::create(path).unwrap());
    let mut append = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content).unwrap();
    };
    let names: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    for (name, layer) in names.iter().zip(&layers) {
        append(name, layer);
    }
    append("config.json", &config);
    let manifest = json!([{"Config": "config.json", "RepoTags": ["a:b"], "Layers": names}]);
    append("manifest.json", manifest.to_string().as_bytes());
    tar.into_inner().unwrap().flush().unwrap();
}

/// Writes an OCI layout with an index of two platforms; returns the index's digest.
pub(crate) fn layout(dir: &Path) -> String {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let add = |bytes: &[u8], kind: &str| -> Value {
        let digest = digest(bytes);
        std::fs::write(blobs.join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    };
    let mut manifests = Vec::new();
    for (architecture, file) in [("amd64", "intel"), ("arm64", "arm")] {
        let plain = layer(&[Item::File(file, file.as_bytes(), 0o644)]);
        let compressed = zstd(&plain);
        let config = add(
            &config(&[plain], file, "2024-01-01T00:00:00Z"),
            "application/vnd.oci.image.config.v1+json",
        );
        let layer = add(&compressed, "application/vnd.oci.image.layer.v1.tar+zstd");
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer],
            "annotations": {"com.example.arch": architecture, "other": "x"},
        });
        let mut entry = add(manifest.to_string().as_bytes(), kind);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        manifests.push(entry);
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).to_string();
    std::fs::write(dir.join("index.json"), &index).unwrap();
    digest(index.as_bytes())
}

/// A zstd frame of raw blocks.
fn zstd(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    let mut chunks = plain.chunks(100_000).peekable();
    while let Some(chunk) = chunks.next() {
        let header = (chunk.len() as u32) << 3 | u32::from(chunks.peek().is_none());
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.extend_from_slice(chunk);
    }
    out
}
