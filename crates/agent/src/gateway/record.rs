//! Writing a recording.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use jb_agent_protocol::recording;
use serde_json::Value;

/// An exchange that is still going on.
pub(crate) struct Exchange {
    exchange: recording::Exchange,
    /// The pieces, some of which may end inside a character.
    pieces: Vec<Vec<u8>>,
}

impl Exchange {
    pub(super) fn new(
        path: &str,
        request: Value,
        status: u16,
        content_type: &str,
        retry_after: Option<String>,
    ) -> Self {
        let exchange = recording::Exchange {
            path: path.to_owned(),
            request,
            status,
            content_type: content_type.to_owned(),
            retry_after,
            pieces: Vec::new(),
        };
        Self { exchange, pieces: Vec::new() }
    }

    pub(super) fn piece(&mut self, piece: &[u8]) {
        self.pieces.push(piece.to_vec());
    }

    /// A secret or a character may lie across pieces: they are joined, and cut again between events.
    fn finish(mut self, mask: impl Fn(String) -> String) -> recording::Exchange {
        let text = mask(String::from_utf8_lossy(&self.pieces.concat()).into_owned());
        self.exchange.pieces = text.split_inclusive("\n\n").map(str::to_owned).collect();
        self.exchange
    }
}

/// Where a recording is written.
pub(crate) struct Recorder {
    file: Mutex<File>,
}

impl Recorder {
    /// Begins a recording, or goes on with that of a gateway before this one.
    pub(super) fn create(path: &str, header: &recording::Header) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("write the recording {path}: {error}");
        let mut file = File::options().create(true).append(true).open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() == 0 {
            let header = serde_json::to_string(header).map_err(|error| failed(error.into()))?;
            writeln!(file, "{header}").map_err(failed)?;
        }
        Ok(Self { file: Mutex::new(file) })
    }

    pub(super) fn write(
        &self,
        exchange: Exchange,
        mask: impl Fn(String) -> String,
    ) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("write the recording: {error}");
        let mut line =
            serde_json::to_vec(&exchange.finish(mask)).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).map_err(failed)
    }
}
