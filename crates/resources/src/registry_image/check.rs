//! New versions of an image.

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jb_oci::resource::{Candidate, Follow, Found, SemverRule, Source, places};
use jb_oci::{Digest, Registry};
use serde_json::{Value, json};

use crate::log::Log;
use crate::payload::Payload;
use crate::registry_image::on_retry;

/// Tags looked up at a time.
const PARALLEL: usize = 8;

pub(super) async fn run(source: &Source, payload: &Payload, log: &Log) -> anyhow::Result<Value> {
    let version = payload.version()?;
    let from = match (version.text("tag")?, version.string("digest")?) {
        (tag, Some(digest)) => Some(Found { tag: tag.unwrap_or_default(), digest }),
        _ => None,
    };
    let mut found = Vec::new();
    for place in places(source) {
        let outcome = async {
            let registry = place.connect(source, on_retry(log)).await?;
            versions(&registry, &place.repository, source, from.as_ref()).await
        };
        match outcome.await {
            Ok(versions) if versions.is_empty() && place.is_mirror => {
                log.warn(&format!("checking mirror {} failed: tag not found", place.name()));
            }
            Ok(versions) => {
                found = versions;
                break;
            }
            Err(error) if place.is_mirror => {
                log.warn(&format!("checking mirror {} failed: {error:#}", place.name()));
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("checking origin {} failed", place.name()));
            }
        }
    }
    let version = |found: Found| json!({"tag": found.tag, "digest": found.digest});
    Ok(found.into_iter().map(version).collect())
}

async fn versions(
    registry: &Registry,
    repository: &str,
    source: &Source,
    from: Option<&Found>,
) -> anyhow::Result<Vec<Found>> {
    match &source.follow {
        Follow::Tag(tag) => of_tag(registry, repository, tag, from).await,
        Follow::Regex(regex) => {
            let mut tags = registry.tags(repository).await?;
            tags.retain(|tag| regex.is_match(tag));
            let mut found = look_up(registry, repository, tags, |tag| tag.as_str()).await?;
            if source.created_at_sort {
                sort_by_age(registry, repository, source, &mut found).await?;
            }
            Ok(found.into_iter().map(|(tag, digest)| Found { tag, digest }).collect())
        }
        Follow::Semver(rule) => of_versions(registry, repository, rule, from).await,
    }
}

/// The digest of one tag, after the given one if that is another image that still exists.
async fn of_tag(
    registry: &Registry,
    repository: &str,
    tag: &str,
    from: Option<&Found>,
) -> anyhow::Result<Vec<Found>> {
    let Some(now) = registry.digest_of(repository, tag).await? else { return Ok(Vec::new()) };
    let mut versions = Vec::new();
    if let Some(from) = from.filter(|from| from.digest != now.as_str()) {
        let digest = Digest::parse(&from.digest).context("version.digest")?;
        if registry.digest_of(repository, digest.as_str()).await?.is_some() {
            versions.push(Found { tag: tag.to_owned(), digest: from.digest.clone() });
        }
    }
    versions.push(Found { tag: tag.to_owned(), digest: now.as_str().to_owned() });
    Ok(versions)
}

async fn of_versions(
    registry: &Registry,
    repository: &str,
    rule: &SemverRule,
    from: Option<&Found>,
) -> anyhow::Result<Vec<Found>> {
    let tags = registry.tags(repository).await?;
    let mut candidates: Vec<Candidate> =
        tags.iter().filter_map(|tag| rule.candidate(tag)).collect();
    // Digests cost a request each: when the given version still stands, lower ones are not asked for.
    let cursor = from.and_then(|from| {
        let candidate = candidates.iter().find(|candidate| candidate.tag == from.tag)?.clone();
        Some((candidate, &from.digest))
    });
    if let Some((cursor, digest)) = cursor {
        let now = registry.digest_of(repository, &cursor.tag).await?;
        if let (Some(version), true) =
            (&cursor.version, now.is_some_and(|now| now.as_str() == digest))
        {
            candidates.retain(|candidate| {
                let other = candidate.version.as_ref();
                candidate.tag == cursor.tag
                    || other
                        .is_none_or(|other| other.version.cmp_precedence(&version.version).is_gt())
            });
        }
    }
    let found = look_up(registry, repository, candidates, |candidate| &candidate.tag).await?;
    Ok(rule.versions(&found))
}

/// The digests of many tags, several at a time, in the same order. Tags that vanish meanwhile are left out.
async fn look_up<T>(
    registry: &Registry,
    repository: &str,
    items: Vec<T>,
    tag: impl Fn(&T) -> &str,
) -> anyhow::Result<Vec<(T, String)>> {
    let tag = &tag;
    let found: Vec<Option<(T, String)>> = stream::iter(items)
        .map(|item| async move {
            let digest = registry.digest_of(repository, tag(&item)).await?;
            anyhow::Ok(digest.map(|digest| (item, digest.as_str().to_owned())))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// Orders tags by when their images were made, oldest first.
async fn sort_by_age(
    registry: &Registry,
    repository: &str,
    source: &Source,
    found: &mut Vec<(String, String)>,
) -> anyhow::Result<()> {
    let platform = source.platform(None);
    let platform = &platform;
    let mut dated: Vec<(jiff::Timestamp, (String, String))> = stream::iter(std::mem::take(found))
        .map(|(tag, digest)| async move {
            let image = registry.image(repository, &digest, platform).await?;
            let created = image.config.created.and_then(|text| text.parse().ok());
            anyhow::Ok((created.unwrap_or(jiff::Timestamp::MIN), (tag, digest)))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    dated.sort_by_key(|(created, _)| *created);
    *found = dated.into_iter().map(|(_, pair)| pair).collect();
    Ok(())
}
