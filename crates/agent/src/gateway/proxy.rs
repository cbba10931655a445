//! The way of an agent's programs to the hosts that its step lists: a proxy for TLS, and for nothing else.
//!
//! A program asks for a host by its name (`CONNECT`). The name is checked before it is looked up, and looked up once; what it
//! leads to is checked before it is reached; and the first words of the connection are checked before any of them is sent
//! on. What passes then is the program's and the host's own. Each connection is one line of the transcript, said when it is over.

mod hello;
mod outside;
mod rules;
mod tunnel;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use hyper::ext::ReasonPhrase;
use jb_agent_protocol::Entry;
use jb_agent_protocol::network::{self, ConnectionOutcome};
use jb_model::agent::HostPattern;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::problem;
use crate::output::{Output, cut};
use rules::{PORT, Private, Refusal};

pub use outside::{Internet, Outside};

/// Connections at a time. The link from the agent's container has room for more, so that the model is reached beside them.
const CONNECTIONS_MAX: usize = 32;
/// Connections of one step that are asked for, each of which is a line of the transcript.
const CONNECTIONS_TOTAL_MAX: u32 = 10_000;
/// Bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 8 << 10;
/// How long looking a name up may take, and so long connecting.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be open.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(3600);
/// Bytes of what was asked for that the transcript shows, and of why it was not let through.
const ASKED_BYTES: usize = 300;
const REASON_BYTES: usize = 1000;

/// What the agent's programs reach, and what they reached so far.
pub(super) struct Proxy {
    hosts: Vec<HostPattern>,
    private: Vec<Private>,
    denied: Vec<IpAddr>,
    /// None where the step is answered from a recording.
    outside: Option<Arc<dyn Outside>>,
    idle: Duration,
    room: Arc<Semaphore>,
    asked: AtomicU32,
    /// Those that are open.
    tunnels: Mutex<JoinSet<()>>,
    output: Output,
}

impl Proxy {
    /// # Errors
    /// When a host or range cannot be read.
    pub(super) fn new(
        spec: &network::Proxy,
        outside: Option<Arc<dyn Outside>>,
        idle: Duration,
        output: Output,
    ) -> Result<Self, String> {
        let hosts =
            spec.hosts.iter().map(|host| HostPattern::parse(host)).collect::<Result<_, _>>()?;
        let private = spec.private.iter().map(|network::PrivateHost { name, cidr }| {
            let range = cidr.parse().map_err(|_| format!("`{cidr}` is no range of addresses"))?;
            Ok((HostPattern::parse(name)?, range))
        });
        Ok(Self {
            hosts,
            private: private.collect::<Result<_, String>>()?,
            denied: spec.denied.clone(),
            outside,
            idle,
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            asked: AtomicU32::new(0),
            tunnels: Mutex::default(),
            output,
        })
    }

    /// Whether a request is one to a proxy, not to the gateway itself.
    pub(super) fn is_asked(request: &Request<Body>) -> bool {
        request.method() == Method::CONNECT || request.uri().scheme().is_some()
    }

    /// Opens the connection that is asked for, or says why not.
    pub(super) async fn handle(&self, mut request: Request<Body>) -> Response<Body> {
        let asked = request.uri().authority().map_or("", |authority| authority.as_str()).to_owned();
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        if number > CONNECTIONS_TOTAL_MAX {
            // It was said once.
            self.asked.fetch_sub(1, Ordering::Relaxed);
            return answer(&Refusal::Spent(CONNECTIONS_TOTAL_MAX));
        }
        let mut connection = Connection::new(&asked, self.output.clone());
        let opened = match number {
            CONNECTIONS_TOTAL_MAX => Err(Refusal::Spent(CONNECTIONS_TOTAL_MAX)),
            _ => match screened(&request) {
                Ok(()) => self.open(&asked).await,
                Err(refusal) => Err(refusal),
            },
        };
        let Opened { host, stream, permit } = match opened {
            Ok(opened) => opened,
            Err(refusal) => {
                connection.refused(&refusal);
                return answer(&refusal);
            }
        };
        connection.address = stream.peer_addr().ok();
        let upgrade = hyper::upgrade::on(&mut request);
        let idle = self.idle;
        let mut tunnels = self.tunnels.lock().unwrap_or_else(PoisonError::into_inner);
        while tunnels.try_join_next().is_some() {}
        tunnels.spawn(async move {
            let _permit = permit;
            let Ok(upgraded) = upgrade.await else { return };
            let client = hyper_util::rt::TokioIo::new(upgraded);
            let passing = tunnel::run(client, stream, &host, idle, &mut connection);
            if timeout(TOTAL_TIMEOUT, passing).await.is_err() {
                connection.ended(format!("it was open for {} s", TOTAL_TIMEOUT.as_secs()));
            }
        });
        Response::new(Body::empty())
    }

