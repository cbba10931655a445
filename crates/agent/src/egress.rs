//! Measures from inside that there is no way out but the gateway.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;

/// A packet that is dropped on its way is not answered; this long is waited for an answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// A cluster may take a moment until it enforces the policies of a new pod.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

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
    async fn an_open_and_a_closed_port_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        assert_eq!(first_answering(std::slice::from_ref(&open)).await, Some(open.clone()));
        drop(listener);
        assert_eq!(first_answering(std::slice::from_ref(&open)).await, Some(open));
        assert_eq!(first_answering(&[]).await, None);
    }
}
