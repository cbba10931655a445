//! Pages of long lists.

use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue};

use crate::query::Query;

/// How many entries a page has when the client does not say.
const DEFAULT_LIMIT: u32 = 100;
/// The most that a client can ask for.
const MAX_LIMIT: u32 = 10_000;

/// Which part of a list is asked for. Lists begin with the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The oldest id or time wanted.
    pub(crate) from: Option<i64>,
    /// The newest id or time wanted.
    pub(crate) to: Option<i64>,
    pub(crate) limit: u32,
    /// `from` and `to` are seconds since the epoch.
    pub(crate) times: bool,
}

impl Page {
    pub(crate) fn parse(query: &Query) -> Self {
        let bound = |key| match query.get(key) {
            "" => None,
            text => Some(text.parse().unwrap_or(0)),
        };
        let limit = query.get("limit").parse().unwrap_or(0);
        Self {
            from: bound("from"),
            to: bound("to"),
            limit: if limit == 0 { DEFAULT_LIMIT } else { limit.min(MAX_LIMIT) },
            times: !query.get("timestamps").is_empty(),
        }
    }
}

/// The pages before and after this one, by the id at which each begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Neighbours {
    /// The newest id of the older page.
    pub(crate) older: Option<i64>,
    /// The oldest id of the newer page.
    pub(crate) newer: Option<i64>,
}

/// Adds one `Link` header per neighbour. `more` is what else the query needs, encoded.
pub(crate) fn link(
    headers: &mut HeaderMap,
    url: &str,
    neighbours: Neighbours,
    limit: u32,
    more: &str,
) {
    let more = if more.is_empty() { String::new() } else { format!("&{more}") };
    let pages = [("to", neighbours.older, "next"), ("from", neighbours.newer, "previous")];
    for (key, id, relation) in pages {
        let Some(id) = id else { continue };
        let link = format!("<{url}?{key}={id}&limit={limit}{more}>; rel=\"{relation}\"");
        if let Ok(link) = HeaderValue::from_str(&link) {
            headers.append(LINK, link);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_page_has_a_limit() {
        let page = |query| Page::parse(&Query::parse(query));
        assert_eq!(page(""), Page { from: None, to: None, limit: 100, times: false });
        assert_eq!(page("limit=x").limit, 100);
        assert_eq!(page("limit=3").limit, 3);
        assert_eq!(page("limit=99999999").limit, MAX_LIMIT);
        assert_eq!(page("from=5&to=7&timestamps=true").to, Some(7));
        assert!(page("timestamps=1").times);
    }

    #[test]
    fn links_name_both_neighbours() {
        let mut headers = HeaderMap::new();
        let neighbours = Neighbours { older: Some(13), newer: Some(17) };
        link(&mut headers, "http://h/api/v1/builds", neighbours, 3, "vars.a=1");
        let links: Vec<&str> =
            headers.get_all(LINK).iter().map(|link| link.to_str().unwrap()).collect();
        assert_eq!(
            links,
            [
                "<http://h/api/v1/builds?to=13&limit=3&vars.a=1>; rel=\"next\"",
                "<http://h/api/v1/builds?from=17&limit=3&vars.a=1>; rel=\"previous\"",
            ]
        );
    }
}
