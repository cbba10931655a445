//! Strangers and hostile clients.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use jb_runner_protocol::{MAX_PAYLOAD, Reply, Request, VERSION};

use crate::support::{Client, Runner, sh};

/// What the runner says to raw bytes before it closes.
fn answer(runner: &Runner, bytes: &[u8]) -> Vec<Reply> {
    let mut client = Client::new(UnixStream::connect(runner.socket()).unwrap());
    // It may hang up before it has read all.
    let _ = client.stream.write_all(bytes);
    std::iter::from_fn(|| client.receive()).collect()
}

fn hello(version: u16) -> Vec<u8> {
    let mut wire = Vec::new();
    Request::Hello { version }.encode(&mut wire);
    wire
}

#[test]
fn another_version_is_told_both() {
    let runner = Runner::start();
    let replies = answer(&runner, &hello(VERSION + 1));
    assert_eq!(replies[0], Reply::Hello { version: VERSION });
    assert!(matches!(&replies[1], Reply::Error { message } if message.contains("version 2")));
    assert_eq!(replies.len(), 2);
}

#[test]
fn hostile_bytes_close_one_connection_only() {
    let runner = Runner::start();
    let mut good = runner.client();
    let mut no_hello = Vec::new();
    Request::List { token: 1 }.encode(&mut no_hello);
    let too_large =
        [u32::try_from(MAX_PAYLOAD + 1).unwrap().to_le_bytes().as_slice(), &[6]].concat();
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [0xff; 5000].to_vec(),
        no_hello,
        [hello(VERSION), hello(VERSION)].concat(),
        [hello(VERSION), too_large].concat(),
        [hello(VERSION), vec![0, 0, 0, 0, 99]].concat(),
        [hello(VERSION), vec![1, 0, 0, 0, 12, 0]].concat(),
    ] {
        let replies = answer(&runner, &bytes);
        assert!(matches!(replies.last(), Some(Reply::Error { .. })), "{bytes:?}: {replies:?}");
    }
    assert_eq!(good.run("p", sh("echo fine")).text(), "fine\n");
}

#[test]
fn random_frames_never_end_the_runner() {
    let runner = Runner::start();
    let mut random = 7_u32;
    let mut byte = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    };
    for _ in 0..200 {
        let mut wire = hello(VERSION);
        for _ in 0..4 {
            let length = usize::from(byte());
            wire.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
            // Every kind but shutdown, which would be obeyed.
            wire.push(byte() % 13);
            wire.extend((0..length).map(|_| byte()));
        }
        let mut stream = UnixStream::connect(runner.socket()).unwrap();
        stream.write_all(&wire).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(runner.client().run("p", sh("echo fine")).text(), "fine\n");
}

#[test]
fn a_client_that_only_asks_is_not_answered_without_bound() {
    let runner = Runner::start();
    let mut greedy = runner.client();
    greedy.stream.set_nonblocking(true).unwrap();
    let mut wire = Vec::new();
    (0..1000).for_each(|token| Request::List { token }.encode(&mut wire));
    // Until the runner reads no more requests because nobody takes the answers. A write that was
    // refused is tried again once the runner had a turn.
    let mut refused = 0;
    let mut taken = 0_usize;
    while refused < 20 {
        match greedy.stream.write(&wire) {
            Ok(n) => taken += n,
            Err(_) => {
                refused += 1;
                runner.client().list();
            }
        }
        assert!(taken < 64 << 20);
    }
    assert_eq!(runner.client().run("p", sh("echo fine")).text(), "fine\n");
}

#[test]
fn connections_are_bounded() {
    let runner = Runner::start();
    let clients: Vec<_> = (0..64).map(|_| runner.client()).collect();
    let mut refused = Client::new(UnixStream::connect(runner.socket()).unwrap());
    assert_eq!(refused.receive(), None);
    drop(clients);
}
