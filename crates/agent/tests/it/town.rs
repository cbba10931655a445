//! What is outside of a gateway as tests have it, and clients of its proxy.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use jb_agent::Output;
use jb_agent::gateway::Outside;
use jb_agent_protocol::Entry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
};

use crate::step::Step;

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Where names lead; whatever the address is, one host is there.
const NAMES: [(&str, &[&str]); 6] = [
    ("crates.io.", &["1.1.1.1"]),
    ("static.crates.io.", &["1.1.1.2"]),
    ("rebound.crates.io.", &["1.1.1.1", "10.0.0.7"]),
    ("inside.crates.io.", &["127.0.0.1"]),
    ("mirror.corp.test", &["10.1.2.3"]),
    ("other.corp.test", &["10.9.2.3"]),
];

/// What is outside, as far as the gateway sees.
pub(crate) struct Town {
    host: SocketAddr,
    resolved: Mutex<Vec<String>>,
    dialled: Mutex<Vec<String>>,
}

impl Town {
    pub(crate) fn new(host: SocketAddr) -> Arc<Self> {
        Arc::new(Self { host, resolved: Mutex::default(), dialled: Mutex::default() })
    }

    pub(crate) fn resolved(&self) -> Vec<String> {
        self.resolved.lock().unwrap().clone()
    }

    pub(crate) fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().clone()
    }
}

impl Outside for Town {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.resolved.lock().unwrap().push(name.to_owned());
        let names: BTreeMap<_, _> = NAMES.into();
        let found = names.get(name).map(|found| found.iter().map(|it| it.parse().unwrap()));
        let found = found.map(Iterator::collect);
        Box::pin(async { found.ok_or_else(|| io::Error::other("there is no such name")) })
    }

    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.dialled.lock().unwrap().push(address.to_string());
        Box::pin(TcpStream::connect(self.host))
    }
}

/// Runs the gateway beside what is done with its socket; returns what it said of connections.
pub(crate) async fn beside<T>(
    step: &Step,
    town: &Arc<Town>,
    done: impl AsyncFnOnce(&str) -> T,
) -> (T, Vec<Entry>) {
    let (output, said) = Output::kept();
    // An earlier gateway's.
    let _ = std::fs::remove_file(&step.gateway.socket);
    let outside: Arc<dyn Outside> = Arc::clone(town) as _;
    let gateway = jb_agent::gateway::run_reaching(step.gateway.clone(), output, outside);
    let gateway = tokio::spawn(gateway);
    let socket = step.gateway.socket.as_str();
    while !std::path::Path::new(socket).exists() && !gateway.is_finished() {
        tokio::task::yield_now().await;
    }
    let done = done(socket).await;
    gateway.abort();
    let _ = gateway.await;
    let said = said.lock().unwrap().clone();
    (done, said.into_iter().filter(|it| matches!(it, Entry::Connection { .. })).collect())
}

/// Sends a request to the proxy and reads the head of its answer.
pub(crate) async fn ask(socket: &str, request: &str) -> (String, UnixStream) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await;
        let Ok(byte) = byte else { break };
        head.push(byte);
    }
    (String::from_utf8(head).unwrap(), stream)
}

pub(crate) async fn connect(socket: &str, authority: &str) -> (String, UnixStream) {
    ask(socket, &format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n")).await
}

/// Who a host is, is no matter here.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = tokio_rustls::rustls::crypto::ring::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

fn tls() -> Arc<ClientConfig> {
    let config = ClientConfig::builder().dangerous();
    let config = config.with_custom_certificate_verifier(Arc::new(Trusting));
    Arc::new(config.with_no_client_auth())
}

/// A client's first message for a host.
pub(crate) fn hello(host: &str) -> Vec<u8> {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(tls(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Asks a host for something under a name, through the proxy.
pub(crate) async fn get(socket: &str, authority: &str, named: &str) -> io::Result<String> {
    let (head, stream) = connect(socket, authority).await;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
    }
    let name = ServerName::try_from(named.to_owned()).unwrap();
    let mut stream = TlsConnector::from(tls()).connect(name, stream).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// A server that keeps what it is sent.
pub(crate) async fn listener() -> (TcpListener, Arc<Town>) {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let town = Town::new(listener.local_addr().unwrap());
    (listener, town)
}
