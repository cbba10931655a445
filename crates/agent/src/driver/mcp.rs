//! Our tools as an MCP server: what is answered to which message, and a socket for programs that start their servers.
//!
//! Such a program starts `jb-agent mcp SOCKET`, which passes lines on and nothing else. So the tools are called by the one
//! process that has the grants, and the transcript has one writer.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use super::SERVER;
use super::program::Home;

/// Revisions of the protocol in which these few messages are the same. The newest first.
const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Messages that wait to be read.
const MESSAGES_MAX: usize = 64;
/// The longest message.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What a message asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    /// It wants no answer.
    Nothing,
    Reply(Value),
    /// A tool is called; whoever knows its answer sends [`result`].
    Call {
        id: Value,
        name: String,
        input: Value,
        meta: Value,
    },
}

pub(super) fn asked(message: &Value, tools: &[Value]) -> Asked {
    let Some(id) = message.get("id").filter(|id| !id.is_null()) else { return Asked::Nothing };
    let params = &message["params"];
    let reply = |result: Value| Asked::Reply(json!({"jsonrpc": "2.0", "id": id, "result": result}));
    match message["method"].as_str() {
        Some("initialize") => {
            let wanted = params["protocolVersion"].as_str();
            let revision = REVISIONS.into_iter().find(|known| Some(*known) == wanted);
            reply(json!({
                "protocolVersion": revision.unwrap_or(REVISIONS[0]),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": SERVER, "version": env!("CARGO_PKG_VERSION")},
            }))
        }
        Some("ping") => reply(json!({})),
        Some("tools/list") => reply(json!({"tools": tools.iter().map(tool).collect::<Value>()})),
        Some("tools/call") => Asked::Call {
            id: id.clone(),
            name: params["name"].as_str().unwrap_or_default().to_owned(),
            input: params.get("arguments").cloned().unwrap_or_else(|| json!({})),
            meta: params["_meta"].clone(),
        },
        // An answer to something that was never asked.
        None => Asked::Nothing,
        Some(method) => {
            let error = json!({"code": -32601, "message": format!("there is no method {method}")});
            Asked::Reply(json!({"jsonrpc": "2.0", "id": id, "error": error}))
        }
    }
}

/// The answer to a call.
pub(super) fn result(id: &Value, text: &str, is_error: bool) -> Value {
    let content = [json!({"type": "text", "text": text})];
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": content, "isError": is_error}})
}

fn tool(definition: &Value) -> Value {
    json!({
        "name": definition["name"],
        "description": definition["description"],
        "inputSchema": definition["input_schema"],
    })
}

/// Where programs reach our tools, if they start their MCP servers themselves.
pub(super) struct Server {
    socket: String,
    messages: mpsc::Receiver<(u64, Value)>,
    clients: Clients,
    accepting: JoinHandle<()>,
}

type Clients = Arc<Mutex<BTreeMap<u64, OwnedWriteHalf>>>;

impl Server {
    pub(super) fn listen(home: &Home) -> Result<Self, String> {
        let socket = format!("{}/tools.sock", home.path());
        let listener =
            UnixListener::bind(&socket).map_err(|error| format!("listen at {socket}: {error}"))?;
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let clients = Clients::default();
        let accepting = tokio::spawn(accept(listener, sender, Arc::clone(&clients)));
        Ok(Self { socket, messages, clients, accepting })
    }

    /// What a program starts to reach this.
    pub(super) fn relay(&self) -> Result<Vec<String>, String> {
        let own = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
        let own = own.to_str().ok_or("this program has no UTF-8 name")?;
        Ok(vec![own.to_owned(), "mcp".to_owned(), self.socket.clone()])
    }

    /// The next message, and who it is from.
    pub(super) async fn message(&mut self) -> (u64, Value) {
        match self.messages.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }

    pub(super) async fn answer(&self, client: u64, message: &Value) {
        let mut clients = self.clients.lock().await;
        let Some(to) = clients.get_mut(&client) else { return };
        // Whoever is gone needs no answer.
        if to.write_all(format!("{message}\n").as_bytes()).await.is_err() {
            clients.remove(&client);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, messages: mpsc::Sender<(u64, Value)>, clients: Clients) {
    for client in 0_u64.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (read, write) = stream.into_split();
        clients.lock().await.insert(client, write);
        let (messages, clients) = (messages.clone(), Arc::clone(&clients));
        tokio::spawn(async move {
            let mut lines = BufReader::new(read);
            while let Some(message) = message(&mut lines).await {
                if messages.send((client, message)).await.is_err() {
                    break;
                }
            }
            clients.lock().await.remove(&client);
        });
    }
}

/// The next message; none when there is no more, or what comes is none.
async fn message(lines: &mut (impl AsyncBufRead + Unpin)) -> Option<Value> {
    let mut line = Vec::new();
    loop {
        let bytes = lines.fill_buf().await.ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        line.extend_from_slice(&bytes[..taken]);
        lines.consume(taken);
        if end.is_some() {
            return serde_json::from_slice(&line).ok();
        }
        if taken == 0 || line.len() > MESSAGE_BYTES_MAX {
            return None;
        }
    }
}

/// Passes lines between stdio and the socket until either ends.
///
/// # Errors
/// When nobody listens there.
pub async fn relay(socket: &str) -> Result<(), String> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|error| format!("reach the tools at {socket}: {error}"))?;
    let (mut read, mut write) = stream.into_split();
    let (mut stdin, mut stdout) = (tokio::io::stdin(), tokio::io::stdout());
    tokio::select! {
        _ = tokio::io::copy(&mut stdin, &mut write) => {}
        _ = tokio::io::copy(&mut read, &mut stdout) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, params: Value) -> Asked {
        let tools = [json!({"name": "read", "description": "Reads", "input_schema": {}})];
        asked(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}), &tools)
    }

    #[test]
    fn a_client_learns_the_tools_and_calls_one() {
        let Asked::Reply(reply) = ask("initialize", json!({"protocolVersion": "2025-06-18"}))
        else {
            unreachable!("an answer")
        };
        assert_eq!(reply["result"]["protocolVersion"], "2025-06-18");
        let Asked::Reply(reply) = ask("initialize", json!({"protocolVersion": "2031-01-01"}))
        else {
            unreachable!("an answer")
        };
        assert_eq!(reply["result"]["protocolVersion"], REVISIONS[0]);
        let Asked::Reply(reply) = ask("tools/list", json!({})) else { unreachable!("an answer") };
        let tools = json!([{"name": "read", "description": "Reads", "inputSchema": {}}]);
        assert_eq!(reply["result"]["tools"], tools);
        let call = ask("tools/call", json!({"name": "read", "arguments": {"path": "x"}}));
        let (name, input) = ("read".to_owned(), json!({"path": "x"}));
        assert_eq!(call, Asked::Call { id: json!(7), name, input, meta: Value::Null });
        let Asked::Reply(reply) = ask("server/discover", json!({})) else {
            unreachable!("an answer")
        };
        assert_eq!(reply["error"]["code"], -32601);
        assert_eq!(asked(&json!({"method": "notifications/initialized"}), &[]), Asked::Nothing);
    }
}
