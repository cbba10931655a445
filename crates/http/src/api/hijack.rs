//! A process in a container, over a WebSocket.

use std::time::Duration;

use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jb_model::ContainerHandle;
use jb_model::event::LogSource;
use jb_runtime::client::{
    Attached, Output, ProcessSpec, RunnerClient, StartError, Stdin, WindowSize,
};
use serde::{Deserialize, Serialize};

use super::containers;
use crate::call::Call;
use crate::engine::{EngineError, Hijack};
use crate::reply::{Failure, NOT_FOUND, Result};
use crate::state::AppState;

/// The longest message a client may send.
const MAX_MESSAGE: usize = 1 << 20;
/// How long a client may take to say what to run.
const FIRST_MESSAGE: Duration = Duration::from_secs(60);
/// How often a session is recorded, which keeps its container from being collected.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// How long a process may take to end once its client has gone.
const HANG_UP_GRACE: Duration = Duration::from_secs(5);
/// How long a client may take to agree that a session has ended.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
const SIGHUP: i32 = 1;
const SIGKILL: i32 = 9;
/// The close code for data that cannot be understood.
const UNSUPPORTED: u16 = 1003;

#[derive(Debug, Default, Deserialize)]
struct Process {
    #[serde(default)]
    path: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    dir: String,
    #[serde(default)]
    privileged: bool,
    #[serde(default)]
    user: String,
    #[serde(default)]
    tty: Option<Tty>,
}

#[derive(Debug, Deserialize)]
struct Tty {
    window_size: Size,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Size {
    #[serde(default)]
    columns: u16,
    #[serde(default)]
    rows: u16,
}

impl From<Size> for WindowSize {
    fn from(size: Size) -> Self {
        Self { cols: size.columns, rows: size.rows }
    }
}

#[derive(Debug, Default, Deserialize)]
struct Input {
    #[serde(default)]
    closed: bool,
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default)]
    tty: Option<Tty>,
}

#[derive(Default, Serialize)]
struct Frame {
    #[serde(skip_serializing_if = "String::is_empty")]
    stdout: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stderr: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    executable_not_found: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<i32>,
}

pub(super) async fn open(mut call: Call) -> Result<Response> {
    let container = containers::find(&call).await?;
    if container.kind == "check" && !call.caller.actor.admin {
        return Err(Failure::Status(StatusCode::FORBIDDEN));
    }
    if !same_origin(&call.parts.headers) {
        return Err(Failure::Status(StatusCode::FORBIDDEN));
    }
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut call.parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Ok(rejection.into_response()),
    };
    let hijack = match call.state.engine().hijack(&container.handle).await {
        Ok(hijack) => hijack,
        Err(EngineError::NotFound(_)) => return Err(NOT_FOUND),
        Err(error) => return Err(Failure::internal(error)),
    };
    let id = call.state.random::<8>().map_err(Failure::internal)?;
    let id = format!("hijack-{:016x}", u64::from_le_bytes(id));
    let session = Session { state: call.state, container: container.handle, hijack, id };
    Ok(upgrade.max_message_size(MAX_MESSAGE).on_upgrade(|socket| session.run(socket)))
}

/// Whether the page that opens the socket, if it is a page, is one of ours: browsers send cookies along
/// with the sockets of other sites.
fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text(ORIGIN) {
        None => !headers.contains_key(ORIGIN),
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some() && host == text(HOST)
        }
    }
}

struct Session {
    state: AppState,
    container: ContainerHandle,
    hijack: Hijack,
    /// Names the process for the runner.
    id: String,
}

impl Session {
    async fn run(self, mut socket: WebSocket) {
        self.serve(&mut socket).await;
        close(socket).await;
    }

    async fn serve(&self, socket: &mut WebSocket) {
        let Some(process) = first_message(socket).await else {
            let frame = CloseFrame { code: UNSUPPORTED, reason: "malformed process spec".into() };
            // The client may be gone already.
            let _ = socket.send(Message::Close(Some(frame))).await;
            return;
        };
        let client = self.hijack.client.clone();
        match client.start(&self.id, self.spec(process)).await {
            Ok(_) => {}
            Err(error) => {
                refuse(socket, &error).await;
                return;
            }
        }
        match client.attach(&self.id, 0).await {
            Ok(output) => {
                if !self.follow(socket, &client, output).await {
                    self.hang_up(&client).await;
                }
            }
            Err(error) => {
                say(socket, Frame { error: error.to_string(), ..Frame::default() }).await;
                self.hang_up(&client).await;
            }
        }
        if let Err(error) = client.forget(&self.id).await {
            tracing::debug!(%error, "the runner keeps a hijacked process");
        }
    }

