//! Clients that come by the runner's port.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;

use jb_runner_protocol::{ANNOUNCEMENT, KEY_BYTES, Reply, Request, VERSION};
use sha2::{Digest as _, Sha256};

use crate::support::{Runner, sh};

const KEY: [u8; KEY_BYTES] = [7; KEY_BYTES];

/// One whose port nobody else has, and that port.
fn start() -> (Runner, u16) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    (start_at(port), port)
}

fn start_at(port: u16) -> Runner {
    let mut lock = String::new();
    Sha256::digest(KEY).iter().for_each(|byte| write!(lock, "{byte:02x}").unwrap());
    let runner = Runner::with(&["--port", &port.to_string(), "--key", &lock], Stdio::null());
    // It answers once it listens everywhere.
    runner.client();
    runner
}

/// What is heard after saying `said`, and not a byte more.
fn heard(port: u16, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(said).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    // One that is shown out before all that it said was heard is told so by a reset.
    let _ = stream.read_to_end(&mut heard);
    heard
}

fn hello() -> Vec<u8> {
    let mut wire = Vec::new();
    Request::Hello { version: VERSION }.encode(&mut wire);
    wire
}

#[test]
fn whoever_has_the_key_is_served() {
    let (_runner, port) = start();
    let mut wire = vec![ANNOUNCEMENT];
    Reply::Hello { version: VERSION }.encode(&mut wire);
    assert_eq!(heard(port, &[KEY.as_slice(), &hello()].concat()), wire);
}

#[test]
fn nobody_else_hears_a_word() {
    let (runner, port) = start();
    let mut wrong = KEY;
    wrong[KEY_BYTES - 1] ^= 1;
    for said in [wrong.as_slice(), &Sha256::digest(KEY), &KEY[1..], b"", &hello()] {
        let said = [said, &hello()].concat();
        assert_eq!(heard(port, &said), b"", "{said:?}");
    }
    assert_eq!(runner.client().run("p", sh("echo fine")).text(), "fine\n");
}

#[test]
fn who_says_nothing_keeps_nobody_out() {
    let (_runner, port) = start();
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let silent: Vec<_> = (0..100).map(|_| connect()).collect();
    let mut caller = connect();
    caller.write_all(&KEY[..1]).unwrap();
    caller.write_all(&KEY[1..]).unwrap();
    let mut said = [1];
    caller.read_exact(&mut said).unwrap();
    assert_eq!(said, [ANNOUNCEMENT]);
    // The first of them was shown out.
    assert_eq!((&silent[0]).read(&mut said).unwrap_or_default(), 0);
}

#[test]
fn a_port_that_is_taken_is_done_without() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let runner = start_at(taken.local_addr().unwrap().port());
    assert_eq!(runner.client().run("p", sh("echo fine")).text(), "fine\n");
}
