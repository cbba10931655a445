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
    /// Reads a recording of which gateways before this one took so many answers of the model.
    pub(super) fn open(path: &str, api: Api, taken: u32) -> Result<Self, String> {
        let exchanges = Self::read(path, api)?;
        let mut left = taken;
        let used = exchanges.iter().map(|exchange| {
            let used = exchange.path == api.path() && left > 0;
            left -= u32::from(used);
            used
        });
        let used = used.collect();
        Ok(Self { api, exchanges, used })
    }

    /// Reads only the answers of the model that gateways before this one took.
    pub(super) fn of_past(path: &str, api: Api, taken: u32) -> Result<Self, String> {
        let mut exchanges = Self::read(path, api)?;
        exchanges.retain(|exchange| exchange.path == api.path());
        exchanges.truncate(usize::try_from(taken).unwrap_or(usize::MAX));
        let used = vec![false; exchanges.len()];
        Ok(Self { api, exchanges, used })
    }

    fn read(path: &str, api: Api) -> Result<Vec<Exchange>, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("read the recording {path}: {error}"))?;
        let mut exchanges = recording::read(&text).map_err(|error| format!("{path}: {error}"))?;
        for exchange in &mut exchanges {
            exchange.request = conversation(api, &exchange.request);
        }
        Ok(exchanges)
    }

    /// The number of the exchange that is taken next, if there is one; counted from 1.
    pub(super) fn next(&self) -> Option<u32> {
        let taken = self.used.iter().filter(|used| **used).count();
        let next = u32::try_from(taken + 1).unwrap_or(u32::MAX);
        (taken < self.used.len()).then_some(next)
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
    let Exchange { status, content_type, retry_after, .. } = &exchange;
    let mut call = call(*status, content_type, retry_after.clone());
    for piece in &exchange.pieces {
        call.piece(&Bytes::copy_from_slice(piece.as_bytes()));
    }
    call.end(None);
    again(exchange)
}

/// Says it once more, and counts nothing.
pub(super) fn again(exchange: Exchange) -> Response<Body> {
    let Exchange { status, content_type, retry_after, pieces, .. } = exchange;
    let (sender, receiver) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        // The channel has room for all of them.
        let _ = sender.try_send(Ok(Bytes::from(piece)));
    }
    forward::respond(status, &content_type, retry_after.as_deref(), receiver)
}