    fn spec(&self, process: Process) -> ProcessSpec {
        let mut env = self.hijack.env.clone();
        for pair in process.env.unwrap_or_default() {
            let (name, value) = pair.split_once('=').unwrap_or((pair.as_str(), ""));
            env.retain(|(known, _)| known != name);
            env.push((name.to_owned(), value.to_owned()));
        }
        let user = Some(process.user).filter(|user| !user.is_empty());
        ProcessSpec {
            path: process.path,
            args: process.args.unwrap_or_default(),
            env,
            dir: if process.dir.is_empty() { self.hijack.dir.clone() } else { process.dir },
            create_dir: false,
            user: user.or_else(|| self.hijack.user.clone()),
            tty: process.tty.map(|tty| tty.window_size.into()),
            stdin: Stdin::Open,
            privileged: process.privileged && self.hijack.privileged,
        }
    }

    /// Carries input and output until the process ends. False when the client or the runner left before.
    async fn follow(
        &self,
        socket: &mut WebSocket,
        client: &RunnerClient,
        mut output: Attached,
    ) -> bool {
        let mut touch = tokio::time::interval(TOUCH_EVERY);
        let idle = self.state.settings().intercept_idle_timeout;
        let mut last_input = tokio::time::Instant::now();
        loop {
            let idle_too_long = async {
                match idle {
                    Some(idle) => tokio::time::sleep_until(last_input + idle).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                record = output.next() => match record {
                    Some(Output::Data { seq, stream, bytes, .. }) => {
                        let text = STANDARD.encode(bytes);
                        let frame = match stream {
                            LogSource::Stdout => Frame { stdout: text, ..Frame::default() },
                            LogSource::Stderr => Frame { stderr: text, ..Frame::default() },
                        };
                        if !say(socket, frame).await {
                            return false;
                        }
                        output.done_before(seq + 1).await;
                    }
                    Some(Output::Exited { status, .. }) => {
                        say(socket, Frame { exit_status: Some(status), ..Frame::default() }).await;
                        return true;
                    }
                    None => {
                        let error = "the connection to the container was lost".to_owned();
                        say(socket, Frame { error, ..Frame::default() }).await;
                        return false;
                    }
                },
                message = socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let Ok(input) = serde_json::from_str::<Input>(&text) else { return false };
                        last_input = tokio::time::Instant::now();
                        if let Err(error) = self.input(client, input).await {
                            let error = error.to_string();
                            say(socket, Frame { error, ..Frame::default() }).await;
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return false,
                },
                () = idle_too_long => {
                    let error = format!("idle timeout ({:?}) reached", idle.unwrap_or_default());
                    say(socket, Frame { error, ..Frame::default() }).await;
                    return false;
                }
                _ = touch.tick() => {
                    let now = self.state.now();
                    if let Err(error) = self.state.store().touch_hijacked(&self.container, now).await {
                        tracing::warn!(%error, container = %self.container, "cannot record a hijack");
                    }
                }
            }
        }
    }

    async fn input(&self, client: &RunnerClient, input: Input) -> jb_runtime::Result<()> {
        if input.closed {
            return client.close_stdin(&self.id).await;
        }
        if let Some(tty) = input.tty {
            return client.resize(&self.id, tty.window_size.into()).await;
        }
        match input.stdin.map(|stdin| STANDARD.decode(stdin)) {
            Some(Ok(bytes)) if !bytes.is_empty() => client.stdin(&self.id, bytes).await,
            _ => Ok(()),
        }
    }

    /// Ends a process that nobody listens to any more, as a terminal that goes away does.
    async fn hang_up(&self, client: &RunnerClient) {
        let signal = |number| client.signal(&self.id, number);
        if signal(SIGHUP).await.is_err() {
            return;
        }
        let ended = async {
            let Ok(mut output) = client.attach(&self.id, 0).await else { return };
            while let Some(record) = output.next().await {
                if matches!(record, Output::Exited { .. }) {
                    return;
                }
            }
        };
        if tokio::time::timeout(HANG_UP_GRACE, ended).await.is_err() {
            // What cannot be killed is collected with its container.
            let _ = signal(SIGKILL).await;
        }
    }
}

/// What to run, which a client says first.
async fn first_message(socket: &mut WebSocket) -> Option<Process> {
    let message = async {
        loop {
            match socket.recv().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).ok(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    };
    tokio::time::timeout(FIRST_MESSAGE, message).await.ok().flatten()
}

async fn refuse(socket: &mut WebSocket, error: &StartError) {
    if matches!(error, StartError::NotFound { .. }) {
        say(socket, Frame { executable_not_found: true, ..Frame::default() }).await;
    }
    say(socket, Frame { error: error.to_string(), ..Frame::default() }).await;
}

/// Says that this is all, and reads on until the client agrees: a connection dropped with input
/// unread is reset, which clients report as a failure.
async fn close(mut socket: WebSocket) {
    if socket.send(Message::Close(None)).await.is_err() {
        return;
    }
    let agreed = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = tokio::time::timeout(CLOSE_GRACE, agreed).await;
}

/// False when the client has gone.
async fn say(socket: &mut WebSocket, frame: Frame) -> bool {
    match serde_json::to_string(&frame) {
        Ok(text) => socket.send(Message::Text(text.into())).await.is_ok(),
        Err(_) => false,
    }
}
