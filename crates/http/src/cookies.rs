//! The cookies of browser logins.

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use jb_model::Timestamp;

/// Holds `bearer <token>`.
pub(crate) const AUTH: &str = "skymarshal_auth";
/// Holds what `X-Csrf-Token` must repeat.
pub(crate) const CSRF: &str = "skymarshal_csrf";
/// Binds a login under way to the browser that began it.
pub(crate) const STATE: &str = "skymarshal_state";

/// The value of a cookie, without quotes; `None` when missing or empty.
pub(crate) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches('"'))
        .filter(|value| !value.is_empty())
}

/// Adds a cookie that scripts cannot read and other sites cannot make a browser send along with a form.
pub(crate) fn set(
    headers: &mut HeaderMap,
    name: &str,
    value: &str,
    expires: Option<Timestamp>,
    secure: bool,
) {
    let quote = if value.contains(' ') { "\"" } else { "" };
    let mut cookie = format!("{name}={quote}{value}{quote}; Path=/");
    if let Some(expires) = expires {
        cookie += &format!("; Expires={}", http_date(expires));
    }
    append(headers, cookie, secure);
}

/// Makes the browser forget a cookie.
pub(crate) fn unset(headers: &mut HeaderMap, name: &str, secure: bool) {
    append(headers, format!("{name}=; Path=/; Max-Age=0"), secure);
}

fn append(headers: &mut HeaderMap, mut cookie: String, secure: bool) {
    cookie += "; HttpOnly";
    if secure {
        cookie += "; Secure";
    }
    cookie += "; SameSite=Lax";
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        headers.append(SET_COOKIE, value);
    }
}

/// A time as HTTP headers have it, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.unix_seconds())
        .unwrap_or_default()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn cookies_survive_a_round_trip() {
        let mut sent = HeaderMap::new();
        let at = Timestamp::from_unix_seconds(784_111_777);
        set(&mut sent, AUTH, "bearer abc", Some(at), true);
        let cookie = sent.get(SET_COOKIE).unwrap().to_str().unwrap();
        assert_eq!(
            cookie,
            "skymarshal_auth=\"bearer abc\"; Path=/; Expires=Sun, 06 Nov 1994 08:49:37 GMT; HttpOnly; Secure; SameSite=Lax"
        );
        let mut received = HeaderMap::new();
        let pair = format!("other=1; {}", cookie.split(';').next().unwrap());
        received.insert(COOKIE, HeaderValue::from_str(&pair).unwrap());
        assert_eq!(read(&received, AUTH), Some("bearer abc"));
        assert_eq!(read(&received, CSRF), None);
    }
}
