#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use jb_model::ContainerHandle;
use jb_runtime::client::{Output, ProcessSpec, RunnerClient, StartError};
use jb_runtime::fake::FakeRuntime;
use jb_runtime::{ContainerSpec, Runtime as _};

use super::*;
use crate::pod::tests::task;

struct Shared {
    fake: FakeRuntime,
    pod: ContainerHandle,
    mux: Mux,
}

async fn shared() -> Shared {
    let fake = FakeRuntime::new();
    let pod = ContainerHandle::new("pod");
    let spec = ContainerSpec {
        handle: pod.clone(),
        image: jb_runtime::Image::Host,
        mounts: Vec::new(),
        ..task()
    };
    fake.create(&spec).await.unwrap();
    let mux = Mux::new(fake.connect(&pod).await.unwrap()).await.unwrap();
    Shared { fake, pod, mux }
}

impl Shared {
    async fn join(&self, name: &str) -> RunnerClient {
        let member = Member { prefix: format!("{name}/"), ..Member::default() };
        RunnerClient::handshake(Box::new(self.mux.open(member))).await.unwrap()
    }
}

fn script(text: &str) -> ProcessSpec {
    let args = ["-c", text].map(str::to_owned).to_vec();
    ProcessSpec { path: "sh".into(), args, dir: "/".into(), ..ProcessSpec::default() }
}

/// What a process said, and its status.
async fn outcome(client: &RunnerClient, id: &str) -> (String, i32) {
    let mut attached = client.attach(id, 0).await.unwrap();
    let mut said = Vec::new();
    while let Some(output) = attached.next().await {
        match output {
            Output::Data { bytes, .. } => said.extend(bytes),
            Output::Exited { status, .. } => {
                return (String::from_utf8(said).unwrap(), status);
            }
        }
    }
    panic!("the stream ended before the process did");
}

#[tokio::test]
async fn checks_with_the_same_names_and_numbers_do_not_meet() {
    let shared = shared().await;
    let (one, two) = (shared.join("one").await, shared.join("two").await);
    assert!(!one.start("resource", script("echo 1; sleep a; echo more")).await.unwrap().existing);
    assert!(!two.start("resource", script("echo 2; exit 3")).await.unwrap().existing);
    assert_eq!(outcome(&two, "resource").await, ("2\n".to_owned(), 3));
    shared.fake.release("a");
    assert_eq!(outcome(&one, "resource").await, ("1\nmore\n".to_owned(), 0));
    let names = |all: Vec<jb_runner_protocol::ProcessInfo>| -> Vec<String> {
        all.into_iter().map(|process| process.id).collect()
    };
    assert_eq!(names(one.processes().await.unwrap()), ["resource"]);
    two.forget("resource").await.unwrap();
    assert!(two.processes().await.unwrap().is_empty());
    assert_eq!(names(one.processes().await.unwrap()), ["resource"]);
    // Whoever looks after the pod sees all of them.
    let all = RunnerClient::handshake(Box::new(shared.mux.open(Member::default()))).await.unwrap();
    assert_eq!(names(all.processes().await.unwrap()), ["one/resource"]);
}

#[tokio::test]
async fn a_check_that_leaves_leaves_the_others_be() {
    let shared = shared().await;
    let (one, two) = (shared.join("one").await, shared.join("two").await);
    one.start("resource", script("sleep a; echo 1")).await.unwrap();
    two.start("resource", script("sleep a; echo 2")).await.unwrap();
    let attached = one.attach("resource", 0).await.unwrap();
    drop((attached, one));
    shared.fake.release("a");
    assert_eq!(outcome(&two, "resource").await, ("2\n".to_owned(), 0));
    // What it left is found again by its name.
    let again = shared.join("one").await;
    assert!(again.start("resource", script("echo never")).await.unwrap().existing);
    assert_eq!(outcome(&again, "resource").await, ("1\n".to_owned(), 0));
}

#[tokio::test]
async fn nobody_ends_the_runner_or_breaks_the_connection_for_all() {
    let shared = shared().await;
    let (one, two) = (shared.join("one").await, shared.join("two").await);
    let refused = one.shutdown().await.unwrap_err();
    assert!(refused.to_string().contains("other checks"), "{refused}");
    let long = "n".repeat(MAX_ID);
    let refused = one.start(&long, script("true")).await.unwrap_err();
    assert!(matches!(&refused, StartError::Other(why) if why.contains("too long")), "{refused}");
    two.start("resource", script("echo 2")).await.unwrap();
    assert_eq!(outcome(&two, "resource").await, ("2\n".to_owned(), 0));
}

#[tokio::test]
async fn a_broken_connection_ends_every_stream() {
    let shared = shared().await;
    let one = shared.join("one").await;
    one.start("resource", script("sleep a")).await.unwrap();
    let mut attached = one.attach("resource", 0).await.unwrap();
    shared.fake.cut_streams(&shared.pod);
    assert_eq!(attached.next().await, None);
    assert!(shared.mux.is_lost());
    assert!(matches!(one.processes().await, Err(Error::Transient { .. })));
}
