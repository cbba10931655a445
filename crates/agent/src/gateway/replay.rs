//! Answers from a recording.

mod conversation;

use axum::body::{Body, Bytes};
use axum::http::Response;
use jb_agent_protocol::Api;
use jb_agent_protocol::recording::{self, Exchange};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Call, forward};
use conversation::conversation;

pub(super) struct Recording {
    api: Api,
    /// Their requests are only what is compared of them.
    exchanges: Vec<Exchange>,
    used: Vec<bool>,
}

impl Recording {
    /// Reads a recording of which gateways before this one took so many exchanges.
    pub(super) fn open(path: &str, api: Api, taken: u32) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("read the recording {path}: {error}"))?;
        let mut exchanges = recording::read(&text).map_err(|error| format!("{path}: {error}"))?;
        for exchange in &mut exchanges {
            exchange.request = conversation(api, &exchange.request);
        }
        let taken = usize::try_from(taken).unwrap_or(usize::MAX);
        let used = (0..exchanges.len()).map(|index| index < taken).collect();
        Ok(Self { api, exchanges, used })
    }

    /// The first exchange with this conversation that was not taken yet. Requests made side by side may come in another
    /// order than they were recorded in.
    ///
    /// # Errors
    /// When there is none: how the request differs from the next recorded one.
    pub(super) fn find(&mut self, path: &str, request: &Value) -> Result<Exchange, String> {
        let request = conversation(self.api, request);
        let mut left = self.exchanges.iter().zip(&mut self.used).filter(|(_, used)| !**used);
        let mut next: Option<&Exchange> = None;
        let found = left.find(|(exchange, _)| {
            // One of the same kind, if there is any: what was asked of others is no measure.
            if next.is_none_or(|next| next.path != path && exchange.path == path) {
                next = Some(exchange);
            }
            exchange.path == path && exchange.request == request
        });
        if let Some((exchange, used)) = found {
            *used = true;
            return Ok(exchange.clone());
        }
        Err(match next {
            None => format!("the recording has only {} requests", self.exchanges.len()),
            Some(next) if next.path != path => {
                format!("{path} was asked, recorded was {}", next.path)
            }
            // They are not equal, so they differ somewhere.
            Some(next) => recording::difference(&next.request, &request).unwrap_or_default(),
        })
    }
}

pub(super) fn answer(
    exchange: Exchange,
    call: impl Fn(u16, &str, Option<String>) -> Call,
) -> Response<Body> {
    let Exchange { status, content_type, retry_after, pieces, .. } = exchange;
    let mut call = call(status, &content_type, retry_after.clone());
    let (sender, receiver) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        let piece = Bytes::from(piece);
        call.piece(&piece);
        // The channel has room for all of them.
        let _ = sender.try_send(Ok(piece));
    }
    call.end(None);
    forward::respond(status, &content_type, retry_after.as_deref(), receiver)
}
