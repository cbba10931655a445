//! A bucket of a real store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jb_object_store::{Credentials, Kind, ObjectStore, PART_BYTES, Settings};
use jb_test_object_store::{BUCKET, KEY, SECRET, TestStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn settings(store: &TestStore) -> Settings {
    Settings {
        bucket: BUCKET.to_owned(),
        prefix: "ci/".to_owned(),
        endpoint: Some(store.endpoint()),
        region: "us-east-1".to_owned(),
        credentials: Credentials { key: KEY.to_owned(), secret: SECRET.to_owned(), token: None },
        trust: None,
    }
}

fn bucket(store: &TestStore) -> ObjectStore {
    ObjectStore::new(settings(store)).unwrap()
}

async fn content(bucket: &ObjectStore, name: &str) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    bucket.read(name).await.unwrap()?.read_to_end(&mut content).await.unwrap();
    Some(content)
}

#[tokio::test]
async fn objects_are_written_listed_and_deleted() {
    let Some(store) = TestStore::start(HERE) else { return };
    let bucket = bucket(&store);
    bucket.check().await.unwrap();
    assert!(!bucket.has("v/one").await.unwrap());
    assert!(content(&bucket, "v/one").await.is_none());
    bucket.write("v/one", b"first".to_vec()).await.unwrap();
    bucket.write("v/one", b"second".to_vec()).await.unwrap();
    bucket.write("v/a b%c+ü", b"x".to_vec()).await.unwrap();
    bucket.write("other", Vec::new()).await.unwrap();
    assert_eq!(content(&bucket, "v/one").await.unwrap(), b"second");
    assert_eq!(bucket.read_small("v/a b%c+ü").await.unwrap().unwrap(), b"x");
    assert_eq!(bucket.list("v/").await.unwrap(), ["v/a b%c+ü", "v/one"]);
    assert_eq!(bucket.list("none/").await.unwrap(), [""; 0]);
    for _ in 0..2 {
        bucket.delete("v/one").await.unwrap();
        assert!(!bucket.has("v/one").await.unwrap());
    }
}

#[tokio::test]
async fn long_streams_are_objects_once_they_are_whole() {
    let Some(store) = TestStore::start(HERE) else { return };
    let bucket = bucket(&store);
    let long: Vec<u8> = (0..PART_BYTES * 2 + 7).map(|n| (n % 251) as u8).collect();
    bucket.write_stream("long", long.as_slice()).await.unwrap().unwrap();
    assert!(content(&bucket, "long").await.unwrap() == long);
    bucket.write_stream("exact", &long[..PART_BYTES]).await.unwrap().unwrap();
    assert!(content(&bucket, "exact").await.unwrap() == long[..PART_BYTES]);
    bucket.write_stream("short", &b"abc"[..]).await.unwrap().unwrap();
    // A stream that fails leaves nothing, whichever part it fails in.
    for good in [5, PART_BYTES + 5] {
        let failing = long[..good].chain(Failing);
        let error = bucket.write_stream("cut", failing).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(bucket.list("").await.unwrap(), ["exact", "long", "short"]);
    let left: Vec<String> =
        store.files().into_iter().filter(|file| !file.starts_with("ci/")).collect();
    assert_eq!(left, [""; 0], "parts stay");
}

/// Whoever sent the stream goes away.
#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_leaves_nothing() {
    let Some(store) = TestStore::start(HERE) else { return };
    let bucket = bucket(&store);
    let is_left = || !store.files().is_empty();
    let (reader, mut writer) = tokio::io::duplex(PART_BYTES);
    let whole = vec![7; PART_BYTES];
    let begun = async {
        writer.write_all(&whole).await.unwrap();
        while !is_left() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        written = bucket.write_stream("cut", reader) => panic!("{written:?}"),
        () = begun => {}
    }
    while is_left() {
        tokio::task::yield_now().await;
    }
    assert!(!bucket.has("cut").await.unwrap());
}

