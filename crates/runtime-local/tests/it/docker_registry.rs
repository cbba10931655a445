//! A registry as people run it, with a login.

use jb_model::VolumeHandle;
use jb_oci::{Credentials, Options, Registry};
use jb_runtime::{Image, ImageFetch};
use serde_json::json;

use crate::image::{Contents, Layer, request, shell};
use crate::machine::{Machine, root, spec};
use crate::registry;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_behind_a_login_runs() {
    if !root() {
        return;
    }
    let Some(running) = registry::Registry::start_with_login() else { return };
    let machine = Machine::new();
    let contents = Contents::default();
    let digest = contents.image(&[&shell().done(), &Layer::new().file("hello", "world").done()]);
    let login = Credentials { username: "someone".into(), password: "s3cret".into() };
    let options = Options { credentials: Some(login), ..Options::default() };
    let registry = Registry::connect(&running.host(), options).await.unwrap();
    contents.push(&registry, "app", "x").await;
    let repository = running.name("app");
    for source in [json!({}), json!({"username": "someone", "password": "wrong-one"})] {
        let (outcome, log) = machine.fetch("image", request(&repository, &digest, source)).await;
        assert_eq!(outcome, ImageFetch::Failed);
        assert!(log.contains("denied access") && !log.contains("wrong-one"), "{log}");
    }
    let source = json!({"username": "someone", "password": "s3cret"});
    let (outcome, log) = machine.fetch("image", request(&repository, &digest, source)).await;
    assert!(matches!(outcome, ImageFetch::Fetched(_)), "{log}");
    machine.create(&spec("task", Image::Volume(VolumeHandle::new("image")))).await;
    assert_eq!(machine.ok("task", "cat /hello").await, "world");
    // Who has no login does not get it from here either.
    let (outcome, _) = machine.fetch("other", request(&repository, &digest, json!({}))).await;
    assert_eq!(outcome, ImageFetch::Failed);
}
