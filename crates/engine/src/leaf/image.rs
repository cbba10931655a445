//! What an image says of itself, in the `metadata.json` beside its root file system.

use jb_model::VolumeHandle;
use serde_json::Value;

use super::Trouble;
use crate::build::BuildContext;

/// An image's `metadata.json` may not be larger than this.
const METADATA_BYTES_MAX: usize = 1024 * 1024;

/// What an image says about how to run it.
#[derive(Debug, Default)]
pub(super) struct ImageConfig {
    pub env: Vec<(String, String)>,
    pub user: Option<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
}

/// Reads it from a volume that holds an image; nothing is said where there is no such file.
pub(super) async fn image_config(
    context: &BuildContext,
    volume: &VolumeHandle,
) -> Result<ImageConfig, Trouble> {
    let place = context.engine.place_of_volume(volume).await?;
    let bytes = place.runtime.read_file(volume, "metadata.json", METADATA_BYTES_MAX).await?;
    let Some(bytes) = bytes else { return Ok(ImageConfig::default()) };
    let metadata: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Trouble::new(format!("the image's metadata.json is no valid JSON: {error}"))
    })?;
    let texts = |key: &str| -> Vec<String> {
        let items = metadata.get(key).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let user = metadata.get("user").and_then(Value::as_str).filter(|user| !user.is_empty());
    Ok(ImageConfig {
        env: texts("env")
            .into_iter()
            .filter_map(|pair| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
            .collect(),
        user: user.map(str::to_owned),
        entrypoint: texts("entrypoint"),
        cmd: texts("cmd"),
    })
}
