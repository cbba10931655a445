//! Lines for the runner's journal.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use jb_agent_protocol::{Entry, LINE_BYTES_MAX, Line};

/// Lines that were written, for tests.
pub type Lines = Arc<Mutex<Vec<Entry>>>;

/// Where entries of the transcript go. Clones are the same place.
#[derive(Clone)]
pub struct Output {
    to: Arc<Mutex<Box<dyn Write + Send>>>,
    kept: Option<Lines>,
}

impl Output {
    pub fn stdout() -> Self {
        Self { to: Arc::new(Mutex::new(Box::new(std::io::stdout()))), kept: None }
    }

    /// Keeps entries in memory instead.
    pub fn kept() -> (Self, Lines) {
        let lines = Lines::default();
        let nowhere: Box<dyn Write + Send> = Box::new(std::io::sink());
        (Self { to: Arc::new(Mutex::new(nowhere)), kept: Some(Arc::clone(&lines)) }, lines)
    }

    /// Writes one entry. A reader that is gone takes the whole container with it, so failures are nobody's to hear.
    pub fn say(&self, entry: Entry) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Line { time_us: i64::try_from(since.as_micros()).unwrap_or(i64::MAX), entry };
        let Ok(mut text) = serde_json::to_vec(&line) else { return };
        debug_assert!(text.len() < LINE_BYTES_MAX, "entries are cut before they are said");
        text.push(b'\n');
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = to.write_all(&text).and_then(|()| to.flush());
        if let Some(kept) = &self.kept {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(line.entry);
        }
    }
}

/// The first bytes of a text, whole characters, with a mark where something is missing.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = (0..=bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{}… ({} of {} bytes)", &text[..end], end, text.len())
}

/// The same value with long texts in it cut.
pub(crate) fn cut_value(value: &serde_json::Value, bytes: usize) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(cut(text, bytes)),
        Value::Array(items) => {
            Value::Array(items.iter().take(256).map(|item| cut_value(item, bytes)).collect())
        }
        Value::Object(fields) => {
            let fields = fields.iter().take(64);
            Value::Object(
                fields.map(|(key, item)| (cut(key, 256), cut_value(item, bytes))).collect(),
            )
        }
        other => other.clone(),
    }
}
