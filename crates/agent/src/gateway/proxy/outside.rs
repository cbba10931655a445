//! What is outside of the gateway's container.

use std::io;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;

/// The most addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// Names and connections.
pub trait Outside: Send + Sync + 'static {
    /// The addresses of a name, all that there are.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;

    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// The network that the gateway's container has.
pub struct Internet;

impl Outside for Internet {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            if addresses.len() > ADDRESSES_MAX {
                return Err(io::Error::other(format!("it has more than {ADDRESSES_MAX}")));
            }
            addresses.sort_by_key(IpAddr::is_ipv6);
            addresses.dedup();
            Ok(addresses)
        })
    }

    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }
}
