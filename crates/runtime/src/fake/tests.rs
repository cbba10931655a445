#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_model::event::LogSource;
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::client::{Output, ProcessSpec, RunnerClient, StartError, Stdin, WindowSize};
use crate::{ContainerKind, Mount, Network, User};

fn handle() -> ContainerHandle {
    ContainerHandle::new("c")
}

fn spec(image: Image, mounts: Vec<(&str, MountSource)>) -> ContainerSpec {
    let mounts = mounts.into_iter();
    ContainerSpec {
        handle: handle(),
        kind: ContainerKind::Task,
        image,
        hostname: "c".to_owned(),
        working_dir: "/work".to_owned(),
        mounts: mounts.map(|(path, source)| Mount { path: path.to_owned(), source }).collect(),
        limits: Default::default(),
        privileged: false,
        network: Network::Outbound,
        user: User::Image,
        source: None,
        coordinates: Default::default(),
    }
}

fn script(text: &str) -> ProcessSpec {
    let args = vec!["-c".to_owned(), text.to_owned()];
    ProcessSpec { path: "sh".to_owned(), args, dir: "/work".to_owned(), ..ProcessSpec::default() }
}

async fn client(fake: &FakeRuntime) -> RunnerClient {
    RunnerClient::handshake(fake.connect(&handle()).await.unwrap()).await.unwrap()
}

/// Everything a process says on each stream, and its status.
async fn follow(client: &RunnerClient, from: u64) -> (String, String, i32) {
    let mut attached = client.attach("p", from).await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match attached.next().await.expect("the exit comes last") {
            Output::Data { stream: LogSource::Stdout, bytes, .. } => out.extend(bytes),
            Output::Data { bytes, .. } => err.extend(bytes),
            Output::Exited { status, .. } => {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                return (text(out), text(err), status);
            }
        }
    }
}

async fn run(fake: &FakeRuntime, process: ProcessSpec) -> (String, String, i32) {
    let client = client(fake).await;
    client.start("p", process).await.unwrap();
    follow(&client, 0).await
}

#[tokio::test]
async fn a_script_says_what_it_says() {
    let fake = FakeRuntime::new();
    fake.create(&spec(Image::Host, Vec::new())).await.unwrap();
    let text = "x=1; echo \"a $x\" 'b $x'; echo bad >&2; false && echo no\nfalse || echo yes; exit 3; echo never";
    let (out, err, status) = run(&fake, script(text)).await;
    assert_eq!((out.as_str(), err.as_str(), status), ("a 1 b $x\nyes\n", "bad\n", 3));
}

#[tokio::test]
async fn a_terminal_has_one_stream_and_returns() {
    let fake = FakeRuntime::new();
    fake.create(&spec(Image::Host, Vec::new())).await.unwrap();
    let tty = Some(WindowSize { cols: 80, rows: 24 });
    let (out, err, _) = run(&fake, ProcessSpec { tty, ..script("echo a; echo b >&2") }).await;
    assert_eq!((out.as_str(), err.as_str()), ("a\r\nb\r\n", ""));
}

#[tokio::test]
async fn a_missing_program_is_told_apart() {
    let fake = FakeRuntime::new();
    fake.create(&spec(Image::Host, Vec::new())).await.unwrap();
    let process = ProcessSpec { path: "nosuch".to_owned(), ..ProcessSpec::default() };
    let started = client(&fake).await.start("p", process).await;
    assert!(matches!(started, Err(StartError::NotFound { .. })), "{started:?}");
}

