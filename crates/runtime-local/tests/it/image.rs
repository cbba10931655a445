//! Images put together from files at hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jb_model::{Object, Version};
use jb_oci::{Descriptor, Digest, Registry};
use jb_runtime::ImageRequest;
use serde_json::json;

/// One layer in the making.
pub(crate) struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
        let mut header = header();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header
    }

    pub(crate) fn dir(mut self, path: &str, mode: u32) -> Self {
        let mut header = Self::header(tar::EntryType::Directory, mode, 0);
        self.0.append_data(&mut header, path, std::io::empty()).unwrap();
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.bytes(path, content.as_bytes(), 0o644, 0)
    }

    pub(crate) fn bytes(mut self, path: &str, content: &[u8], mode: u32, owner: u64) -> Self {
        let mut header = Self::header(tar::EntryType::Regular, mode, content.len());
        header.set_uid(owner);
        header.set_gid(owner);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    pub(crate) fn link(mut self, kind: tar::EntryType, path: &str, target: &str) -> Self {
        let mut header = Self::header(kind, 0o777, 0);
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.link(tar::EntryType::Symlink, path, target)
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A layer that containers can run a shell from.
pub(crate) fn shell() -> Layer {
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let tools = ["sh", "cat", "ls", "id", "stat", "rm", "mkdir", "test"];
    let base = Layer::new().dir("bin", 0o755).bytes("bin/busybox", &busybox, 0o755, 0);
    tools.iter().fold(base, |layer, tool| layer.symlink(&format!("bin/{tool}"), "busybox"))
}

/// The digests of layers that are not compressed.
fn diff_ids(layers: &[&Vec<u8>]) -> Vec<String> {
    layers.iter().map(|layer| Digest::of(layer).to_string()).collect()
}

/// A header for an archive that is the same whenever it is made.
pub(crate) fn header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}

/// Blobs and manifests by digest.
#[derive(Clone, Default)]
pub(crate) struct Contents(Arc<Mutex<BTreeMap<String, Content>>>);

/// Bytes and their media type.
pub(crate) type Content = (Vec<u8>, &'static str);

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl Contents {
    fn add(&self, bytes: Vec<u8>, kind: &'static str) -> Descriptor {
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        self.0.lock().unwrap().insert(digest.to_string(), (bytes, kind));
        Descriptor::new(kind, digest, size)
    }

    /// Adds an image of these layers, from the bottom up; returns its digest.
    pub(crate) fn image(&self, layers: &[&Vec<u8>]) -> String {
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Env": ["PATH=/bin"], "User": "", "Labels": {"made": "here"}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids(layers)},
        });
        self.image_that_says(&config.to_string(), layers)
    }

    /// The same with a configuration of its own.
    pub(crate) fn image_that_says(&self, config: &str, layers: &[&Vec<u8>]) -> String {
        let config =
            self.add(config.as_bytes().to_vec(), "application/vnd.oci.image.config.v1+json");
        let kind = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<Descriptor> =
            layers.iter().map(|layer| self.add((*layer).clone(), kind)).collect();
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.add(manifest.to_string().into_bytes(), MANIFEST).digest.to_string()
    }

    /// What there is under a digest.
    pub(crate) fn get(&self, digest: &str) -> Option<Content> {
        self.0.lock().unwrap().get(digest).cloned()
    }

    /// Everything, for a registry to be filled with: digest, content, and whether it is a manifest.
    fn all(&self) -> Vec<(Digest, Vec<u8>, bool)> {
        let contents = self.0.lock().unwrap();
        let entry = |(digest, (bytes, kind)): (&String, &(Vec<u8>, &str))| {
            (Digest::parse(digest).unwrap(), bytes.clone(), *kind == MANIFEST)
        };
        contents.iter().map(entry).collect()
    }

    /// Replaces a blob by something else under its digest.
    pub(crate) fn damage(&self, digest: &Digest) {
        let mut contents = self.0.lock().unwrap();
        contents.get_mut(digest.as_str()).unwrap().0[700] ^= 1;
    }

    /// Puts everything into a registry; the last image that was made gets the tag.
    pub(crate) async fn push(&self, registry: &Registry, repository: &str, tag: &str) {
        let mut blobs = self.all();
        // Manifests only once everything that they name is there.
        blobs.sort_by_key(|(_, _, is_manifest)| *is_manifest);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("blob");
        for (digest, bytes, is_manifest) in blobs {
            if is_manifest {
                registry.push_manifest(repository, tag, MANIFEST, &bytes).await.unwrap();
            } else {
                std::fs::write(&file, &bytes).unwrap();
                let blob = Descriptor::new("blob", digest, bytes.len() as u64);
                registry.push_blob(repository, &blob, &file).await.unwrap();
            }
        }
    }
}

pub(crate) fn request(repository: &str, digest: &str, source: serde_json::Value) -> ImageRequest {
    let mut whole = Object::new();
    whole.insert("repository".into(), repository.into());
    whole.extend(source.as_object().unwrap().clone());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let version: Version = [pair("digest", digest), pair("tag", "x")].into();
    ImageRequest { source: whole, params: Object::new(), version }
}
