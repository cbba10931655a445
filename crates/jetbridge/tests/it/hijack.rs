//! `fly hijack`: a process in a step's container, over a WebSocket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::api::Api;
use crate::server::{PATIENCE, Server};

const PIPELINE: &str = "
jobs:
- name: fails
  plan:
  - task: broken
    config:
      platform: linux
      params: {GREETING: hello}
      run: {path: sh, args: [-ec, 'echo left > behind; exit 5']}
- name: waits
  plan:
  - task: open
    config: {platform: linux, run: {path: sh, args: [-c, 'echo ready; sleep 1000']}}
";

struct Session(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

/// What a process said before it ended.
#[derive(Default)]
struct Said {
    stdout: String,
    stderr: String,
    error: String,
    not_found: bool,
    exit_status: Option<i64>,
}

impl Session {
    async fn open(api: &Api, container: &str, process: &Value) -> Self {
        let url = api.url.replacen("http", "ws", 1);
        let url = format!("{url}/api/v1/teams/main/containers/{container}/hijack");
        let mut request = url.into_client_request().unwrap();
        let bearer = format!("Bearer {}", api.token).parse().unwrap();
        request.headers_mut().insert("Authorization", bearer);
        let (socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), 101);
        let mut session = Self(socket);
        session.send(process).await;
        session
    }

    async fn send(&mut self, message: &Value) {
        self.0.send(Message::Text(message.to_string().into())).await.unwrap();
    }

    async fn type_in(&mut self, text: &str) {
        self.send(&json!({"stdin": STANDARD.encode(text)})).await;
    }

    /// Reads until `enough`, or until the server says good-bye.
    async fn read_until(&mut self, said: &mut Said, enough: impl Fn(&Said) -> bool) {
        let read = async {
            while !enough(said) {
                let message = match self.0.next().await.unwrap().unwrap() {
                    Message::Text(text) => serde_json::from_str::<Value>(&text).unwrap(),
                    Message::Close(_) => return,
                    _ => continue,
                };
                let bytes = |name: &str| {
                    let text = message[name].as_str().unwrap_or_default();
                    String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
                };
                said.stdout += &bytes("stdout");
                said.stderr += &bytes("stderr");
                said.error += message["error"].as_str().unwrap_or_default();
                said.not_found |= message["executable_not_found"] == true;
                said.exit_status = said.exit_status.or_else(|| message["exit_status"].as_i64());
            }
        };
        assert!(tokio::time::timeout(PATIENCE, read).await.is_ok(), "only: {}", said.stdout);
    }

    async fn rest(mut self) -> Said {
        let mut said = Said::default();
        self.read_until(&mut said, |_| false).await;
        said
    }
}

async fn container_of(api: &Api, step: &str) -> Value {
    let found = api.get(&format!("/teams/main/containers?step_name={step}")).await;
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    found[0].clone()
}

/// A process as `fly hijack -- sh -c SCRIPT` asks for it, without a terminal.
fn shell(script: &str) -> Value {
    json!({
        "path": "sh", "args": ["-c", script], "env": ["TERM=dumb"], "dir": "", "user": "",
        "privileged": true, "tty": null,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_step_can_be_looked_into() {
    let Some(server) = Server::start().await else { return };
    looks_into_a_failed_step(&server.login().await).await;
}

/// The same wherever steps run.
pub async fn looks_into_a_failed_step(api: &Api) {
    api.set_pipeline("fails", PIPELINE).await;
    let build = api.trigger("fails", "fails").await;
    assert_eq!(api.ended(build).await.0, "failed");
    let container = container_of(api, "broken").await;
    assert_eq!(container["type"], "task");
    assert_eq!(container["job_name"], "fails");
    assert_eq!(container["build_id"], build);
    let handle = container["id"].as_str().unwrap();
    let script = "cat behind; echo $GREETING; echo oops >&2; exit 7";
    let said = Session::open(api, handle, &shell(script)).await.rest().await;
    assert_eq!(said.stdout, "left\nhello\n");
    assert_eq!(said.stderr, "oops\n");
    assert_eq!(said.exit_status, Some(7));
    assert_eq!(said.error, "");
    // Its input reaches it, and so does the end of that.
    let mut session = Session::open(api, handle, &shell("cat; echo done")).await;
    session.type_in("to and fro\n").await;
    session.send(&json!({"closed": true})).await;
    let said = session.rest().await;
    assert_eq!((said.stdout.as_str(), said.exit_status), ("to and fro\ndone\n", Some(0)));
    // fly tries sh when there is no bash: it must be told which went wrong.
    let mut process = shell("");
    process["path"] = json!("no-such-shell");
    let mut session = Session::open(api, handle, &process).await;
    session.type_in("nobody reads this\n").await;
    let said = session.rest().await;
    assert!(said.not_found && said.exit_status.is_none());
    assert!(said.error.contains("executable file not found in $PATH"), "{}", said.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_a_size_that_changes() {
    let Some(server) = Server::start().await else { return };
    changes_a_terminals_size(&server.login().await).await;
}

pub async fn changes_a_terminals_size(api: &Api) {
    api.set_pipeline("waits", PIPELINE).await;
    let build = api.trigger("waits", "waits").await;
    api.events_until(build, None, |said| said.contains("ready\\r\\n")).await;
    let container = container_of(api, "open").await;
    let handle = container["id"].as_str().unwrap();
    let mut process = shell("stty size; read line; stty size; exit 3");
    process["tty"] = json!({"window_size": {"columns": 101, "rows": 33}});
    let mut session = Session::open(api, handle, &process).await;
    let mut said = Said::default();
    session.read_until(&mut said, |said| said.stdout.contains("33 101\r\n")).await;
    session.send(&json!({"tty": {"window_size": {"columns": 90, "rows": 20}}})).await;
    session.type_in("go\n").await;
    session.read_until(&mut said, |_| false).await;
    assert!(said.stdout.ends_with("20 90\r\n"), "{}", said.stdout);
    assert_eq!(said.exit_status, Some(3));
    api.put(&format!("/builds/{build}/abort")).await;
    assert_eq!(api.ended(build).await.0, "aborted");
}
