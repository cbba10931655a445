use std::sync::{Arc, Mutex};
use std::time::Duration;

use jb_oci::{
    Credentials, Descriptor, Digest, Error, LayerStore, Options, Platform, Registry, RetryPolicy,
    UnpackOptions,
};

use crate::server::{Answer, Asked, Server, answer};

fn options() -> Options {
    let retry = RetryPolicy { attempts: 4, base: Duration::ZERO, most: Duration::ZERO };
    Options { retry, ..Options::default() }
}

fn with_login() -> Options {
    let credentials = Credentials { username: "someone".into(), password: "secret".into() };
    Options { credentials: Some(credentials), ..options() }
}

fn blob(bytes: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::of(bytes), bytes.len() as u64)
}

fn content() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// Answers the question how the registry wants to be talked to; the rest is `respond`'s.
fn open(respond: impl Fn(&Asked, usize) -> Answer + Send + 'static) -> Server {
    Server::start(
        move |asked, before| {
            if asked.target == "/v2/" { answer(200, "{}") } else { respond(asked, before) }
        },
    )
}

#[tokio::test]
async fn busy_answers_are_waited_out() {
    let server = open(|_, before| match before {
        0 => answer(429, "").with("retry-after", "0"),
        1 => answer(503, ""),
        _ => answer(200, r#"{"tags": ["a", "b"]}"#),
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let on_retry =
        Some(Arc::new(move |text: &str| heard.lock().unwrap().push(text.to_owned())) as _);
    let registry =
        Registry::connect(&server.host(), Options { on_retry, ..options() }).await.unwrap();
    assert_eq!(registry.tags("x").await.unwrap(), ["a", "b"]);
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("list the tags of") && told[0].contains("429"), "{told:?}");
}

#[tokio::test]
async fn retries_end() {
    let server =
        open(|_, _| answer(500, r#"{"errors": [{"code": "UNKNOWN", "message": "out of order"}]}"#));
    let registry = Registry::connect(&server.host(), options()).await.unwrap();
    let error = registry.tags("x").await.unwrap_err();
    assert!(error.to_string().ends_with("answered 500: UNKNOWN out of order"), "{error}");
    assert_eq!(server.asked("tags/list").len(), 4);
}

#[tokio::test]
async fn pages_of_tags_are_followed() {
    let server = open(|asked, _| {
        if asked.target.contains("last=b") {
            answer(200, r#"{"tags": ["c"]}"#)
        } else {
            answer(200, r#"{"tags": ["a", "b"]}"#)
                .with("link", "</v2/x/tags/list?last=b&n=2>; rel=\"next\"")
        }
    });
    let registry = Registry::connect(&server.host(), options()).await.unwrap();
    assert_eq!(registry.tags("x").await.unwrap(), ["a", "b", "c"]);
}

/// A registry that gives tokens at `/token`; `expired` tokens are refused.
fn with_tokens() -> Server {
    Server::start(|asked, before| {
        let challenge = || {
            let host = asked.header("host").unwrap();
            answer(401, "").with(
                "www-authenticate",
                format!("Bearer realm=\"http://{host}/token\",service=\"s\""),
            )
        };
        if asked.target.starts_with("/token") {
            return match (asked.header("authorization"), before) {
                (Some("Basic c29tZW9uZTpzZWNyZXQ="), 0) => answer(200, r#"{"token": "expired"}"#),
                (Some("Basic c29tZW9uZTpzZWNyZXQ="), _) => {
                    answer(200, r#"{"access_token": "good"}"#)
                }
                _ => answer(
                    401,
                    r#"{"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}"#,
                ),
            };
        }
        match asked.header("authorization") {
            Some("Bearer good") => answer(200, r#"{"tags": ["a"]}"#),
            _ => challenge(),
        }
    })
}

#[tokio::test]
async fn tokens_are_fetched_kept_and_renewed() {
    let server = with_tokens();
    let registry = Registry::connect(&server.host(), with_login()).await.unwrap();
    assert_eq!(registry.tags("x").await.unwrap(), ["a"]);
    assert_eq!(registry.tags("x").await.unwrap(), ["a"]);
    let asked = server.asked("/token");
    assert_eq!(asked.len(), 2);
    assert!(
        asked[0].target.contains("service=s&scope=repository%3Ax%3Apull"),
        "{:?}",
        asked[0].target
    );
    let registry = Registry::connect(&server.host(), options()).await.unwrap();
    let error = registry.tags("x").await.unwrap_err();
    assert!(
        matches!(&error, Error::Denied { detail, .. } if detail.contains("who are you")),
        "{error}"
    );
}

#[tokio::test]
async fn a_login_does_not_follow_to_other_hosts() {
    let bytes = content();
    let body = bytes.clone();
    let storage = Server::start(move |_, _| answer(200, body.clone()));
    let elsewhere = format!("http://{}/stored", storage.host().replace("127.0.0.1", "localhost"));
    let server = Server::start(move |asked, _| match asked.header("authorization") {
        None => answer(401, "").with("www-authenticate", "Basic realm=\"x\""),
        Some(_) if asked.method == "HEAD" => answer(404, ""),
        Some(_) if asked.method == "POST" => answer(202, "").with("location", elsewhere.clone()),
        Some(_) => answer(307, "").with("location", elsewhere.clone()),
    });
    let registry = Registry::connect(&server.host(), with_login()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("blob");
    registry.blob_to_file("x", &blob(&bytes), &file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert!(registry.push_blob("x", &blob(&bytes), &file).await.unwrap());
    let asked = storage.asked("/stored");
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.header("authorization").is_none()));
    assert_eq!(asked[1].body, bytes);
    assert!(asked[1].target.contains("digest=sha256"), "{}", asked[1].target);
}

#[tokio::test]
async fn a_broken_transfer_is_continued() {
    let bytes = content();
    let body = bytes.clone();
    let server = open(move |asked, before| {
        let whole = |cut| Answer { cut, ..answer(200, body.clone()) };
        match (before, asked.header("range")) {
            (0, None) => whole(Some(150_000)),
            // The second time the server ignores that only the rest is wanted.
            (1, Some(_)) => whole(Some(200_000)),
            (_, Some(range)) => {
                let from: usize =
                    range.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap();
                answer(206, &body[from..])
            }
            other => panic!("{other:?}"),
        }
    });
    let registry = Registry::connect(&server.host(), options()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("blob");
    registry.blob_to_file("x", &blob(&bytes), &file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert_eq!(server.asked("/blobs/").len(), 3);
}

#[tokio::test]
async fn lies_about_content_are_found_out() {
    let bytes = content();
    let mut changed = bytes.clone();
    changed[7] ^= 1;
    let mut longer = bytes.clone();
    longer.push(0);
    let (right, manifest) = (blob(&bytes), r#"{"schemaVersion": 2, "manifests": []}"#);
    let server = open(move |asked, _| {
        if asked.target.starts_with("/v2/changed/") {
            answer(200, changed.clone())
        } else if asked.target.starts_with("/v2/longer/") {
            answer(200, longer.clone())
        } else if asked.target.starts_with("/v2/empty/") {
            answer(200, "")
        } else {
            answer(200, manifest).with("content-type", "application/vnd.oci.image.index.v1+json")
        }
    });
    let registry = Registry::connect(&server.host(), options()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("blob");
    let error = registry.blob_to_file("changed", &right, &file).await.unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    let error = registry.blob_to_file("longer", &right, &file).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let error = registry.blob_to_file("empty", &right, &file).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(!file.exists());
    let error = registry.manifest("x", Digest::of(b"else").as_str()).await.unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    assert_eq!(registry.manifest("x", "tag").await.unwrap().bytes, manifest.as_bytes());
    let error = registry.image("x", "tag", &Platform::host()).await.unwrap_err();
    assert!(matches!(error, Error::NoPlatform { .. }), "{error}");
}

#[tokio::test]
async fn a_digest_is_found_without_being_told() {
    let manifest = r#"{"schemaVersion": 2, "manifests": []}"#;
    let digest = Digest::of(manifest.as_bytes());
    let told = digest.clone();
    let server = open(move |asked, _| match (asked.target.as_str(), asked.method.as_str()) {
        ("/v2/x/manifests/told", "HEAD") => {
            answer(200, "").with("docker-content-digest", told.as_str())
        }
        ("/v2/x/manifests/untold", "HEAD") => answer(405, ""),
        ("/v2/x/manifests/untold", "GET") => answer(200, manifest),
        _ => answer(404, ""),
    });
    let registry = Registry::connect(&server.host(), options()).await.unwrap();
    assert_eq!(registry.digest_of("x", "told").await.unwrap(), Some(digest.clone()));
    assert_eq!(registry.digest_of("x", "untold").await.unwrap(), Some(digest));
    assert_eq!(registry.digest_of("x", "none").await.unwrap(), None);
}

#[tokio::test]
async fn an_unreachable_registry_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Registry::connect(&free.to_string(), options()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("failed to reach the registry {free}: could not connect")),
        "{text}"
    );
    let certs = vec!["not a certificate".to_owned()];
    let error = Registry::connect("registry.invalid", Options { ca_certs: certs, ..options() })
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Settings { .. }), "{error}");
}

#[tokio::test]
async fn a_store_fetches_a_layer_once() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", &b"hello"[..]).unwrap();
    let layer = tar.into_inner().unwrap();
    let descriptor = blob(&layer);
    let server = open(move |_, _| answer(200, layer.clone()));
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::connect(&server.host(), options()).await.unwrap();
    let open = || LayerStore::open(dir.path(), UnpackOptions::default()).unwrap();
    let keep: jb_oci::Keep = std::sync::Arc::new(());
    // Two users of one directory, as two processes are.
    let (one, two) = (open(), open());
    let (first, second) = tokio::join!(
        one.pull_layer(&registry, "x", &descriptor, keep.clone()),
        two.pull_layer(&registry, "x", &descriptor, keep.clone())
    );
    assert_ne!(first.unwrap(), second.unwrap(), "one of them fetches it");
    let path = one.layer(&descriptor.digest).unwrap();
    assert_eq!(std::fs::read(path.join("fs/rootfs/file")).unwrap(), b"hello");
    assert_eq!(server.asked(descriptor.digest.as_str()).len(), 1);
    drop(server);
    assert!(!open().pull_layer(&registry, "x", &descriptor, keep).await.unwrap());
    assert_eq!(std::fs::read_dir(dir.path().join("partial")).unwrap().count(), 0);
}
