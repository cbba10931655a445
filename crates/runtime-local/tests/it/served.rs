//! A stand-in for a registry that has images, and machines that fetch them.

use jb_model::VolumeHandle;
use jb_oci::Digest;
use jb_runtime::{ImageFetch, ImageRequest, Runtime};
use tokio::sync::mpsc;

use crate::image::Contents;
use crate::machine::Machine;
use crate::server::{Asked, Server, answer};

impl Contents {
    /// A registry with all of it; `before` sees every request first.
    pub(crate) fn serve(&self, before: impl Fn(&Asked) + Send + 'static) -> Server {
        let contents = self.clone();
        Server::start(move |asked, _| {
            before(asked);
            if asked.target == "/v2/" {
                return answer(200, "{}");
            }
            let digest = asked.target.rsplit('/').next().unwrap_or_default();
            match contents.get(digest) {
                Some((bytes, kind)) => answer(200, bytes).with("content-type", kind),
                None => answer(404, "{}"),
            }
        })
    }
}

/// How often a layer (or any blob) was asked for.
pub(crate) fn fetched(server: &Server, layer: &[u8]) -> usize {
    server.asked(&format!("/blobs/{}", Digest::of(layer))).len()
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
