//! A forwarder between a socket in this container and one elsewhere, byte for byte.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Connections at a time; more wait for one to end.
const CONNECTIONS_MAX: usize = 64;
/// After a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One end: `/path` of a Unix socket, `address:port`, or `*:port` for every address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Unix(String),
    Tcp(SocketAddr),
    AnyTcp(u16),
}

impl std::str::FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.to_owned()));
        }
        if let Some(port) = text.strip_prefix("*:") {
            let port = port.parse().map_err(|_| format!("`{text}` has no port"))?;
            return Ok(Self::AnyTcp(port));
        }
        let address = text.parse().map_err(|_| {
            format!("`{text}` is no /path of a socket, no address:port and no *:port")
        })?;
        Ok(Self::Tcp(address))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a forwarder listens.
pub struct Listener(Kind);

enum Kind {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens where an earlier forwarder may have.
    ///
    /// # Errors
    /// When it cannot; the text says where and why.
    pub async fn bind(at: &End) -> Result<Self, String> {
        let bound = match at {
            End::Unix(path) => unix(path).map(Kind::Unix),
            End::Tcp(address) => TcpListener::bind(address).await.map(Kind::Tcp),
            End::AnyTcp(port) => any(*port).await.map(Kind::Tcp),
        };
        bound.map(Self).map_err(|error| format!("listen at {at:?}: {error}"))
    }

    /// The address, if it is one of the network.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Unix(_) => None,
            Kind::Tcp(listener) => listener.local_addr().ok(),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.0 {
            Kind::Unix(listener) => Box::new(listener.accept().await?.0),
            Kind::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }

    /// Joins whoever connects to the other end, until it is dropped. Who cannot be joined is hung up on.
    pub async fn forward(self, to: End) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let mut near = match self.accept().await {
                Ok(near) => near,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let to = to.clone();
            tokio::spawn(async move {
                if let Ok(mut far) = connect(&to).await {
                    // Either end may break off; what passed has passed.
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }
                drop(permit);
            });
        }
    }
}

/// All addresses of both families, or of the older one where there is no other.
async fn any(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    }
}

/// A socket for whoever has its directory, known by its name only once it is theirs to use.
pub(crate) fn unix(path: &str) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let fresh = format!("{path}.new");
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o666))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

async fn connect(to: &End) -> io::Result<Box<dyn Stream>> {
    Ok(match to {
        End::Unix(path) => Box::new(UnixStream::connect(path).await?),
        End::Tcp(address) => tcp(*address).await?,
        End::AnyTcp(port) => tcp((Ipv4Addr::LOCALHOST, *port).into()).await?,
    })
}

async fn tcp(address: SocketAddr) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn ends_are_told_by_their_form() {
        assert_eq!("/run/s".parse(), Ok(End::Unix("/run/s".to_owned())));
        assert_eq!("*:80".parse(), Ok(End::AnyTcp(80)));
        assert_eq!("[::1]:80".parse(), Ok(End::Tcp((Ipv6Addr::LOCALHOST, 80).into())));
        for wrong in ["", "run/s", "*:", "*:70000", "example.com:80", "10.0.0.1"] {
            assert!(wrong.parse::<End>().is_err(), "{wrong}");
        }
    }

    /// A socket in one pod, the network, a socket in another.
    #[tokio::test]
    async fn bytes_pass_through_two_forwarders_in_both_directions() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| End::Unix(dir.path().join(name).to_str().unwrap().to_owned());
        let End::Unix(serving) = path("serving") else { unreachable!("a path") };
        let server = unix(&serving).unwrap();
        let tcp = Listener::bind(&End::Tcp((Ipv4Addr::LOCALHOST, 0).into())).await.unwrap();
        let address = tcp.address().unwrap();
        tokio::spawn(tcp.forward(path("serving")));
        let near = Listener::bind(&path("near")).await.unwrap();
        tokio::spawn(near.forward(End::Tcp(address)));

        let End::Unix(near) = path("near") else { unreachable!("a path") };
        let mut client = UnixStream::connect(&near).await.unwrap();
        client.write_all(b"a request").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut accepted, _) = server.accept().await.unwrap();
        let mut request = String::new();
        accepted.read_to_string(&mut request).await.unwrap();
        assert_eq!(request, "a request");
        accepted.write_all(b"an answer").await.unwrap();
        drop(accepted);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "an answer");

        // Nobody is at the other end any more: the connection ends, and the next one is taken.
        drop(server);
        std::fs::remove_file(&serving).unwrap();
        for _ in 0..2 {
            let mut client = UnixStream::connect(&near).await.unwrap();
            assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        }
    }
}
