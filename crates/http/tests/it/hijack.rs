//! A process in a container over a real WebSocket, with the runner played by the test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use jb_model::ContainerHandle;
use jb_runner_protocol::{FailureKind, FrameBuffer, Reply, Request, Stream, VERSION};
use jb_runtime::client::{ProcessSpec, RunnerClient, Stdin, WindowSize};
use jb_store::{ContainerState, NewContainer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::server::{NOW, Server};

/// The runner's side of a stream.
struct Runner {
    stream: DuplexStream,
    frames: FrameBuffer,
}

impl Runner {
    async fn request(&mut self) -> Request {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Request::decode(frame).unwrap();
            }
            assert_ne!(self.stream.read_buf(self.frames.tail()).await.unwrap(), 0);
        }
    }

    async fn reply(&mut self, reply: Reply) {
        let mut wire = Vec::new();
        reply.encode(&mut wire);
        self.stream.write_all(&wire).await.unwrap();
    }

    /// Lets the process start and gives the spec and the attachment.
    async fn started(&mut self) -> (ProcessSpec, u32) {
        let Request::Start { token, spec, .. } = self.request().await else { panic!("no start") };
        self.reply(Reply::Started { token, pid: 7, existing: false }).await;
        let Request::Attach { token, attachment, .. } = self.request().await else {
            panic!("no attach")
        };
        self.reply(Reply::Attached { token, first_seq: 0 }).await;
        (spec, attachment)
    }

    async fn output(&mut self, attachment: u32, seq: u64, stream: Stream, text: &str) {
        let bytes = text.as_bytes().to_vec();
        self.reply(Reply::Output { attachment, seq, time_us: 0, stream, bytes }).await;
    }

    async fn exit(&mut self, attachment: u32, seq: u64, status: i32) {
        self.reply(Reply::Exited { attachment, seq, time_us: 0, status, signal: 0, oom: false })
            .await;
    }
}

