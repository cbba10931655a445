#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// What a client of today says first; of an address it says no name.
fn said(host: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), &long(content)[..]].concat()
}

fn long(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

fn named(name: &[u8]) -> Vec<u8> {
    extension(0, &long(&[&[0], &long(name)[..]].concat()))
}

/// A message with these extensions.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend(long(&[0x13, 1]));
    body.extend([1, 0]);
    body.extend(long(&extensions.concat()));
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1, length[1], length[2], length[3]], &body[..]].concat()
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1], &long(content)[..]].concat()
}

fn found(bytes: &[u8]) -> Result<Option<String>, HelloError> {
    read(bytes, false).map(|hello| hello.map(|hello| hello.name))
}

#[test]
fn the_host_is_read_from_what_clients_say_however_it_comes() {
    let bytes = said("crates.io");
    let whole = Hello { name: "crates.io".to_owned(), bytes: bytes.len() };
    assert_eq!(read(&bytes, false), Ok(Some(whole)));
    for length in 0..bytes.len() {
        assert_eq!(read(&bytes[..length], false), Ok(None), "{length}");
    }
    // In records of one byte each, and with something after it.
    let pieces: Vec<Vec<u8>> = bytes[5..].iter().map(|byte| record(22, &[*byte])).collect();
    let pieces = pieces.concat();
    let more = [&pieces[..], b"more"].concat();
    let whole = Hello { name: "crates.io".to_owned(), bytes: pieces.len() };
    assert_eq!(read(&more, false), Ok(Some(whole)));
}

#[test]
fn who_names_no_host_is_refused() {
    assert_eq!(found(&said("1.1.1.1")), Err(HelloError::NoName));
    assert_eq!(found(&record(22, &message(&[]))), Err(HelloError::NoName));
    let without = &message(&[])[..];
    let mut bare = without[..without.len() - 2].to_vec();
    bare[3] -= 2;
    assert_eq!(found(&record(22, &bare)), Err(HelloError::NoName));
}

#[test]
fn encrypted_names_are_refused_whatever_else_is_named() {
    for kind in ENCRYPTED {
        for extensions in [
            vec![named(b"crates.io"), extension(kind, &[0; 9])],
            vec![extension(kind, &[]), named(b"crates.io")],
        ] {
            assert_eq!(found(&record(22, &message(&extensions))), Err(HelloError::Encrypted));
        }
    }
}

#[test]
fn what_two_readers_could_read_in_two_ways_is_refused() {
    let name = || named(b"crates.io");
    let two_in_one = long(&[&[0], &long(b"a.io")[..], &[0], &long(b"b.io")[..]].concat());
    let cases: [(&str, Vec<Vec<u8>>); 8] = [
        ("two names", vec![name(), named(b"evil.test")]),
        ("the same twice", vec![name(), name()]),
        ("two names in one", vec![extension(0, &two_in_one)]),
        ("another kind of name", vec![extension(0, &long(&[&[1], &long(b"a.io")[..]].concat()))]),
        ("something after the list", vec![extension(0, &[&name()[4..], b"x"].concat())]),
        ("an empty name", vec![named(b"")]),
        ("no name at all", vec![extension(0, &[])]),
        ("other characters", vec![named("bücher.example".as_bytes())]),
    ];
    for (what, extensions) in cases {
        assert_eq!(found(&record(22, &message(&extensions))), Err(HelloError::Malformed), "{what}");
    }
    let good = message(&[name()]);
    let cases: [(&str, Vec<u8>); 4] = [
        ("a message after it", record(22, &[&good[..], &good[..]].concat())),
        ("an empty record", [record(22, &[]), record(22, &good)].concat()),
        ("a length that is too long for it", {
            let mut message = good.clone();
            let at = message.len() - name().len() - 1;
            message[at] += 1;
            record(22, &message)
        }),
        ("a length that is too short for it", {
            let mut message = good.clone();
            let at = message.len() - name().len() - 1;
            message[at] -= 1;
            record(22, &message)
        }),
    ];
    for (what, bytes) in cases {
        assert_eq!(found(&bytes), Err(HelloError::Malformed), "{what}");
    }
}

#[test]
fn what_is_no_tls_is_refused_by_its_first_byte() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"G",
        b"SSH-2.0-x",
        // Older than TLS.
        &[0x80, 0x2e, 1, 0, 2],
        &[22, 2, 0, 0, 5],
        // Another message than a client's first, and other records.
        &record(22, &[2, 0, 0, 4, 1, 2, 3, 4]),
        &record(23, b"data"),
        &record(20, &[1]),
    ] {
        assert_eq!(found(bytes), Err(HelloError::NotTls), "{bytes:?}");
    }
}

#[test]
fn the_beginning_has_an_end() {
    let long = message(&[extension(21, &vec![0; HELLO_BYTES_MAX]), named(b"crates.io")]);
    assert_eq!(found(&record(22, &long)[..9]), Err(HelloError::TooLong));
    // In one-byte records, of which the headers count.
    let long = message(&[extension(21, &[0; 4000]), named(b"crates.io")]);
    let pieces: Vec<Vec<u8>> = long.iter().map(|byte| record(22, &[*byte])).collect();
    assert_eq!(found(&pieces.concat()[..HELLO_BYTES_MAX]), Err(HelloError::TooLong));
    assert_eq!(found(&[22, 3, 1, 0xff, 0xff]), Err(HelloError::TooLong));
}

#[test]
fn a_client_that_begins_again_is_read_past_what_comes_before() {
    let hello = record(22, &message(&[named(b"evil.test")]));
    let bytes = [record(20, &[1]), record(23, b"early"), hello].concat();
    let hello = read(&bytes, true).unwrap().unwrap();
    assert_eq!((hello.name.as_str(), hello.bytes), ("evil.test", bytes.len()));
    let mut server = record(22, &[&[2, 0, 0, 40, 3, 3], &RETRY[..], &[0; 6]].concat());
    assert!(is_retry(&server) && !is_cut_off(&server));
    assert!((0..server.len()).all(|length| is_cut_off(&server[..length])));
    server[SERVER_BYTES - 1] ^= 1;
    assert!(!is_retry(&server));
    assert!(!is_cut_off(&[21]));
}
