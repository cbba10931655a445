//! Measures from inside that there is a way out by the gateway and no other.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpStream, UnixStream};

/// A packet that is dropped on its way is not answered; this long is waited for an answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// A cluster may take a moment until it enforces the policies of a new pod.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// The gateway is begun beside the agent, and may be the later one.
const GATEWAY_BEGINS: Duration = Duration::from_secs(30);
const GATEWAY_PAUSE: Duration = Duration::from_millis(20);

/// Returns once somebody listens at the gateway's socket. Where nobody does for long, whoever asks next is told why.
pub(super) async fn gateway_listens(socket: &str) {
    let listens = async {
        while UnixStream::connect(socket).await.is_err() {
            tokio::time::sleep(GATEWAY_PAUSE).await;
        }
    };
    let _ = tokio::time::timeout(GATEWAY_BEGINS, listens).await;
}

/// The first of some addresses that still answers once the network has had time to be what it shall be.
pub(super) async fn first_open(addresses: &[String]) -> Option<String> {
    let mut answering = first_answering(addresses).await;
    for _ in 1..LOOKS {
        answering.as_ref()?;
        tokio::time::sleep(PAUSE).await;
        answering = first_answering(addresses).await;
    }
    answering
}

/// The first of some addresses that answers in any way. To be refused is an answer, too: something was reached.
async fn first_answering(addresses: &[String]) -> Option<String> {
    let answers = addresses.iter().map(async |address| {
        let answered = match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
            Err(_) => false,
        };
        answered.then(|| address.clone())
    });
    join_all(answers).await.into_iter().flatten().next()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn a_gateway_that_begins_later_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("gateway");
        let listens = gateway_listens(socket.to_str().unwrap());
        let mut listens = std::pin::pin!(listens);
        let early = futures_util::poll!(listens.as_mut());
        assert!(early.is_pending());
        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        listens.await;
        assert!(UnixStream::connect(&socket).await.is_ok());
    }

    #[tokio::test]
    async fn an_open_and_a_closed_port_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        assert_eq!(first_answering(std::slice::from_ref(&open)).await, Some(open.clone()));
        drop(listener);
        assert_eq!(first_answering(std::slice::from_ref(&open)).await, Some(open));
        assert_eq!(first_answering(&[]).await, None);
    }
}
