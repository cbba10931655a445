//! Compression of answers, for clients that accept it.

use std::io::Write as _;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::HeaderMap;
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, VARY,
};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Answers shorter than this are sent as they are.
const MIN_BYTES: u64 = 1024;
/// The longest answer that is compressed in one piece.
const MAX_BYTES: usize = 256 << 20;

/// Whether a client takes gzip.
pub(crate) fn accepted(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|choice| {
            let mut parts = choice.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let refused = parts.any(|part| {
                part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0)
            });
            (name.eq_ignore_ascii_case("gzip") || name == "*") && !refused
        })
}

/// Marks an answer as one that depends on what the client accepts.
pub(crate) fn vary(headers: &mut HeaderMap) {
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// Compresses a whole answer, if that is worth it.
pub(crate) async fn whole(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let size = body.size_hint().exact();
    let text = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| ["json", "text", "xml"].iter().any(|part| kind.contains(part)));
    let worth = size.is_some_and(|size| size >= MIN_BYTES);
    if !worth || !text || parts.headers.contains_key(CONTENT_ENCODING) {
        return Response::from_parts(parts, body);
    }
    let Ok(plain) = axum::body::to_bytes(body, MAX_BYTES).await else {
        return crate::reply::empty(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
    };
    match gzip(&plain) {
        Ok(packed) => {
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(parts, Body::from(packed))
        }
        Err(_) => Response::from_parts(parts, Body::from(plain)),
    }
}

fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// A gzip stream whose reader sees everything that was written so far.
pub(crate) struct Flushing(GzEncoder<Vec<u8>>);

impl Flushing {
    pub(crate) fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }

    /// Compresses and flushes one piece.
    pub(crate) fn pack(&mut self, plain: &[u8]) -> std::io::Result<Bytes> {
        self.0.write_all(plain)?;
        self.0.flush()?;
        Ok(Bytes::from(std::mem::take(self.0.get_mut())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::Read as _;

    use super::*;

    #[test]
    fn gzip_is_negotiated() {
        let accepts = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            accepted(&headers)
        };
        assert!(accepts("gzip"));
        assert!(accepts("deflate, gzip;q=0.5"));
        assert!(accepts("*"));
        assert!(!accepts("gzip;q=0"));
        assert!(!accepts("br"));
        assert!(!accepted(&HeaderMap::new()));
    }

    #[test]
    fn every_piece_of_a_flushing_stream_can_be_read_at_once() {
        let mut stream = Flushing::new();
        let mut packed = Vec::new();
        for piece in ["one\n", "two\n"] {
            packed.extend_from_slice(&stream.pack(piece.as_bytes()).unwrap());
        }
        let mut plain = [0; 8];
        flate2::read::GzDecoder::new(packed.as_slice()).read_exact(&mut plain).unwrap();
        assert_eq!(&plain, b"one\ntwo\n");
    }
}
