//! What a program of ours is told on stdin: its task, and afterwards, for a harness, what people decide.

use std::io::{BufRead, BufReader, Read, Stdin};

use jb_agent_protocol::approval::{Decision, TEXT_BYTES_MAX};
use serde::de::DeserializeOwned;

use crate::Decisions;

/// The longest task that is read.
const TASK_BYTES_MAX: u64 = 64 << 20;
/// The longest line after it; JSON escapes make texts longer.
const LINE_BYTES_MAX: u64 = 16 * TEXT_BYTES_MAX as u64;

/// A harness's or gateway's stdin.
pub struct Told(BufReader<Stdin>);

impl Default for Told {
    fn default() -> Self {
        Self(BufReader::new(std::io::stdin()))
    }
}

impl Told {
    /// The task, which is the first line.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn task<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        let line = line(&mut self.0, TASK_BYTES_MAX);
        let line = line.map_err(|error| format!("read the task: {error}"))?;
        serde_json::from_slice(&line).map_err(|error| format!("the task on stdin: {error}"))
    }

    /// Takes decisions until there are no more, on a thread that waits for them.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn follow(mut self, decisions: Decisions) -> Result<(), String> {
        let named = std::thread::Builder::new().name("stdin".to_owned());
        let follow = move || {
            while let Ok(line) = line(&mut self.0, LINE_BYTES_MAX) {
                if line.is_empty() {
                    return;
                }
                // What is no decision is none.
                if let Ok(decision) = serde_json::from_slice::<Decision>(&line) {
                    decisions.take(decision);
                }
            }
        };
        named.spawn(follow).map(drop).map_err(|error| format!("read decisions: {error}"))
    }
}

/// The next line with its end; empty when there is none.
fn line(from: &mut impl BufRead, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(bytes_max).read_until(b'\n', &mut line)?;
    Ok(line)
}
