//! What steps reach.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::Place;

/// A server on all of this machine's addresses that greets whoever asks; its port.
fn greeter() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { continue };
            let _ = connection.read(&mut [0; 1024]);
            let _ = connection.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello\n");
        }
    });
    port
}

/// What a task is answered by this machine at its own address and at a link-local one, and whether it resolves names.
async fn answers(place: &Place, [host, link_local]: [&str; 2]) -> String {
    let port = greeter();
    let script = format!(
        "for host in {host} {link_local}; do curl -s -m 4 http://$host:{port}/ || echo silence; done; \
         nslookup kubernetes.default.svc.cluster.local >/dev/null && echo resolved"
    );
    let pipeline = format!(
        "jobs:\n- name: j\n  plan:\n  - task: t\n    config:\n      platform: linux\n      \
         run: {{path: sh, args: [-c, \"{script}\"]}}\n"
    );
    let api = place.login().await;
    api.set_pipeline("p", &pipeline).await;
    api.succeeded(api.trigger("p", "j").await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_addresses_do_not_answer() {
    let told = |name: &str| std::env::var(format!("JETBRIDGE_CLUSTER_{name}")).ok();
    let Some((host, link_local)) = told("HOST").zip(told("LINK_LOCAL")) else {
        eprintln!("SKIPPED: only a cluster of the tests' own is known to reach this machine");
        return;
    };
    let addresses = [host.as_str(), link_local.as_str()];
    let usual = async {
        let Some(place) = Place::start("restricted").await else { return };
        assert_eq!(answers(&place, addresses).await, "hello\r\nsilence\r\nresolved\r\n");
    };
    let denied = async {
        let denied = ["--kubernetes-deny-egress", &host];
        let Some(place) = Place::with("restricted", &denied).await else { return };
        assert_eq!(answers(&place, addresses).await, "silence\r\nsilence\r\nresolved\r\n");
    };
    tokio::join!(usual, denied);
}