#[tokio::test]
async fn inputs_are_copied_on_write_and_outputs_stay() {
    let fake = FakeRuntime::new();
    let volume = |name: &str| VolumeHandle::new(name);
    fake.write_file(&volume("in"), "a/f", "old");
    let mounts = vec![
        ("i", MountSource::Input { volume: volume("in"), copy: None }),
        ("both", MountSource::Input { volume: volume("in"), copy: Some(volume("copy")) }),
        ("o", MountSource::Output(volume("out"))),
        ("/abs/cache", MountSource::Cache(volume("cache"))),
    ];
    let container = spec(Image::Host, mounts);
    fake.create(&container).await.unwrap();
    let text = "cat i/a/f; echo n > i/a/f; echo m > both/a/f; cp i/a/f o/g; echo c >> /abs/cache/x; ls .; ls i/a";
    let (out, _, status) = run(&fake, script(text)).await;
    assert_eq!((out.as_str(), status), ("oldboth\ni\no\nf\n", 0));
    // The same container again: nothing changes.
    fake.create(&container).await.unwrap();
    assert_eq!(run(&fake, script("true")).await.2, 0, "the former process is found");
    fake.destroy_volume(&volume("out")).await.unwrap();
    let read = async |name: &str, path| fake.read_file(&volume(name), path, 10).await.unwrap();
    assert_eq!(read("out", "g").await.unwrap(), b"n\n", "kept while in use");
    fake.destroy(&handle()).await.unwrap();
    fake.destroy(&handle()).await.unwrap();
    assert!(matches!(fake.read_file(&volume("out"), "g", 10).await, Err(Error::NoVolume(_))));
    assert_eq!(read("in", "a/f").await.unwrap(), b"old");
    assert_eq!(read("copy", "a/f").await.unwrap(), b"m\n");
    assert_eq!(read("cache", "x").await.unwrap(), b"c\n");
    assert_eq!(read("cache", "nosuch").await, None);
    assert!(fake.read_file(&volume("in"), "a/f", 2).await.is_err(), "more than the limit");
}

#[tokio::test]
async fn archives_go_in_and_out() {
    let fake = FakeRuntime::new();
    let (from, to) = (VolumeHandle::new("from"), VolumeHandle::new("to"));
    fake.write_file(&from, "d/f", "content");
    fake.write_file(&from, "top", "x");
    fake.create_volume(&to).await.unwrap();
    let archive = fake.stream_out(&from, ".").await.unwrap();
    fake.stream_in(&to, "sub", archive).await.unwrap();
    assert_eq!(fake.read_file(&to, "sub/d/f", 100).await.unwrap().unwrap(), b"content");
    let mut one = Vec::new();
    fake.stream_out(&to, "sub/top").await.unwrap().read_to_end(&mut one).await.unwrap();
    fake.stream_in(&to, ".", Box::new(std::io::Cursor::new(one))).await.unwrap();
    assert_eq!(fake.read_file(&to, "top", 100).await.unwrap().unwrap(), b"x");
    assert!(fake.stream_out(&to, "nosuch").await.is_err());
}

#[tokio::test]
async fn the_journal_survives_its_reader() {
    let fake = FakeRuntime::new();
    fake.create(&spec(Image::Host, Vec::new())).await.unwrap();
    let first = client(&fake).await;
    first.start("p", script("echo one; sleep x; echo two")).await.unwrap();
    let mut attached = first.attach("p", 0).await.unwrap();
    assert_eq!(attached.next().await.unwrap().seq(), 0);
    fake.cut_streams(&handle());
    assert_eq!(attached.next().await, None);
    let second = client(&fake).await;
    assert!(second.start("p", script("echo other")).await.unwrap().existing);
    fake.release("x");
    assert_eq!(follow(&second, 0).await, ("one\ntwo\n".to_owned(), String::new(), 0));
    assert_eq!(follow(&second, 1).await.0, "two\n");
    second.attach("p", 2).await.unwrap().acknowledge_before(2).await;
    assert_eq!(follow(&second, 0).await, (String::new(), String::new(), 0), "acknowledged");
    assert_eq!(fake.started().len(), 1);
}

#[tokio::test]
async fn more_than_a_window_comes_whole() {
    let fake = FakeRuntime::new();
    fake.create(&spec(Image::Host, Vec::new())).await.unwrap();
    let (out, ..) = run(&fake, script("flood 200000")).await;
    assert_eq!(out.lines().count(), 200_000);
    assert!(out.ends_with("line 00199999\n"));
}