struct Failing;

impl tokio::io::AsyncRead for Failing {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

#[tokio::test]
async fn an_upload_is_no_object_until_it_is_finished() {
    let Some(store) = TestStore::start(HERE) else { return };
    let bucket = bucket(&store);
    let upload = bucket.begin_upload("v").await.unwrap();
    let url = bucket.part_url("v", &upload, 1, Duration::from_secs(60));
    let put = reqwest::Client::new().put(url).body("content").send().await.unwrap();
    let tag = put.headers()["etag"].to_str().unwrap().to_owned();
    assert!(!bucket.has("v").await.unwrap());
    for _ in 0..2 {
        // Whoever did not hear the answer asks again.
        bucket.finish_upload("v", &upload, std::slice::from_ref(&tag)).await.unwrap();
    }
    assert_eq!(content(&bucket, "v").await.unwrap(), b"content");
    let upload = bucket.begin_upload("w").await.unwrap();
    for _ in 0..2 {
        bucket.abandon_upload("w", &upload).await.unwrap();
    }
    let error = bucket.finish_upload("w", &upload, &[tag]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Missing);
}

#[tokio::test]
async fn addresses_are_good_for_one_object_and_one_way() {
    let Some(store) = TestStore::start(HERE) else { return };
    let bucket = bucket(&store);
    bucket.write("mine", b"m".to_vec()).await.unwrap();
    bucket.write("theirs", b"t".to_vec()).await.unwrap();
    let url = bucket.read_url("mine", Duration::from_secs(60));
    let client = reqwest::Client::new();
    let get = client.get(&url).send().await.unwrap();
    assert_eq!(get.text().await.unwrap(), "m");
    assert!(!url.contains(SECRET));
    let other = url.replace("mine", "theirs");
    assert_eq!(client.get(&other).send().await.unwrap().status(), 403);
    assert_eq!(client.put(&url).body("x").send().await.unwrap().status(), 403);
    assert_eq!(content(&bucket, "mine").await.unwrap(), b"m");
}

#[tokio::test]
async fn what_is_wrong_is_said_once_and_clearly() {
    let Some(store) = TestStore::start(HERE) else { return };
    let place = store.endpoint();
    let told = async |adjust: fn(&mut Settings)| {
        let mut settings = settings(&store);
        adjust(&mut settings);
        ObjectStore::new(settings).unwrap().check().await.unwrap_err()
    };
    let error = told(|settings| settings.bucket = "nothing".to_owned()).await;
    assert_eq!(error.kind, Kind::NoBucket);
    let text = error.to_string();
    let begin =
        format!("cannot list objects `ci/*` of bucket `nothing` in the object store at {place}: ");
    assert!(text.starts_with(&begin), "{text}");
    assert!(text.ends_with("; create bucket `nothing`, or name another"), "{text}");

    let error = told(|settings| settings.credentials.secret = "wrong".to_owned()).await;
    assert_eq!(error.kind, Kind::Login, "{error}");
    let text = error.to_string();
    assert!(text.contains("key `jetbridge-tests` and its secret must be the store's"), "{text}");
    assert!(!text.contains("wrong"), "{text}");

    let error = told(|settings| settings.credentials.key = "nobody".to_owned()).await;
    assert_eq!(error.kind, Kind::Login, "{error}");
    assert!(error.to_string().contains("key `nobody`"), "{error}");
}

#[tokio::test]
async fn a_store_that_is_away_for_a_moment_is_waited_for() {
    let Some(mut store) = TestStore::start(HERE) else { return };
    let bucket = bucket(&store);
    bucket.write("one", b"1".to_vec()).await.unwrap();
    store.stop();
    let back = std::thread::spawn(move || {
        store.resume();
        store
    });
    assert_eq!(content(&bucket, "one").await.unwrap(), b"1");
    drop(back.join().unwrap());
}
