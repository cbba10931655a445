//! An API server that answers by a script. For tests.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

pub(crate) enum Answer {
    Said(u16, Value),
    /// Lines of a watch that ends after them.
    Watched(Vec<Value>),
    /// There never is one.
    Silence,
    /// The connection breaks.
    Broken,
}

/// A refusal in the words of API servers.
pub(crate) fn refusal(code: u16, message: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "", "code": code,
    });
    Answer::Said(code, status)
}

/// A client and the paths it was asked for. What is not in the script is never answered.
pub(crate) fn client(script: Vec<Answer>) -> (Client, Arc<Mutex<Vec<String>>>) {
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        heard.lock().unwrap().push(request.uri().to_string());
        let answer = script.lock().unwrap().pop_front();
        async move {
            let said = |code: u16, text: String| {
                let response = Response::builder().status(code);
                Ok::<_, io::Error>(response.body(Body::from(text.into_bytes())).unwrap())
            };
            match answer {
                Some(Answer::Said(code, value)) => said(code, value.to_string()),
                Some(Answer::Watched(lines)) => {
                    said(200, lines.iter().map(|line| format!("{line}\n")).collect())
                }
                Some(Answer::Broken) => Err(io::ErrorKind::ConnectionReset.into()),
                Some(Answer::Silence) | None => std::future::pending().await,
            }
        }
    });
    (Client::new(service, "ci"), asked)
}