#[tokio::test]
async fn signals_end_programs_or_their_traps_run() {
    let fake = FakeRuntime::new();
    fake.create(&spec(Image::Host, Vec::new())).await.unwrap();
    let client = client(&fake).await;
    let text = "trap 'echo got term; exit 1' TERM; echo sleeping; sleep 1000 & wait";
    client.start("p", script(text)).await.unwrap();
    client.signal("p", 15).await.unwrap();
    let (out, _, status) = follow(&client, 0).await;
    // The signal may come before the program is far enough to trap it.
    assert!(matches!(status, 1 | 143), "{status}");
    assert!(status == 143 || out.ends_with("got term\n"), "{out}");
    client.start("q", script("sleep y")).await.unwrap();
    client.signal("q", 9).await.unwrap();
    let mut attached = client.attach("q", 0).await.unwrap();
    let Some(Output::Exited { status: 137, signal: Some(9), .. }) = attached.next().await else {
        panic!("not killed")
    };
}

#[tokio::test]
async fn a_lost_container_is_not_there() {
    let fake = FakeRuntime::new();
    fake.create(&spec(Image::Host, Vec::new())).await.unwrap();
    let client = client(&fake).await;
    client.start("p", script("echo a; lose")).await.unwrap();
    if let Ok(mut attached) = client.attach("p", 0).await {
        while attached.next().await.is_some() {}
    }
    assert!(matches!(fake.connect(&handle()).await, Err(Error::NoContainer(_))));
    assert!(fake.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn shutting_down_ends_processes_and_the_runner() {
    let fake = FakeRuntime::new();
    fake.create(&spec(Image::Host, Vec::new())).await.unwrap();
    let client = client(&fake).await;
    client.start("p", script("sleep x")).await.unwrap();
    client.shutdown().await.unwrap();
    fake.inner.until(|state| (!state.containers[&handle()].running).then_some(())).await;
    assert!(!fake.list().await.unwrap()[0].running);
    assert!(fake.connect(&handle()).await.is_err());
}

#[tokio::test]
async fn mock_checks_fetches_and_pushes() {
    let fake = FakeRuntime::new();
    let out = VolumeHandle::new("out");
    let mounts = vec![("/dest", MountSource::Output(out.clone()))];
    fake.create(&spec(Image::BaseType("mock".to_owned()), mounts)).await.unwrap();
    let client = client(&fake).await;
    let call = async |id: &str, path: &str, args: &[&str], request: &str| {
        let process = ProcessSpec {
            path: path.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            stdin: Stdin::Data(request.as_bytes().to_vec()),
            ..ProcessSpec::default()
        };
        client.start(id, process).await.unwrap();
        let mut attached = client.attach(id, 0).await.unwrap();
        let mut printed = Vec::new();
        while let Some(output) = attached.next().await {
            if let Output::Data { stream: LogSource::Stdout, bytes, .. } = output {
                printed.extend(bytes);
            }
        }
        String::from_utf8(printed).unwrap()
    };
    let request = r#"{"source":{"versions":["1","2","3"]},"version":{"version":"2"}}"#;
    let printed = call("check", "/opt/resource/check", &[], request).await;
    assert_eq!(printed, r#"[{"version":"2"},{"version":"3"}]"#);
    let request = r#"{"source":{"create_files":{"d/f":"x"}},"version":{"version":"2"}}"#;
    call("in", "/opt/resource/in", &["/dest"], request).await;
    assert_eq!(fake.read_file(&out, "d/f", 9).await.unwrap().unwrap(), b"x");
    let request = r#"{"source":{},"params":{"file":"d/f"}}"#;
    let printed = call("out", "/opt/resource/out", &["/dest"], request).await;
    assert!(printed.contains(r#""version":{"version":"x"}"#), "{printed}");
}

#[tokio::test]
async fn calls_can_be_made_to_fail() {
    let fake = FakeRuntime::new();
    fake.set_hook(Some(Arc::new(|call: &Call| match call.what {
        "create" => Fate::Fails(Error::Image("no such image".to_owned())),
        _ => Fate::Done,
    })));
    let error = fake.create(&spec(Image::Host, Vec::new())).await.unwrap_err();
    assert_eq!(error.to_string(), "no such image");
    fake.set_hook(None);
    fake.create(&spec(Image::Host, Vec::new())).await.unwrap();
}

#[tokio::test]
async fn it_conforms() {
    let fake = FakeRuntime::timed();
    let subject =
        crate::conformance::Subject { runtime: &fake, image: &Image::Host, prefix: "fake" };
    crate::conformance::run_all(subject).await.unwrap_or_else(|failure| panic!("{failure}"));
}
