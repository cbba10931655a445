//! Images from registries as volumes: nothing is downloaded here, but what is said about an image is kept, and where
//! nodes find it.

pub(crate) mod pointer;

use std::collections::BTreeMap;
use std::io::Cursor;

use jb_model::script::Level;
use jb_model::{Metadata, Value, VolumeHandle};
use jb_oci::Image;
use jb_oci::resource::{Format, Place, ScriptLog, Wanted, labels_json, metadata_json, places};
use jb_runtime::{ByteStream, Error, ImageFetch, ImageRequest, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::artifacts::Artifacts;
use crate::logins::Logins;

/// A volume that is the name of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    /// `registry/repository@digest`, by the place that answered for it.
    pub(crate) name: String,
    /// The secret with which nodes pull it, if it takes a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pull_secret: Option<String>,
    /// Whom the image runs as; empty when it does not say.
    pub(crate) user: String,
    /// The small files that every fetched image comes with, such as `metadata.json`.
    pub(crate) files: BTreeMap<String, String>,
}

impl Reference {
    pub(crate) fn parse(volume: &VolumeHandle, json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| {
            Error::Image(format!(
                "what was kept of the image in volume `{volume}` is damaged: {error}"
            ))
        })
    }

    pub(crate) fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        let path = path.trim_start_matches("./");
        let Some(text) = self.files.get(path) else { return Ok(None) };
        if text.len() > limit {
            let error = std::io::Error::from(std::io::ErrorKind::FileTooLarge);
            return Err(Error::io(format!("cannot read file `{path}` of an image"), error));
        }
        Ok(Some(text.clone().into_bytes()))
    }

    /// A tar archive of the files. The image's own are not among them.
    pub(crate) fn archive(&self) -> std::io::Result<ByteStream> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, text.as_bytes())?;
        }
        Ok(Box::new(Cursor::new(builder.into_inner()?)))
    }
}

pub(crate) async fn fetch(
    artifacts: &Artifacts,
    logins: &Logins,
    volume: &VolumeHandle,
    request: ImageRequest,
    lines: mpsc::Sender<String>,
) -> Result<ImageFetch> {
    let (source, params) = (Value::Object(request.source), Value::Object(request.params));
    let version: Value = request.version.into_iter().collect();
    let log = ScriptLog::new(lines);
    // The script says what is wrong with it.
    let Ok(wanted) = Wanted::parse(&source, &params, &version) else {
        return Ok(ImageFetch::NotOffered);
    };
    if wanted.request.format != Format::Rootfs || wanted.request.skip_download {
        return Ok(ImageFetch::NotOffered);
    }
    wanted.say_unknown_keys(&log).await;
    for place in places(&wanted.source) {
        match describe(&wanted, &place, &log).await {
            Ok(image) => {
                let pull_secret = logins.name(volume, &place);
                let reference = Reference::to(&wanted, &place, &image, pull_secret);
                let json = serde_json::to_vec(&reference).map_err(|error| {
                    Error::Image(format!("cannot note image `{}`: {error}", reference.name))
                })?;
                // The login last: the volume says that there is one, so that it goes with the volume.
                artifacts.put_image(volume, json).await?;
                logins.keep(volume, &place).await?;
                log.say(Level::Info, format!("nodes pull {}", reference.name)).await;
                let fields = wanted.request.metadata(&wanted.source, Some(&image)).into_iter();
                let metadata = fields.map(|(name, value)| Metadata { name, value });
                return Ok(ImageFetch::Fetched(metadata.collect()));
            }
            Err(error) if place.is_mirror => {
                let name = place.name();
                log.say(Level::Warn, format!("asking mirror {name} failed: {error}")).await;
            }
            Err(error) => {
                log.say(Level::Fatal, format!("asking the registry failed: {error}")).await
            }
        }
    }
    Ok(ImageFetch::Failed)
}

async fn describe(wanted: &Wanted, place: &Place, log: &ScriptLog) -> Result<Image, jb_oci::Error> {
    let (repository, digest) = (place.repository.as_str(), &wanted.request.digest);
    log.say(Level::Info, format!("fetching {}@{digest}", wanted.source.repository)).await;
    let registry = place.connect(&wanted.source, log.on_retry()).await?;
    registry.image(repository, digest.as_str(), &wanted.request.platform).await
}

impl Reference {
    /// What is kept of an image as a place described it. Nodes pull it from there: a mirror may be all that they reach.
    fn to(wanted: &Wanted, place: &Place, image: &Image, pull_secret: Option<String>) -> Self {
        let files =
            wanted.request.files(&wanted.source).map(|(name, text)| (name.to_owned(), text));
        let mut files: BTreeMap<String, String> = files.into();
        files.insert("labels.json".to_owned(), labels_json(&image.config));
        files.insert("metadata.json".to_owned(), metadata_json(&image.config));
        Self {
            name: format!("{}@{}", place.name(), wanted.request.digest),
            pull_secret,
            user: image.config.config.user.clone(),
            files,
        }
    }
}
