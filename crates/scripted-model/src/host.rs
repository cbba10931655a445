//! A host that speaks TLS under whatever name it is asked for, and greets by it; for tests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{Error, ServerConfig};

use crate::lock;

/// A running host. It ends with the process, or when dropped.
pub struct ScriptedHost {
    address: SocketAddr,
    reached: Arc<Mutex<Vec<String>>>,
    server: tokio::task::JoinHandle<()>,
}

impl ScriptedHost {
    /// Begins to serve. One that is `picky` asks clients to begin anew, with a key of another kind.
    ///
    /// # Errors
    /// When the address cannot be listened at.
    pub async fn start(address: SocketAddr, picky: bool) -> std::io::Result<Self> {
        let config = config(picky).map_err(std::io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let reached = Arc::<Mutex<Vec<String>>>::default();
        let names = Arc::clone(&reached);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, names) = (acceptor.clone(), Arc::clone(&names));
                // What fails, its client notices.
                tokio::spawn(async move { drop(greet(acceptor, stream, &names).await) });
            }
        });
        Ok(Self { address, reached, server })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names by which it was asked, in order.
    pub fn reached(&self) -> Vec<String> {
        lock(&self.reached).clone()
    }
}

impl Drop for ScriptedHost {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn config(picky: bool) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    // Who it is, is no matter here: clients do not ask.
    let made = rcgen::generate_simple_self_signed(["host.test".to_owned()])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut provider = ring::default_provider();
    if picky {
        provider.kx_groups = vec![ring::kx_group::SECP384R1];
    }
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(|error: Error| error.to_string())?;
    Ok(config)
}

/// Answers one request, and hangs up.
async fn greet(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    names: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let stream = acceptor.accept(stream).await?;
    let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
    lock(names).push(name.clone());
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let body = format!("this is {name}\n");
    let length = body.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
