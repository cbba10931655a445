//! Images that the runtime fetches itself.

use std::sync::Arc;

use jb_model::{BuildStatus, Metadata};
use jb_runtime::fake::resource::mock;
use jb_runtime::fake::{Call, FakeRuntime, Fate};
use jb_runtime::{Image, ImageFetch, ImageRequest};

use crate::server::Server;

const PIPELINE: &str = r#"
resources:
- {name: image, type: registry-image, check_every: never, source: {initial_version: d1, repository: some/image, exit: 3}}
- {name: other, type: mock, check_every: never, source: {initial_version: v1}}
jobs:
- name: get
  plan: [{get: image}, {get: other}]
- name: task
  plan:
  - {task: t, config: {platform: linux, run: {path: sh, args: [-c, "echo hello; sleep x"]},
      image_resource: {type: registry-image, source: {initial_version: d2, repository: some/image}}}}
"#;

/// A server whose `registry-image` is `mock` in containers, and which fetches images as told.
async fn server(
    images: impl Fn(&ImageRequest) -> (Vec<String>, ImageFetch) + Send + Sync + 'static,
) -> Server {
    let mut image = mock();
    image.base.name = "registry-image".to_owned();
    let fake = FakeRuntime::with_types([mock(), image]);
    fake.set_images(Arc::new(images));
    let mut server = Server::stopped(fake, PIPELINE).await;
    server.start(None);
    server
}

fn fetched(_: &ImageRequest) -> (Vec<String>, ImageFetch) {
    let metadata = Metadata { name: "repository".to_owned(), value: "some/image".to_owned() };
    (vec!["layer 1\n".to_owned(), "layer 2\n".to_owned()], ImageFetch::Fetched(vec![metadata]))
}

fn runs(server: &Server, part: &str) -> usize {
    server.fake.started().iter().filter(|(ran, _)| ran.as_str().contains(part)).count()
}

#[tokio::test]
async fn a_get_of_an_image_needs_no_container() {
    let server = server(|request| {
        assert_eq!(request.source["repository"], "some/image");
        assert_eq!(request.version["version"], "d1");
        fetched(request)
    })
    .await;
    let (build, status) = server.run("get").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    // Only the other resource's script ran.
    assert_eq!(runs(&server, "-get-"), 1);
    let said = server.said(build).await;
    let of_image: Vec<&str> =
        said.iter().map(String::as_str).filter(|line| line.contains(" #1 ")).collect();
    let finish = r#"finish-get #1 {"exit_status":0,"metadata":[{"name":"repository","value":"some/image"}],"version":{"version":"d1"}}"#;
    let log = r#"log #1 stderr "layer 1\nlayer 2\n""#;
    let expected =
        ["initialize-get #1 {}", "start-get #1 {}", "selected-worker #1 {}", log, finish];
    assert_eq!(of_image, expected);
    let (again, _) = server.run("get").await;
    assert!(server.log(again).await.contains("found existing resource cache"));
}

#[tokio::test]
async fn a_task_runs_in_an_image_fetched_that_way() {
    let server = server(fetched).await;
    let build = server.trigger("task").await;
    server.logged(build, "hello").await;
    assert_eq!(runs(&server, "-get-"), 0);
    let task = server.container(build, "t").await;
    assert!(matches!(server.fake.spec(&task).unwrap().image, Image::Volume(_)));
    server.fake.release("x");
    let status = server.ended(build).await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
}

#[tokio::test]
async fn what_cannot_be_fetched_fails_the_step() {
    let failing = |_: &ImageRequest| (vec!["no such image\n".to_owned()], ImageFetch::Failed);
    let server = server(failing).await;
    let (build, status) = server.run("get").await;
    assert_eq!(status, BuildStatus::Failed);
    assert_eq!(server.log(build).await, "no such image\n");
    assert!(server.errors(build).await.is_empty());
}

#[tokio::test]
async fn what_the_runtime_leaves_the_script_does() {
    let server = server(|_| (Vec::new(), ImageFetch::NotOffered)).await;
    let (build, status) = server.run("get").await;
    assert_eq!(status, BuildStatus::Succeeded, "{:?}", server.errors(build).await);
    assert_eq!(runs(&server, "-get-"), 2);
    assert!(server.log(build).await.contains("fetching version: d1"));
}

#[tokio::test]
async fn aborting_gives_a_fetch_up_and_a_restart_begins_it_again() {
    let mut server = server(fetched).await;
    server.fake.set_hook(Some(Arc::new(|call: &Call| match call.what {
        "fetch_image" => Fate::Unanswered,
        _ => Fate::Done,
    })));
    let build = server.trigger("get").await;
    server.logged(build, "layer 2").await;
    server.crash().await;
    server.start(None);
    let (one, two) = ("layer 1\n", "layer 2\n");
    server.logged(build, &format!("{one}{two}{one}{two}")).await;
    server.engine().abort(build, false).await.unwrap();
    assert_eq!(server.ended(build).await, BuildStatus::Aborted);
    assert_eq!(server.log(build).await, format!("{one}{two}{one}{two}"));
}
