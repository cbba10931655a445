//! Recordings: what went through a gateway, so that it can be answered again without a model.
//!
//! A recording is a file of JSON lines: a [`Header`], then one [`Exchange`] for each request in its order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Api, Prices};

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;
const FORMAT: &str = "jetbridge-agent-recording";

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: String,
    pub version: u32,
    /// How the model was spoken to.
    #[serde(default)]
    pub api: Api,
    /// Whose the models are: with a slash and its own name each is called as steps call it.
    #[serde(default)]
    pub provider: String,
    /// What each of them cost.
    #[serde(default)]
    pub models: BTreeMap<String, Prices>,
    /// How many tokens they take in: what is asked for follows from it.
    #[serde(default = "crate::default_context_tokens")]
    pub context_tokens: u64,
}

impl Default for Header {
    fn default() -> Self {
        let (api, provider, models) = Default::default();
        let context_tokens = crate::CONTEXT_TOKENS;
        Self { format: FORMAT.to_owned(), version: VERSION, api, provider, models, context_tokens }
    }
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    pub path: String,
    pub request: Value,
    pub status: u16,
    pub content_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// The body of the answer in the pieces in which it came.
    pub pieces: Vec<String>,
}

/// The first line of a recording.
///
/// # Errors
/// When it is none, or of another version; the text says which.
pub fn header(text: &str) -> Result<Header, String> {
    let first = text.lines().next();
    let header = first.and_then(|line| serde_json::from_str::<Header>(line).ok());
    let header = header.filter(|header| header.format == FORMAT);
    let header = header.ok_or("this is no recording: its first line is not a recording's")?;
    if header.version != VERSION {
        return Err(format!(
            "the recording has version {}; this program reads {VERSION}",
            header.version
        ));
    }
    Ok(header)
}

/// Reads a recording.
///
/// # Errors
/// When it is none, or another version, or a line is broken; the text says which.
pub fn read(text: &str) -> Result<Vec<Exchange>, String> {
    header(text)?;
    let lines = text.lines().enumerate().skip(1);
    lines
        .map(|(index, line)| {
            serde_json::from_str(line)
                .map_err(|error| format!("line {} of the recording: {error}", index + 1))
        })
        .collect()
}

/// Where two requests differ first, as a JSON pointer with both sides; `None` when they do not.
pub fn difference(recorded: &Value, asked: &Value) -> Option<String> {
    at("", recorded, asked)
}

fn at(path: &str, recorded: &Value, asked: &Value) -> Option<String> {
    match (recorded, asked) {
        (Value::Object(one), Value::Object(two)) => {
            let keys: std::collections::BTreeSet<&String> = one.keys().chain(two.keys()).collect();
            keys.into_iter().find_map(|key| {
                let null = &Value::Null;
                let (one, two) = (one.get(key).unwrap_or(null), two.get(key).unwrap_or(null));
                at(&format!("{path}/{key}"), one, two)
            })
        }
        (Value::Array(one), Value::Array(two)) => {
            let both = one.iter().zip(two).enumerate();
            let inside = both
                .filter_map(|(index, (one, two))| at(&format!("{path}/{index}"), one, two))
                .next();
            inside.or_else(|| {
                (one.len() != two.len())
                    .then(|| format!("{path} has {} items, recorded were {}", two.len(), one.len()))
            })
        }
        (one, two) if one == two => None,
        (one, two) => Some(format!("{path} is {}, recorded was {}", short(two), short(one))),
    }
}

/// The beginning of a value, for messages.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
