//! Server-sent events, read as they arrive.

/// An event that is longer than this is an error of whoever sends it.
const EVENT_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Default)]
pub(crate) struct Reader {
    held: Vec<u8>,
    data: String,
}

impl Reader {
    /// Takes bytes and returns the data of the events that they complete.
    ///
    /// # Errors
    /// When an event never ends.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, String> {
        self.held.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut from = 0;
        while let Some(length) = self.held[from..].iter().position(|byte| *byte == b'\n') {
            let line = &self.held[from..from + length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            from += length + 1;
            if line.is_empty() {
                if !self.data.is_empty() {
                    events.push(std::mem::take(&mut self.data));
                }
            } else if let Some(data) = line.strip_prefix(b"data:") {
                let data = data.strip_prefix(b" ").unwrap_or(data);
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(&String::from_utf8_lossy(data));
            }
        }
        self.held.drain(..from);
        if self.held.len() + self.data.len() > EVENT_BYTES_MAX {
            return Err(format!("an event of the stream is longer than {EVENT_BYTES_MAX} bytes"));
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn events_may_be_split_anywhere() {
        let text = "event: a\r\ndata: {\"é\":1}\r\n\r\n: ping\n\ndata: x\ndata: y\n\n";
        for split in 0..text.len() {
            let mut reader = Reader::default();
            let mut events = reader.push(&text.as_bytes()[..split]).unwrap();
            events.extend(reader.push(&text.as_bytes()[split..]).unwrap());
            assert_eq!(events, ["{\"é\":1}", "x\ny"]);
        }
    }
}
