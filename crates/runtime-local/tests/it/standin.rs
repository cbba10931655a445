//! A stand-in for `jb-runner` that these tests talk to: it runs one shell script per connection.
//! Request: the script, ended by shutting down the writing side. Reply: exit code, newline, output.

use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, verb, j, journal, s, fd] = arguments.as_slice() else { std::process::exit(64) };
    assert_eq!((verb.as_str(), j.as_str(), s.as_str()), ("serve", "--journal", "--socket-fd"));
    std::fs::write(format!("{journal}/started"), "yes").unwrap();
    let listener = unsafe { UnixListener::from_raw_fd(fd.parse().unwrap()) };
    // Keeps the listener from the scripts.
    unsafe { fcntl(fd.parse().unwrap(), 2, 1) };
    for stream in listener.incoming() {
        std::thread::spawn(move || {
            let mut stream = stream.unwrap();
            let mut script = String::new();
            stream.read_to_string(&mut script).unwrap();
            if script == "#die" {
                std::process::exit(0);
            }
            let (mut reader, writer) = std::io::pipe().unwrap();
            let child = Command::new("/bin/sh")
                .args(["-c", &script])
                .stdin(Stdio::null())
                .stdout(writer.try_clone().unwrap())
                .stderr(writer)
                .spawn();
            let reply = match child {
                Ok(mut child) => {
                    let mut output = Vec::new();
                    reader.read_to_end(&mut output).unwrap();
                    let status = child.wait().unwrap();
                    [format!("{}\n", status.code().unwrap_or(255)).into_bytes(), output].concat()
                }
                Err(error) => format!("127\n{error}").into_bytes(),
            };
            stream.write_all(&reply).ok();
        });
    }
}

unsafe extern "C" {
    fn fcntl(fd: i32, cmd: i32, arg: i32) -> i32;
}
