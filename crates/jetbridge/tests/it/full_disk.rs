//! The disk that the server's state is on is full; nothing that was stored is lost.

use std::path::{Path, PathBuf};

use crate::api::Api;
use crate::server::{Server, until};

const PIPELINE: &str = "
jobs:
- name: speaks
  plan:
  - task: speak
    config: {platform: linux, run: {path: echo, args: [all is well]}}
- name: fills
  plan:
  - task: fill
    config:
      platform: linux
      run: {path: dd, args: [if=/dev/zero, of=/everything, bs=1M]}
- name: fills-silently
  plan:
  - task: fill
    config:
      platform: linux
      run: {path: sh, args: [-c, 'dd if=/dev/zero of=/everything bs=1M 2>/dev/null; exit 3']}
- name: floods
  plan:
  - task: flood
    config:
      platform: linux
      run: {path: 'yes', args: [the same again and again]}
";

/// What someone else keeps on the disk.
struct Ballast(PathBuf);

impl Ballast {
    fn on(disk: &Path, bytes: usize) -> Self {
        let path = disk.join("ballast");
        std::fs::write(&path, vec![1; bytes]).unwrap();
        Self(path)
    }

    fn remove(self) {
        std::fs::remove_file(self.0).unwrap();
    }
}

/// The build ended, and says once that the disk is full.
fn assert_tells((status, log): &(String, String)) {
    assert!(status == "errored" || status == "failed", "{status}: {log}");
    let says = |words: &str| log.matches(words).count();
    let times = says("No space left on device") + says("jetbridge.db` is on is full");
    assert_eq!(times, 1, "{status}: {log}");
}

async fn speaks(api: &Api) -> i64 {
    let build = api.trigger("p", "speaks").await;
    assert!(api.succeeded(build).await.contains("all is well"));
    build
}

/// The job works again: at once, or when the server noticed.
async fn speaks_again(api: &Api) {
    until("a build works again", async || {
        let build = api.trigger("p", "speaks").await;
        let (status, log) = api.ended(build).await;
        (status == "succeeded" && log.contains("all is well")).then_some(())
    })
    .await;
}

async fn a_disk_filled_by(job: &str, says_why: bool) {
    let Some(mut server) = Server::on_disk_of("256m").await else { return };
    let ballast = Ballast::on(server.state.path(), 64 << 20);
    let api = server.login().await;
    api.set_pipeline("p", PIPELINE).await;
    let first = speaks(&api).await;
    let stream = api.stream(first).await;

    let filling = api.trigger("p", job).await;
    let ended = api.ended(filling).await;
    if says_why {
        assert_tells(&ended);
    } else {
        assert_eq!(ended, ("failed".to_owned(), String::new()), "its exit found room");
    }
    // The server goes on, and says the same of what it cannot do.
    let refused = api.trigger("p", "speaks").await;
    assert_tells(&api.ended(refused).await);
    assert_eq!(api.stream(first).await, stream);

    ballast.remove();
    speaks_again(&api).await;
    assert_eq!(api.stream(first).await, stream);
    server.kill();
    server.start_again().await;
    let api = Api::with_token(&server.url, &api.token);
    assert_eq!(api.stream(first).await, stream);
    assert_eq!(api.ended(filling).await, ended);
    speaks_again(&api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fills_the_disk_ends_and_harms_nothing() {
    a_disk_filled_by("fills", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fills_the_disk_and_says_nothing_ends_as_its_process_does() {
    a_disk_filled_by("fills-silently", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_fills_the_disk_ends_its_build_and_harms_nothing() {
    a_disk_filled_by("floods", true).await;
}
