//! What steps reach.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;

use super::Place;
use crate::metrics::{Scrape, served};
use crate::server::until;

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

/// The policies' rules by their names.
fn policies(place: &Place) -> BTreeMap<String, Value> {
    let list = place.cluster.kubectl(&["get", "networkpolicies", "--output=json"]);
    let mut list: Value = serde_json::from_str(&list).unwrap();
    let items = list["items"].as_array_mut().unwrap().iter_mut();
    items
        .map(|it| (it["metadata"]["name"].as_str().unwrap().to_owned(), it["spec"].take()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_somebody_changes_or_deletes_are_put_back() {
    let (flags, url) = served();
    let flags = flags.each_ref().map(String::as_str);
    let Some(place) = Place::with("restricted", &flags).await else { return };
    let before = policies(&place);
    let of = |kind: &str| {
        before.keys().find(|name| name.contains(&format!("-{kind}-"))).unwrap().as_str()
    };
    place.cluster.kubectl(&["delete", "networkpolicy", of("hermetic")]);
    let open = r#"{"spec": {"ingress": [{}], "egress": [{}]}}"#;
    for kind in ["step", "check"] {
        place.cluster.kubectl(&["patch", "networkpolicy", of(kind), "--patch", open]);
    }
    until("they are as they were", async || (policies(&place) == before).then_some(())).await;
    // Each is written when the server starts and when it was changed, and never else.
    let patches = [r#"resource="networkpolicies""#, r#"verb="patch""#];
    let expected = before.len() as f64 + 3.0;
    let written = until("all writes are counted", async || {
        let scrape = Scrape::of(&url).await;
        Some(scrape.sum("jetbridge_kubernetes_requests_total", &patches)).filter(|n| *n >= expected)
    });
    assert_eq!(written.await, expected);
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
