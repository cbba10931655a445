//! Which tags are versions and in which order: decisions over plain names and digests.

use std::collections::BTreeMap;

use super::source::SemverRule;
use super::version::TagVersion;

/// A tag with what is known of it before its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub tag: String,
    /// None for the tag without a version: `latest`, or the variant's own name.
    pub version: Option<TagVersion>,
}

/// A tag and the digest it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub tag: String,
    pub digest: String,
}

impl SemverRule {
    /// What is known of a tag under this rule; None when it does not count.
    pub fn candidate(&self, tag: &str) -> Option<Candidate> {
        if tag == self.variant.as_deref().unwrap_or("latest") {
            return Some(Candidate { tag: tag.to_owned(), version: None });
        }
        let text = match &self.variant {
            Some(variant) => tag.strip_suffix(variant.as_str())?.strip_suffix('-')?,
            None => tag,
        };
        let version = TagVersion::parse(text)?;
        let allowed =
            self.constraint.as_ref().is_none_or(|constraint| constraint.allows(&version.version));
        let pre = version.version.pre.as_str();
        (allowed && (pre.is_empty() || self.is_pre_release(pre)))
            .then(|| Candidate { tag: tag.to_owned(), version: Some(version) })
    }

    /// Whether what follows the numbers marks a pre-release, rather than a variant.
    fn is_pre_release(&self, pre: &str) -> bool {
        let more = &self.pre_release_prefixes;
        self.pre_releases
            && (!more.is_empty() || !pre.contains('-'))
            && (["alpha", "beta", "rc"].iter().any(|prefix| pre.starts_with(prefix))
                || more.iter().any(|prefix| pre.starts_with(prefix.as_str())))
    }

    /// Each image once, under its most specific version, in order of versions; then the tag without a version if
    /// it stands for an image of its own.
    pub fn versions(&self, found: &[(Candidate, String)]) -> Vec<Found> {
        let mut by_digest: BTreeMap<&str, (&TagVersion, &str)> = BTreeMap::new();
        for (candidate, digest) in found {
            let Some(version) = &candidate.version else { continue };
            let replaces =
                by_digest.get(digest.as_str()).is_none_or(|(held, _)| is_better(version, held));
            if replaces {
                by_digest.insert(digest, (version, &candidate.tag));
            }
        }
        let mut ordered: Vec<_> = by_digest.iter().collect();
        ordered.sort_by(|(_, (a, a_tag)), (_, (b, b_tag))| {
            a.version.cmp_precedence(&b.version).then_with(|| a_tag.cmp(b_tag))
        });
        let mut versions: Vec<Found> = ordered
            .into_iter()
            .map(|(digest, (_, tag))| Found {
                tag: (*tag).to_owned(),
                digest: (*digest).to_owned(),
            })
            .collect();
        let bare = found.iter().find(|(candidate, _)| candidate.version.is_none());
        if let (Some((candidate, digest)), None) = (bare, &self.constraint)
            && !by_digest.contains_key(digest.as_str())
        {
            versions.push(Found { tag: candidate.tag.clone(), digest: digest.clone() });
        }
        versions
    }
}

/// A final version rather than a pre-release of the same image, then the one with more of its numbers.
fn is_better(new: &TagVersion, held: &TagVersion) -> bool {
    match (new.version.pre.is_empty(), held.version.pre.is_empty()) {
        (true, false) => true,
        (false, true) => false,
        _ => new.dots() > held.dots(),
    }
}

/// The alias tags that pushing `version` moves, given the tags there are: `latest`, `1` and `1.2` (or those of the
/// variant), each unless a higher version holds it.
pub fn aliases(version: &TagVersion, variant: Option<&str>, existing: &[String]) -> Vec<String> {
    let pushed = &version.version;
    let (mut latest, mut major, mut minor) = (true, true, true);
    for tag in existing {
        let text = match variant {
            Some(variant) => tag.strip_suffix(variant).and_then(|text| text.strip_suffix('-')),
            None => Some(tag.as_str()),
        };
        let Some(other) = text.and_then(TagVersion::parse).map(|other| other.version) else {
            continue;
        };
        if !other.pre.is_empty() {
            continue;
        }
        latest &= other.cmp_precedence(pushed).is_le();
        if other.major == pushed.major {
            major &= (other.minor, other.patch) <= (pushed.minor, pushed.patch);
            minor &= other.minor != pushed.minor || other.patch <= pushed.patch;
        }
    }
    let named = |text: String| match variant {
        Some(variant) => format!("{text}-{variant}"),
        None => text,
    };
    let latest = latest.then(|| variant.unwrap_or("latest").to_owned());
    let major = major.then(|| named(pushed.major.to_string()));
    let minor = minor.then(|| named(format!("{}.{}", pushed.major, pushed.minor)));
    [latest, major, minor].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
