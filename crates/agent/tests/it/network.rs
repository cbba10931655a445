//! What programs of agents reach through the gateway's proxy, and what they do not.

use jb_agent::Output;
use jb_agent_protocol::network::{ConnectionOutcome, PrivateHost, Proxy, Reach};
use jb_agent_protocol::transcript::Ending;
use jb_agent_protocol::{Api, Entry, LoopSpec, ToolGrant};
use jb_scripted_model::{Reply, Script, ScriptedHost};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::Harness;
use crate::step::Step;
use crate::town::{LOOPBACK, Town, ask, beside, connect, get, hello, listener};

/// A step whose programs reach these hosts.
async fn step(script: Script) -> Step {
    speaking(Api::Messages, script).await
}

async fn speaking(api: Api, script: Script) -> Step {
    let mut step = Step::speaking(api, script).await;
    let hosts = ["crates.io", "*.crates.io", "*.corp.test"].map(str::to_owned).to_vec();
    let free = TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap();
    step.spec.network = Reach::Hosts { hosts: hosts.clone(), listen: free.to_string() };
    let private = PrivateHost { name: "*.corp.test".into(), cidr: "10.1.0.0/16".into() };
    step.gateway.proxy = Some(Proxy { hosts, private: vec![private], denied: vec![] });
    step
}

/// What was said of each connection.
fn told(said: &[Entry]) -> Vec<(ConnectionOutcome, String)> {
    let told = said.iter().map(|entry| match entry {
        Entry::Connection { host, outcome, reason, .. } => (*outcome, format!("{host}: {reason}")),
        other => panic!("{other:?}"),
    });
    told.collect()
}

#[tokio::test]
async fn a_listed_host_is_reached_and_what_passed_is_told() {
    for picky in [false, true] {
        let host = ScriptedHost::start(LOOPBACK, picky).await.unwrap();
        let town = Town::new(host.address());
        let step = step(Script::default()).await;
        let (answers, said) = beside(&step, &town, async |socket| {
            let first = get(socket, "crates.io:443", "crates.io").await;
            let first = first.unwrap_or_else(|error| panic!("picky: {picky}: {error}"));
            [first, get(socket, "Static.CRATES.io.:443", "static.crates.io").await.unwrap()]
        })
        .await;
        assert_eq!(answers, ["this is crates.io", "this is static.crates.io"], "picky: {picky}");
        // A name is looked up whole and once, and what it led to is what is reached.
        assert_eq!(town.resolved(), ["crates.io.", "static.crates.io."]);
        assert_eq!(town.dialled(), ["1.1.1.1:443", "1.1.1.2:443"]);
        for entry in &said {
            let Entry::Connection { outcome, sent_bytes, received_bytes, .. } = entry else {
                panic!("{entry:?}")
            };
            assert_eq!(*outcome, ConnectionOutcome::Allowed, "{entry:?}");
            assert!(*sent_bytes > 200 && *received_bytes > 500, "{entry:?}");
        }
        assert_eq!(said.len(), 2);
    }
}

