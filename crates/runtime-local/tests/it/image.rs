//! Images put together from files at hand, and a registry that has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jb_model::{Object, Version, VolumeHandle};
use jb_oci::{Descriptor, Digest};
use jb_runtime::{ImageFetch, ImageRequest, Runtime};
use serde_json::json;
use tokio::sync::mpsc;

use crate::machine::Machine;
use crate::server::{Asked, Server, answer};

/// One layer in the making.
pub(crate) struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
        let mut header = crate::machine::header();
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

/// Blobs and manifests by digest.
#[derive(Clone, Default)]
pub(crate) struct Contents(Arc<Mutex<BTreeMap<String, Content>>>);

/// Bytes and their media type.
type Content = (Vec<u8>, &'static str);

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
        });
        let config =
            self.add(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
        let kind = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<Descriptor> =
            layers.iter().map(|layer| self.add((*layer).clone(), kind)).collect();
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.add(manifest.to_string().into_bytes(), MANIFEST).digest.to_string()
    }

    /// Everything, for a registry to be filled with: digest, content, and whether it is a manifest.
    pub(crate) fn all(&self) -> Vec<(Digest, Vec<u8>, bool)> {
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

    /// A registry with all of it; `before` sees every request first.
    pub(crate) fn serve(&self, before: impl Fn(&Asked) + Send + 'static) -> Server {
        let contents = self.clone();
        Server::start(move |asked, _| {
            before(asked);
            if asked.target == "/v2/" {
                return answer(200, "{}");
            }
            let digest = asked.target.rsplit('/').next().unwrap_or_default();
            match contents.0.lock().unwrap().get(digest) {
                Some((bytes, kind)) => answer(200, bytes.clone()).with("content-type", *kind),
                None => answer(404, "{}"),
            }
        })
    }
}

/// How often a layer (or any blob) was asked for.
pub(crate) fn fetched(server: &Server, layer: &[u8]) -> usize {
    server.asked(&format!("/blobs/{}", Digest::of(layer))).len()
}

pub(crate) fn request(repository: &str, digest: &str, source: serde_json::Value) -> ImageRequest {
    let mut whole = Object::new();
    whole.insert("repository".into(), repository.into());
    whole.extend(source.as_object().unwrap().clone());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let version: Version = [pair("digest", digest), pair("tag", "x")].into();
    ImageRequest { source: whole, params: Object::new(), version }
}

impl Machine {
    /// Fetches an image into the volume `name`; how it ended, and the log without colours and times.
    pub(crate) async fn fetch(&self, name: &str, request: ImageRequest) -> (ImageFetch, String) {
        let volume = VolumeHandle::new(name);
        let (sender, mut lines) = mpsc::channel(100);
        let outcome = self.runtime().fetch_image(&volume, request, sender).await.unwrap();
        let mut log = String::new();
        while let Ok(line) = lines.try_recv() {
            let (level, message) = line.trim_end().split_once("\u{1b}[0m[").unwrap();
            let level = &level[level.len() - 4..];
            log.push_str(&format!("{level} {}\n", message.split_once("] ").unwrap().1));
        }
        (outcome, log)
    }

    pub(crate) fn layers(&self) -> usize {
        std::fs::read_dir(self.state().join("images/layers")).unwrap().count()
    }

    pub(crate) fn partial(&self) -> usize {
        std::fs::read_dir(self.state().join("images/partial")).unwrap().count()
    }
}
