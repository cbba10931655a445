//! What goes wrong with a store, sorted by what can be done about it.

use reqwest::StatusCode;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The same later may work.
    Passing,
    NoBucket,
    /// The store does not know the key, or the secret is not the key's.
    Login,
    /// The key may not do this.
    Forbidden,
    /// There is no such object or upload.
    Missing,
    Other,
}

/// A request that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{attempt}: {why}")]
pub struct Error {
    pub kind: Kind,
    /// What was attempted, and where.
    pub attempt: String,
    pub why: String,
}

/// Sorts an answer by its status and the code in its body, which not every store sends.
pub(crate) fn kind_of(status: StatusCode, code: &str) -> Kind {
    match code {
        "NoSuchBucket" => Kind::NoBucket,
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken"
        // Versity's.
        | "XAdminUserNotFound" => Kind::Login,
        "AccessDenied" | "AllAccessDisabled" => Kind::Forbidden,
        "NoSuchKey" | "NoSuchUpload" => Kind::Missing,
        "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" => Kind::Passing,
        _ if status.is_server_error() => Kind::Passing,
        _ => match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Kind::Passing,
            StatusCode::UNAUTHORIZED => Kind::Login,
            StatusCode::FORBIDDEN => Kind::Forbidden,
            StatusCode::NOT_FOUND => Kind::Missing,
            _ => Kind::Other,
        },
    }
}

/// The content of an XML element that occurs once.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let rest = xml.split_once(&format!("<{name}>"))?.1;
    rest.split_once(&format!("</{name}>")).map(|(content, _)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_can_be_done() {
        let cases = [
            (404, "NoSuchBucket", Kind::NoBucket),
            (404, "NoSuchKey", Kind::Missing),
            (404, "", Kind::Missing),
            (403, "InvalidAccessKeyId", Kind::Login),
            (403, "SignatureDoesNotMatch", Kind::Login),
            (403, "AccessDenied", Kind::Forbidden),
            (403, "", Kind::Forbidden),
            (503, "SlowDown", Kind::Passing),
            (200, "InternalError", Kind::Passing),
            (500, "", Kind::Passing),
            (429, "", Kind::Passing),
            (400, "InvalidRequest", Kind::Other),
        ];
        for (status, code, kind) in cases {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            assert_eq!(kind_of(status, code), kind, "{status} {code}");
        }
    }
}