#[tokio::test]
async fn what_is_not_listed_is_refused_before_anything_is_looked_up() {
    let town = Town::new(LOOPBACK);
    let step = step(Script::default()).await;
    let refused = [
        (
            "evil.test:443",
            403,
            "`evil.test` is not in this step's `network:` list; there are: crates.io,",
        ),
        ("crates.io.evil.test:443", 403, "not in this step's `network:` list"),
        ("crates.io:80", 403, "port 80 of `crates.io` is not let through; only port 443 is"),
        ("crates.io:22", 403, "port 22"),
        ("1.1.1.1:443", 403, "addresses are not let through: use the host's name"),
        ("16843009:443", 403, "addresses are not let through"),
        ("0x1010101:443", 403, "addresses are not let through"),
        ("[::ffff:1.1.1.1]:443", 403, "addresses are not let through"),
        ("[2606:4700::1111]:443", 403, "addresses are not let through"),
        ("127.0.0.1:443", 403, "addresses are not let through"),
    ];
    let ((), said) = beside(&step, &town, async |socket| {
        for (authority, status, expected) in refused {
            let (head, mut stream) = connect(socket, authority).await;
            // In the first line of the answer and in its body, as programs show the one or the other.
            let first = head.lines().next().unwrap_or_default();
            assert!(first.starts_with(&format!("HTTP/1.1 {status} ")), "{authority}: {head}");
            assert!(first.contains(expected), "{authority}: {head}");
            let mut body = vec![0; 2048];
            let length = stream.read(&mut body).await.unwrap();
            assert!(String::from_utf8_lossy(&body[..length]).contains(expected), "{authority}");
        }
        // The same asked for in plain HTTP, of a host that is listed, too.
        for url in ["http://crates.io/", "http://evil.test/", "http://crates.io:443/v1/messages"] {
            let (head, _) = ask(socket, &format!("GET {url} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
            assert!(head.contains("403 plain HTTP is not let through: use https"), "{head}");
        }
        let long = format!("x: {}\r\n", "y".repeat(9 << 10));
        let (head, _) =
            ask(socket, &format!("CONNECT crates.io:443 HTTP/1.1\r\nhost: x\r\n{long}\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    })
    .await;
    assert_eq!((town.resolved(), town.dialled()), (vec![], vec![]));
    assert_eq!(said.len(), refused.len() + 4);
    assert!(told(&said).iter().all(|(outcome, _)| *outcome == ConnectionOutcome::Denied));
}

#[tokio::test]
async fn names_that_lead_inside_are_not_followed() {
    let host = ScriptedHost::start(LOOPBACK, false).await.unwrap();
    let town = Town::new(host.address());
    let step = step(Script::default()).await;
    let ((), said) = beside(&step, &town, async |socket| {
        for (authority, expected) in [
            (
                "rebound.crates.io:443",
                "403 `rebound.crates.io` leads to 10.0.0.7, which is no public",
            ),
            ("inside.crates.io:443", "403 `inside.crates.io` leads to 127.0.0.1"),
            ("other.corp.test:443", "403 `other.corp.test` leads to 10.9.2.3"),
            (
                "missing.crates.io:443",
                "502 `missing.crates.io` has no address: there is no such name",
            ),
        ] {
            let (head, _) = connect(socket, authority).await;
            assert!(head.contains(expected), "{head}");
        }
        // What the operator allows is where he says.
        let answer = get(socket, "mirror.corp.test:443", "mirror.corp.test").await.unwrap();
        assert_eq!(answer, "this is mirror.corp.test");
    })
    .await;
    assert_eq!(town.dialled(), ["10.1.2.3:443"]);
    let outcomes: Vec<_> = told(&said).into_iter().map(|(outcome, _)| outcome).collect();
    use ConnectionOutcome::{Allowed, Denied, Failed};
    assert_eq!(outcomes, [Denied, Denied, Denied, Failed, Allowed]);
}

#[tokio::test]
async fn nothing_passes_before_tls_named_the_same_host() {
    let (listener, town) = listener().await;
    let step = step(Script::default()).await;
    let ip = hello("1.1.1.1");
    let cases: [(&[u8], u8, &str); 4] = [
        (
            &hello("evil.test"),
            112,
            "the connection is for `crates.io`, and its TLS names `evil.test`",
        ),
        (&hello("static.crates.io"), 112, "its TLS names `static.crates.io`"),
        (&ip, 109, "does not name its host"),
        (b"GET / HTTP/1.1\r\n\r\n", 50, "does not begin with TLS"),
    ];
    let ((), said) = beside(&step, &town, async |socket| {
        for (first, alert, _) in cases {
            let (head, mut stream) = connect(socket, "crates.io:443").await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let (mut server, _) = listener.accept().await.unwrap();
            // In pieces, as networks may have it.
            let (one, two) = first.split_at(7);
            stream.write_all(one).await.unwrap();
            stream.flush().await.unwrap();
            stream.write_all(two).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, [21, 3, 3, 0, 2, 2, alert]);
            let mut leaked = Vec::new();
            server.read_to_end(&mut leaked).await.unwrap();
            assert_eq!(leaked, b"");
        }
    })
    .await;
    for ((outcome, text), (_, _, expected)) in told(&said).iter().zip(cases) {
        assert!(*outcome == ConnectionOutcome::Denied && text.contains(expected), "{text}");
    }
    assert_eq!(said.len(), cases.len());
}

/// A server may ask its client to begin again, which then names its host again.
#[tokio::test]
async fn the_second_name_is_checked_as_the_first() {
    const RETRY: &str = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";
    let random: Vec<u8> =
        (0..32).map(|n| u8::from_str_radix(&RETRY[2 * n..2 * n + 2], 16).unwrap()).collect();
    let retry = [&[22, 3, 3, 0, 44, 2, 0, 0, 40, 3, 3], &random[..], &[0; 6]].concat();
    let (listener, town) = listener().await;
    let step = step(Script::default()).await;
    let (first, second) = (hello("crates.io"), hello("evil.test"));
    let ((), said) = beside(&step, &town, async |socket| {
        for at_once in [false, true] {
            let (_, mut stream) = connect(socket, "crates.io:443").await;
            let (mut server, _) = listener.accept().await.unwrap();
            stream.write_all(&first).await.unwrap();
            if at_once {
                stream.write_all(&second).await.unwrap();
            }
            let mut came = vec![0; first.len()];
            server.read_exact(&mut came).await.unwrap();
            assert_eq!(came, first);
            server.write_all(&retry).await.unwrap();
            if !at_once {
                stream.write_all(&second).await.unwrap();
            }
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, [&retry[..], &[21, 3, 3, 0, 2, 2, 112]].concat());
            let mut leaked = Vec::new();
            server.read_to_end(&mut leaked).await.unwrap();
            assert_eq!(leaked, b"");
        }
    })
    .await;
    assert_eq!(said.len(), 2);
    assert!(told(&said).iter().all(|(_, text)| text.contains("TLS names `evil.test`")), "{said:?}");
}

#[tokio::test]
async fn silence_and_numbers_have_bounds() {
    let (listener, town) = listener().await;
    let mut step = step(Script::default()).await;
    step.gateway.idle_timeout_ms = 100;
    let ((), said) = beside(&step, &town, async |socket| {
        let (_, mut stream) = connect(socket, "crates.io:443").await;
        let (mut server, _) = listener.accept().await.unwrap();
        // It is there when it is waited for.
        server.write_all(&[23, 3, 3, 0, 1, 7]).await.unwrap();
        stream.write_all(&hello("crates.io")).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [23, 3, 3, 0, 1, 7]);
    })
    .await;
    let (outcome, text) = &told(&said)[0];
    assert_eq!(*outcome, ConnectionOutcome::Allowed);
    assert!(text.ends_with("nothing was said for 0.1 s"), "{text}");

    step.gateway.idle_timeout_ms = 30_000;
    let ((), said) = beside(&step, &town, async |socket| {
        let mut open = Vec::new();
        for _ in 0..32 {
            open.push(connect(socket, "crates.io:443").await);
        }
        let (head, _) = connect(socket, "crates.io:443").await;
        assert!(head.contains("503 32 connections are open"), "{head}");
        // The model is reached nonetheless.
        let http = reqwest::Client::builder().unix_socket(socket).build().unwrap();
        let answer = http.post("http://gateway/v1/messages").json(&json!({})).send().await;
        let text = answer.unwrap().text().await.unwrap();
        assert!(text.contains("the model `` is not granted"), "{text}");
        drop(open);
    })
    .await;
    assert!(told(&said)[0].1.contains("32 connections are open"), "{said:?}");
}

/// As a program of the agent's finds it, from the model's words to the host.
#[tokio::test]
async fn programs_find_the_proxy_in_their_environment() {
    let host = ScriptedHost::start(LOOPBACK, false).await.unwrap();
    let town = Town::new(host.address());
    let variables = "$https_proxy $HTTPS_PROXY $http_proxy $NO_PROXY";
    let argv = json!({"argv": ["sh", "-c", format!("echo {variables}")]});
    let script = Script::of([Reply::tool("shell", argv), Reply::text("Done.")]);
    let mut step = step(script).await;
    step.spec.tools = vec![ToolGrant::Shell(vec!["sh -c *".into()])];
    let spec: LoopSpec = step.spec.clone();
    let Reach::Hosts { listen, .. } = spec.network.clone() else { panic!("it has hosts") };
    let (transcript, said) = beside(&step, &town, async |_| {
        let (output, transcript) = Output::kept();
        jb_agent::builtin::run(spec, jb_agent::Decisions::default(), output).await;
        let mut stream = TcpStream::connect(&listen).await.unwrap();
        stream.write_all(b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 64];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 403 `evil.test` is not in"));
        transcript.lock().unwrap().clone()
    })
    .await;
    let shown = transcript.iter().find_map(|entry| match entry {
        Entry::ToolResult { text, .. } => Some(text.trim().to_owned()),
        _ => None,
    });
    let url = format!("http://{listen}");
    assert_eq!(shown.unwrap(), format!("{url} {url} {url} localhost,127.0.0.1,::1"));
    let network = &transcript[1];
    assert!(matches!(network, Entry::Network { reach: Reach::Hosts { .. } }), "{network:?}");
    let asked = step.model().received()[0].body["system"].to_string();
    assert!(asked.contains("crates.io, *.crates.io"), "{asked}");
    assert_eq!(said.len(), 1);
}

/// Harnesses of others find the same variables, and speak to their model past the proxy.
#[tokio::test]
async fn every_harness_works_beside_the_proxy() {
    for harness in Harness::all() {
        let town = Town::new(LOOPBACK);
        let script = Script::of([
            Reply::tool("shell", json!({"argv": ["sh", "-c", "echo $https_proxy"]})),
            Reply::text("Done."),
        ]);
        let mut step = speaking(harness.api, script).await;
        step.spec.tools = vec![ToolGrant::Shell(vec!["sh -c *".into()])];
        let spec = step.spec.clone();
        let (transcript, _) = beside(&step, &town, async |_| harness.run(spec).await).await;
        let result = transcript.iter().find_map(|entry| match entry {
            Entry::ToolResult { text, .. } => Some(text.trim().to_owned()),
            _ => None,
        });
        let Reach::Hosts { listen, .. } = &step.spec.network else { panic!("it has hosts") };
        assert_eq!(result, Some(format!("http://{listen}")), "{harness:?} {transcript:?}");
        let done = matches!(transcript.last(), Some(Entry::End { ending: Ending::Completed, .. }));
        assert!(done, "{harness:?} {transcript:?}");
        assert!(town.dialled().is_empty());
    }
}

#[tokio::test]
async fn without_a_list_nothing_is_a_proxy() {
    let town = Town::new(LOOPBACK);
    let mut step = step(Script::default()).await;
    step.gateway.proxy = None;
    let ((), said) = beside(&step, &town, async |socket| {
        let (head, _) = connect(socket, "crates.io:443").await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    })
    .await;
    assert_eq!((said, town.resolved()), (vec![], vec![]));
}

/// A recording has the model's words, and no host's.
#[tokio::test]
async fn a_step_that_runs_again_reaches_no_host() {
    let first = step(Script::of([Reply::text("Done.")])).await;
    first.run().await;
    let mut again = Step::replaying(Api::Messages, first.recording());
    again.gateway.proxy = first.gateway.proxy.clone();
    let town = Town::new(LOOPBACK);
    let ((), said) = beside(&again, &town, async |socket| {
        for (authority, expected) in [
            ("crates.io:443", "403 this step is answered from a recording, and reaches no host"),
            // What was denied is denied in the same words.
            ("evil.test:443", "403 `evil.test` is not in this step's"),
        ] {
            let (head, _) = connect(socket, authority).await;
            assert!(head.contains(expected), "{head}");
        }
    })
    .await;
    assert_eq!((said.len(), town.resolved()), (2, vec![]));
}
