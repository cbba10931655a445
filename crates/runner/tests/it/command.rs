//! The command line: lingering, echo, connect.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use jb_runner_protocol::{ProcessSpec, Request, VERSION, WindowSize};

use crate::support::{BINARY, Client, Runner, log, program, sh};

#[test]
fn it_ends_with_the_main_process_once_that_is_acknowledged() {
    let mut runner = Runner::with(&["--main", "main", "--linger", "600"], Stdio::null());
    let mut client = runner.client();
    client.run("other", sh("exit 1"));
    client.start("main", sh("echo out; exit 42"));
    let records = client.records("main", 0);
    assert!(runner.child().try_wait().unwrap().is_none());
    client.send(&Request::Ack { id: "main".to_owned(), seq: records.len() as u64 - 1 });
    assert_eq!(runner.wait().code(), Some(42));
}

#[test]
fn it_ends_after_the_bound_when_nobody_acknowledges() {
    let mut runner = Runner::with(&["--main", "main", "--linger", "0"], Stdio::null());
    let mut client = runner.client();
    client.start("main", sh("kill -9 $$"));
    assert_eq!(runner.wait().code(), Some(137));
}

#[test]
fn output_is_echoed_whole() {
    let options = ["--main", "main", "--linger", "600", "--echo"];
    let mut runner = Runner::with(&options, Stdio::piped());
    let mut stdout = runner.child().stdout.take().unwrap();
    let mut client = runner.client();
    client.run("other", sh("echo not this"));
    client.start("main", program("seq", &["200000"]));
    // All of it was said and acknowledged before anyone reads the copy.
    let records = client.records("main", 0);
    client.send(&Request::Ack { id: "main".to_owned(), seq: records.len() as u64 });
    let mut echoed = Vec::new();
    stdout.read_to_end(&mut echoed).unwrap();
    assert!(echoed == log(&records).stdout);
    assert_eq!(runner.wait().code(), Some(0));
}

/// Not `io::copy`, which splices: see `connect`.
fn copy(from: &mut dyn Read, to: &mut dyn Write) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        to.write_all(&buffer[..n]).unwrap();
    }
}

#[test]
fn connect_joins_its_stdio_to_the_socket() {
    let runner = Runner::start();
    let mut bridge = Command::new(BINARY)
        .args(["connect", "--socket"])
        .arg(runner.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (bridge.stdin.take().unwrap(), bridge.stdout.take().unwrap());
    // A client speaks to one end of a pair, whose other end is copied to and from the bridge.
    let (near, far) = UnixStream::pair().unwrap();
    let mut incoming = far.try_clone().unwrap();
    let send = std::thread::spawn(move || copy(&mut incoming, &mut stdin));
    let receive = std::thread::spawn(move || {
        let mut far = far;
        copy(&mut stdout, &mut far);
        let _ = far.shutdown(std::net::Shutdown::Both);
    });
    let mut client = Client::new(near);
    client.send(&Request::Hello { version: VERSION });
    client.receive().unwrap();
    let tty = Some(WindowSize { cols: 80, rows: 24 });
    let spec = ProcessSpec { tty, ..program("seq", &["100000"]) };
    assert_eq!(client.run("p", spec).text().lines().count(), 100_000);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.receive(), None);
    send.join().unwrap();
    receive.join().unwrap();
    assert!(bridge.wait().unwrap().success());
}

/// How often a process has gone to sleep by itself.
fn slept(child: &Child) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.map_or(0, |count| count.trim().parse().unwrap())
}

/// A container's runner is reached as soon as its container has started, when it may not have listened yet.
#[test]
fn whoever_wants_it_announced_waits_for_the_runner() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("late");
    let mut bridge = Command::new(BINARY)
        .args(["connect", "--announce", "--socket"])
        .arg(&socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while slept(&bridge) < 20 {
        assert!(bridge.try_wait().unwrap().is_none(), "it did not wait");
        std::thread::yield_now();
    }
    let listener = UnixListener::bind(&socket).unwrap();
    drop(listener.accept().unwrap());
    let mut said = Vec::new();
    bridge.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    assert_eq!(said, [0]);
    assert!(bridge.wait().unwrap().success());
}

#[test]
fn it_makes_its_own_socket_for_root_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("own");
    // A stale one is in the way.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut runner = Command::new(BINARY)
        .args(["serve", "--socket"])
        .arg(&socket)
        .arg("--journal")
        .arg(dir.path().join("journal"))
        .spawn()
        .unwrap();
    let stream = loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(_) => std::thread::yield_now(),
        }
    };
    let mut client = Client::new(stream);
    client.send(&Request::Hello { version: VERSION });
    client.receive().unwrap();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    client.done(|token| Request::Shutdown { token, grace_ms: 0 });
    assert!(runner.wait().unwrap().success());
}

#[test]
fn a_wrong_command_line_is_explained() {
    let output = Command::new(BINARY).args(["serve", "--nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--nonsense"));
    let mut child = Command::new(BINARY)
        .args(["connect", "--socket", "/no/such/socket"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"x");
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/socket"));
}