    async fn open(&self, asked: &str) -> Result<Opened, Refusal> {
        let host = rules::target(asked, &self.hosts)?;
        let outside = self.outside.as_deref().ok_or(Refusal::Replayed)?;
        let permit = Arc::clone(&self.room).try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::Busy(CONNECTIONS_MAX))?;
        // A public name is whole: what networks append to names must not answer for it.
        let is_private = rules::is_private(&host, &self.private);
        let name = if is_private { host.clone() } else { format!("{host}.") };
        let unresolved = |why: String| Refusal::Unresolved { host: host.clone(), why };
        let addresses = match timeout(REACH_TIMEOUT, outside.resolve(&name)).await {
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(unresolved("there is none".to_owned()))
            }
            Ok(found) => found.map_err(|error| unresolved(error.to_string())),
            Err(_) => Err(unresolved("no answer in time".to_owned())),
        }?;
        rules::admissible(&host, &addresses, &self.private, &self.denied)?;
        let unreachable = |why: String| Refusal::Unreachable { host: host.clone(), why };
        let stream = match timeout(REACH_TIMEOUT, dial(outside, &addresses)).await {
            Ok(stream) => stream.map_err(|error| unreachable(error.to_string())),
            Err(_) => Err(unreachable("no answer in time".to_owned())),
        }?;
        Ok(Opened { host, stream, permit })
    }

    /// Ends the connections that are still open, each with its line.
    pub(super) async fn close(&self) {
        let mut tunnels =
            std::mem::take(&mut *self.tunnels.lock().unwrap_or_else(PoisonError::into_inner));
        tunnels.shutdown().await;
    }
}

/// What is refused whatever host is asked for.
fn screened(request: &Request<Body>) -> Result<(), Refusal> {
    if request.method() != Method::CONNECT {
        return Err(Refusal::PlainHttp);
    }
    let headers = request.headers().iter();
    let bytes: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX { Err(Refusal::Headers) } else { Ok(()) }
}

struct Opened {
    host: String,
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
}

/// Connects to the first address that answers.
async fn dial(outside: &dyn Outside, addresses: &[IpAddr]) -> std::io::Result<TcpStream> {
    let mut failed = std::io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match outside.dial(SocketAddr::new(*address, PORT)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Says why in the answer's body, and in its first line, which is what many programs show of it.
fn answer(refusal: &Refusal) -> Response<Body> {
    let text = refusal.to_string();
    let mut response = problem(refusal.status(), "connection_refused", &text);
    if let Ok(phrase) = ReasonPhrase::try_from(text.into_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    if refusal.status() == StatusCode::SERVICE_UNAVAILABLE {
        let soon = axum::http::HeaderValue::from_static("1");
        response.headers_mut().insert(axum::http::header::RETRY_AFTER, soon);
    }
    response
}

/// What is told of a connection when it is over, however that comes.
struct Connection {
    output: Output,
    asked: String,
    address: Option<SocketAddr>,
    outcome: ConnectionOutcome,
    reason: String,
    /// Bytes of the program's that the host was sent, and of the host's that the program was.
    sent: AtomicU64,
    received: AtomicU64,
    began: Instant,
}

impl Connection {
    fn new(asked: &str, output: Output) -> Self {
        Self {
            output,
            asked: cut(asked, ASKED_BYTES),
            address: None,
            outcome: ConnectionOutcome::Failed,
            reason: "it was given up".to_owned(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    fn refused(&mut self, refusal: &Refusal) {
        self.outcome = refusal.outcome();
        self.reason = cut(&refusal.to_string(), REASON_BYTES);
    }

    fn ended(&mut self, reason: String) {
        self.reason = reason;
    }

    fn allowed(&mut self) {
        self.outcome = ConnectionOutcome::Allowed;
        self.reason = String::new();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.output.say(Entry::Connection {
            host: std::mem::take(&mut self.asked),
            outcome: self.outcome,
            reason: std::mem::take(&mut self.reason),
            address: self.address.map(|address| address.ip().to_string()).unwrap_or_default(),
            sent_bytes: self.sent.load(Ordering::Relaxed),
            received_bytes: self.received.load(Ordering::Relaxed),
            total_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }
}