/// A server that listens, with a container of team `main` and its runner.
async fn setting(kind: &str) -> (Server, String, Runner) {
    let server = Server::new().await;
    let team = server.store.team_by_name("main").await.unwrap().unwrap().id;
    let handle = ContainerHandle::new("c1");
    let container = NewContainer {
        handle: handle.clone(),
        team,
        build: None,
        plan: None,
        resource: None,
        step_name: "t".into(),
        kind: kind.into(),
        attempt: "2".into(),
        worker: "vm".into(),
        working_dir: "/tmp/build/1".into(),
        user: "root".into(),
    };
    server.store.create_container(&container, NOW).await.unwrap();
    server.store.set_container_state(&handle, ContainerState::Created).await.unwrap();
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let mut runner = Runner { stream: theirs, frames: FrameBuffer::new() };
    let (client, ()) = tokio::join!(RunnerClient::handshake(Box::new(ours)), async {
        assert_eq!(runner.request().await, Request::Hello { version: VERSION });
        runner.reply(Reply::Hello { version: VERSION }).await;
    });
    server.engine.runners.lock().unwrap().insert(handle, client.unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = server.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (server, address, runner)
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(address: &str, path: &str, token: &str) -> Result<Socket, Error> {
    let mut request = format!("ws://{address}/api/v1/teams/{path}/hijack").into_client_request()?;
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("Authorization", bearer);
    Ok(tokio_tungstenite::connect_async(request).await?.0)
}

#[tokio::test]
async fn pages_of_other_sites_cannot_get_in() {
    let (server, _, _runner) = setting("task").await;
    let token = server.login("test").await;
    let status = |origin: &'static str| {
        let path = "/api/v1/teams/main/containers/c1/hijack";
        let call = server.get(path).token(&token).header("Host", "ci.example:8080");
        async move { call.header("Origin", origin).send().await.status.as_u16() }
    };
    assert_eq!(status("https://evil.example").await, 403);
    assert_eq!(status("null").await, 403);
    // Past the guard, the request lacks the rest of a handshake.
    assert_eq!(status("http://ci.example:8080").await, 400);
}

async fn send(socket: &mut Socket, message: Value) {
    socket.send(Message::Text(message.to_string().into())).await.unwrap();
}

async fn receive(socket: &mut Socket) -> Value {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_session_carries_input_output_and_the_exit_status() {
    let (server, address, mut runner) = setting("task").await;
    let token = server.login("test").await;
    let mut socket = connect(&address, "main/containers/c1", &token).await.unwrap();
    send(
        &mut socket,
        json!({
            "path": "bash",
            "args": ["-l"],
            "env": ["TERM=xterm"],
            "dir": "",
            "privileged": true,
            "user": "",
            "tty": {"window_size": {"columns": 80, "rows": 24}},
        }),
    )
    .await;
    let (spec, attachment) = runner.started().await;
    let env = [("PATH", "/bin"), ("TERM", "xterm")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(
        spec,
        ProcessSpec {
            path: "bash".into(),
            args: vec!["-l".into()],
            env: env.to_vec(),
            dir: "/tmp/build/1".into(),
            create_dir: false,
            user: Some("root".into()),
            tty: Some(WindowSize { cols: 80, rows: 24 }),
            stdin: Stdin::Open,
            privileged: false,
        }
    );
    send(&mut socket, json!({"stdin": STANDARD.encode("ls\n")})).await;
    let Request::Stdin { token, bytes, .. } = runner.request().await else { panic!("no stdin") };
    assert_eq!(bytes, b"ls\n");
    runner.reply(Reply::Done { token }).await;
    send(&mut socket, json!({"tty": {"window_size": {"columns": 100, "rows": 30}}})).await;
    let Request::Resize { token, size, .. } = runner.request().await else { panic!("no size") };
    assert_eq!(size, WindowSize { cols: 100, rows: 30 });
    runner.reply(Reply::Done { token }).await;
    send(&mut socket, json!({"closed": true})).await;
    let Request::CloseStdin { token, .. } = runner.request().await else { panic!("no close") };
    runner.reply(Reply::Done { token }).await;
    runner.output(attachment, 0, Stream::Stdout, "out").await;
    assert_eq!(receive(&mut socket).await, json!({"stdout": STANDARD.encode("out")}));
    runner.output(attachment, 1, Stream::Stderr, "err").await;
    assert_eq!(receive(&mut socket).await, json!({"stderr": STANDARD.encode("err")}));
    runner.exit(attachment, 2, 3).await;
    assert_eq!(receive(&mut socket).await, json!({"exit_status": 3}));
    let Request::Forget { token, .. } = runner.request().await else { panic!("no forget") };
    runner.reply(Reply::Done { token }).await;
    let handle = ContainerHandle::new("c1");
    let container = server.store.container(&handle).await.unwrap().unwrap();
    assert_eq!(container.last_hijack, Some(NOW));
}

#[tokio::test]
async fn a_missing_program_is_told_apart() {
    let (server, address, mut runner) = setting("task").await;
    let token = server.login("test").await;
    let mut socket = connect(&address, "main/containers/c1", &token).await.unwrap();
    send(&mut socket, json!({"path": "bash", "args": null, "tty": null})).await;
    let Request::Start { token, .. } = runner.request().await else { panic!("no start") };
    let kind = FailureKind::ExecutableNotFound;
    runner.reply(Reply::Failed { token, kind, message: String::new() }).await;
    assert_eq!(receive(&mut socket).await, json!({"executable_not_found": true}));
    let error = receive(&mut socket).await;
    let words = "`bash`: executable file not found in $PATH";
    assert!(error["error"].as_str().unwrap().contains(words), "{error}");
    // What the client still sends does not turn the end into a broken connection.
    for _ in 0..100 {
        send(&mut socket, json!({"stdin": STANDARD.encode("ls\n")})).await;
    }
    let end = socket.next().await.unwrap().unwrap();
    assert!(matches!(end, Message::Close(_)), "{end:?}");
}

#[tokio::test]
async fn a_client_that_leaves_hangs_up() {
    let (server, address, mut runner) = setting("task").await;
    let token = server.login("test").await;
    let mut socket = connect(&address, "main/containers/c1", &token).await.unwrap();
    send(&mut socket, json!({"path": "sh"})).await;
    let (_, _) = runner.started().await;
    drop(socket);
    // The detachment may come before the signal.
    let (token, signal) = loop {
        if let Request::Signal { token, signal, .. } = runner.request().await {
            break (token, signal);
        }
    };
    assert_eq!(signal, 1);
    runner.reply(Reply::Done { token }).await;
}

#[tokio::test]
async fn who_may_not_is_told_before_the_upgrade() {
    let (server, address, _runner) = setting("check").await;
    let crew = json!({"owner": {"users": ["local:owner"]}});
    server.store.save_team("crew", &crew, NOW).await.unwrap();
    // A second team of which the container is not.
    let owner = server.login("owner").await;
    let status = |error: Error| match error {
        Error::Http(response) => response.status().as_u16(),
        other => panic!("{other}"),
    };
    let foreign = connect(&address, "crew/containers/c1", &owner).await;
    assert_eq!(status(foreign.unwrap_err()), 404);
    let missing = connect(&address, "crew/containers/none", &owner).await;
    assert_eq!(status(missing.unwrap_err()), 404);
    // Containers of checks show secrets of others: only administrators enter.
    let member = json!({"owner": {"users": ["local:test"]}, "member": {"users": ["local:owner"]}});
    server.store.save_team("main", &member, NOW).await.unwrap();
    let check = connect(&address, "main/containers/c1", &owner).await;
    assert_eq!(status(check.unwrap_err()), 403);
    let admin = server.login("test").await;
    assert!(connect(&address, "main/containers/c1", &admin).await.is_ok());
    let plain = server.get("/api/v1/teams/main/containers/c1/hijack").token(&admin).send().await;
    assert_eq!(plain.status.as_u16(), 400);
    let listed = server.get("/api/v1/teams/main/containers?type=check").token(&admin);
    let listed = listed.send().await.json();
    assert_eq!(listed[0]["attempt"], "2");
    for (query, count) in [("step_name=t", 1), ("step_name=x", 0), ("pipeline_name=none", 0)] {
        let path = format!("/api/v1/teams/main/containers?{query}");
        let listed = server.get(&path).token(&admin).send().await.json();
        assert_eq!(listed.as_array().unwrap().len(), count, "{query}");
    }
    for query in ["type=nosuch", "build_id=one", "vars.a=x"] {
        let path = format!("/api/v1/teams/main/containers?{query}");
        let refused = server.get(&path).token(&admin).send().await;
        assert_eq!(refused.status.as_u16(), 400, "{query}");
    }
}
