//! The tags of a repository.

use reqwest::Method;
use reqwest::header::LINK;
use serde::Deserialize;
use url::Url;

use crate::error::Error;
use crate::registry::Registry;
use crate::registry::exchange::{Access, Request, read_body, unchanged};

/// A page of tags is read this far.
const MAX_PAGE: u64 = 32 << 20;
/// No more than this many tags are read.
const MAX_TAGS: usize = 1_000_000;

impl Registry {
    /// All tags, in the registry's order. `NotFound` when there is no such repository.
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let attempted = format!("list the tags of {}/{repository}", self.name());
        let mut next = Some(self.url(repository, "tags/list?n=1000")?);
        let mut tags: Vec<String> = Vec::new();
        while let Some(url) = next {
            let request = Request {
                attempted: attempted.clone(),
                repository,
                access: Access::Pull,
                method: Method::GET,
                url: url.clone(),
                build: &unchanged,
            };
            let response = self.send(request).await?;
            let link = response.headers().get(LINK).and_then(|link| link.to_str().ok());
            next = link.and_then(|link| next_page(link, &url)).filter(|next| *next != url);
            let body = read_body(&attempted, response, MAX_PAGE).await?;
            let page: Page = serde_json::from_slice(&body).map_err(|error| Error::Invalid {
                attempted: attempted.clone(),
                reason: error.to_string(),
            })?;
            let page = page.tags.unwrap_or_default();
            if page.is_empty() {
                break;
            }
            tags.extend(page);
            if tags.len() > MAX_TAGS {
                let reason = format!("there are more than {MAX_TAGS}");
                return Err(Error::Invalid { attempted, reason });
            }
        }
        Ok(tags)
    }
}

/// `<address>; rel="next"`, which must stay with this registry.
fn next_page(link: &str, current: &Url) -> Option<Url> {
    let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !rest.contains("next") {
        return None;
    }
    current.join(address).ok().filter(|next| next.origin() == current.origin())
}

#[cfg(test)]
mod tests;
