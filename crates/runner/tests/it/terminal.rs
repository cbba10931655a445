//! Processes with a terminal.

use jb_runner_protocol::{ProcessSpec, Reply, Request, Stdin, WindowSize};

use crate::support::{Client, Runner, sh};

fn tty(script: &str) -> ProcessSpec {
    ProcessSpec { tty: Some(WindowSize { cols: 120, rows: 40 }), stdin: Stdin::Open, ..sh(script) }
}

fn type_in(client: &mut Client, id: &str, text: &str) {
    let (id, bytes) = (id.to_owned(), text.as_bytes().to_vec());
    client.done(|token| Request::Stdin { token, id, bytes });
}

#[test]
fn a_terminal_has_a_size_and_controls_its_session() {
    let runner = Runner::start();
    let log = runner.client().run(
        "p",
        tty("stty size; test -t 0 && test -t 1 && test -t 2 && echo tty; echo there > /dev/tty; \
             echo err >&2; ps -o tpgid=,pgid= -p $$ | awk '{ print $1 == $2 }'"),
    );
    assert_eq!(log.text(), "40 120\r\ntty\r\nthere\r\nerr\r\n1\r\n");
    assert_eq!(log.errors(), "");
}

#[test]
fn resizing_tells_the_process() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.start("p", tty("trap 'stty size; exit 2' WINCH; echo up; while :; do sleep 0.01; done"));
    client.attach("p", 0);
    client.until("up");
    let size = WindowSize { cols: 33, rows: 22 };
    client.done(|token| Request::Resize { token, id: "p".to_owned(), size });
    client.until("22 33\r\n");
    assert!(matches!(client.record(), Some(Reply::Exited { status: 2, .. })));
}

#[test]
fn typed_text_is_echoed_and_read_line_by_line() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.start("p", tty("read line; echo got:$line; cat; echo end"));
    client.attach("p", 0);
    type_in(&mut client, "p", "hello\n");
    client.until("got:hello\r\n");
    type_in(&mut client, "p", "half");
    client.done(|token| Request::CloseStdin { token, id: "p".to_owned() });
    client.until("end\r\n");
    assert!(matches!(client.record(), Some(Reply::Exited { status: 0, .. })));
}

#[test]
fn control_characters_are_signals() {
    let runner = Runner::start();
    let mut client = runner.client();
    // Not by a shell, which may take the signal between two commands.
    client.start("p", ProcessSpec { path: "cat".to_owned(), args: Vec::new(), ..tty("") });
    client.attach("p", 0);
    type_in(&mut client, "p", "x\n");
    client.until("x\r\nx\r\n");
    type_in(&mut client, "p", "\u{3}");
    while let Some(record) = client.record() {
        if let Reply::Exited { signal, .. } = record {
            assert_eq!(signal, 2);
            return;
        }
    }
    panic!("no exit");
}

#[test]
fn no_input_is_the_end_of_input() {
    let runner = Runner::start();
    let spec = ProcessSpec { stdin: Stdin::Null, ..tty("cat; echo end") };
    assert_eq!(runner.client().run("p", spec).text(), "end\r\n");
    let spec = ProcessSpec { stdin: Stdin::Data(b"x\ny".to_vec()), ..tty("stty -echo; cat") };
    assert!(runner.client().run("q", spec).text().ends_with("y"));
}

#[test]
fn a_user_owns_its_terminal() {
    let runner = Runner::start();
    let spec = ProcessSpec {
        user: Some("1234".to_owned()),
        ..tty("echo mine > $(tty) && stat -c %u $(tty); stty size")
    };
    assert_eq!(runner.client().run("p", spec).text(), "mine\r\n1234\r\n40 120\r\n");
}

#[test]
fn background_children_on_the_terminal_do_not_hold_up_the_end() {
    let runner = Runner::start();
    let spec = tty("trap '' HUP; sleep 1000 & echo $!; exit 6");
    let mut client = runner.client();
    let log = client.run("p", spec);
    assert_eq!(log.status, 6);
    assert_eq!(client.run("kill", sh(&format!("kill {}", log.text().trim()))).status, 0);
}

#[test]
fn the_last_output_before_the_end_is_there() {
    let runner = Runner::start();
    let mut client = runner.client();
    for round in 0..50 {
        let id = format!("p{round}");
        let log =
            client.run(&id, tty("i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done"));
        let expected: String = (0..200).map(|line| format!("line {line}\r\n")).collect();
        assert!(log.text() == expected, "round {round}: {} bytes", log.stdout.len());
    }
}
