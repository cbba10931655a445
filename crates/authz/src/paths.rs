//! Finding the route of a request.

use std::sync::LazyLock;

use crate::{Method, ROUTES, Route};

/// A route and the values of its parameters, in the order of the path, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedPath {
    pub route: &'static Route,
    pub params: Vec<(&'static str, String)>,
}

impl MatchedPath {
    /// A parameter's value; empty when the route has none of that name.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Route(MatchedPath),
    /// The path exists, but not with this method.
    OtherMethod,
    Nothing,
}

/// Finds the route for a method and an encoded path. Where a word and a parameter both fit, the word wins:
/// `PUT .../pipelines/ordering` is not a pipeline, `GET .../pipelines/ordering` is.
pub fn find(method: Method, path: &str) -> Found {
    let Some(path) = path.strip_prefix('/') else { return Found::Nothing };
    let segments: Vec<&str> = path.split('/').collect();
    let mut best: Option<(&Row, usize)> = None;
    let mut elsewhere = false;
    for row in TABLE.iter().filter(|row| row.segments.len() == segments.len()) {
        if !row.fits(&segments) {
            continue;
        }
        if row.route.method != method {
            elsewhere = true;
        } else if best.is_none_or(|(_, words)| row.words > words) {
            best = Some((row, row.words));
        }
    }
    let Some((row, _)) = best else {
        return if elsewhere { Found::OtherMethod } else { Found::Nothing };
    };
    let params = row
        .segments
        .iter()
        .zip(&segments)
        .filter_map(|(pattern, value)| match pattern {
            Segment::Param(name) => Some(decode(value).map(|value| (*name, value))),
            Segment::Word(_) => None,
        })
        .collect::<Option<Vec<_>>>();
    match params {
        Some(params) => Found::Route(MatchedPath { route: row.route, params }),
        None => Found::Nothing,
    }
}

enum Segment {
    Word(&'static str),
    Param(&'static str),
}

struct Row {
    route: &'static Route,
    segments: Vec<Segment>,
    words: usize,
}

impl Row {
    fn fits(&self, segments: &[&str]) -> bool {
        self.segments.iter().zip(segments).all(|(pattern, value)| match pattern {
            Segment::Word(word) => word == value,
            Segment::Param(_) => !value.is_empty(),
        })
    }
}

static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    ROUTES
        .iter()
        .map(|route| {
            let segments: Vec<Segment> = route
                .path
                .split('/')
                .skip(1)
                .map(|part| match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                    Some(name) => Segment::Param(name),
                    None => Segment::Word(part),
                })
                .collect();
            let words = segments.iter().filter(|part| matches!(part, Segment::Word(_))).count();
            Row { route, segments, words }
        })
        .collect()
});

/// Undoes percent-encoding of one segment; `None` when the result is no text.
fn decode(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let high = digit(rest.next())?;
        let low = digit(rest.next())?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
