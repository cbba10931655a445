//! Where a login may lead: only to a place on this server.

/// How often a target may be encoded on top of itself.
const MAX_LAYERS: usize = 5;

/// The path and query of a redirect, or `None` for one that could leave the server. Encodings that are
/// stacked on each other are undone first, so that they hide nothing.
pub(crate) fn local(target: &str) -> Option<(String, Vec<(String, String)>)> {
    let mut target = target.to_owned();
    let mut settled = false;
    for _ in 0..MAX_LAYERS {
        let decoded = decode(&target)?;
        if decoded == target {
            settled = true;
            break;
        }
        target = decoded;
    }
    if !settled || target.contains('\\') || target.chars().any(char::is_control) {
        return None;
    }
    // Parsed against a base that nothing can be on: what comes out elsewhere wanted to leave.
    let base = url::Url::parse("http://local.invalid/").ok()?;
    let url = base.join(&format!("/{}", target.trim_start_matches('/'))).ok()?;
    let stays = url.host_str() == Some("local.invalid") && !url.path().starts_with("//");
    stays.then(|| (url.path().to_owned(), url.query_pairs().into_owned().collect()))
}

/// The target with one more parameter, in place of one of that name.
pub(crate) fn with(target: &str, key: &str, value: &str) -> Option<String> {
    let (path, mut pairs) = local(target)?;
    pairs.retain(|(name, _)| name != key);
    pairs.push((key.to_owned(), value.to_owned()));
    pairs.sort();
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    Some(format!("{path}?{query}"))
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let value = digit(rest.next())? * 16 + digit(rest.next())?;
                bytes.push(u8::try_from(value).ok()?);
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn targets_stay_on_the_server() {
        let path = |target| local(target).map(|(path, _)| path);
        assert_eq!(path("/teams/main"), Some("/teams/main".into()));
        assert_eq!(path("teams"), Some("/teams".into()));
        assert_eq!(path("//evil.example/x"), Some("/evil.example/x".into()));
        assert_eq!(path("https://evil.example"), Some("/https://evil.example".into()));
        assert_eq!(path("/%252F%252Fevil.example"), Some("/evil.example".into()));
        assert_eq!(path("/\\evil.example"), None);
        assert_eq!(path("/%5Cevil.example"), None);
        assert_eq!(path("/%25252525252525252Fx"), None);
        assert_eq!(path("/a%0d%0ab"), None);
        assert_eq!(path("/%zz"), None);
    }

    #[test]
    fn a_parameter_is_added() {
        assert_eq!(
            with("/fly_success?fly_port=4711&csrf_token=old", "csrf_token", "new").unwrap(),
            "/fly_success?csrf_token=new&fly_port=4711"
        );
        assert_eq!(with("", "csrf_token", "new").unwrap(), "/?csrf_token=new");
    }
}
