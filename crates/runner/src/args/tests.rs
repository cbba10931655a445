#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn parse_line(line: &str) -> Result<Command, String> {
    parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

#[test]
fn every_option_is_understood() {
    let key = "0a".repeat(32);
    let line = format!(
        "serve --journal /j --socket-fd 3 --port 64117 --key {key} --main task --linger 60 --echo --grace 2 \
         --journal-limit 1073741824 --make /new --user app --own /in --own /out"
    );
    let expected = Options {
        journal: PathBuf::from("/j"),
        socket: Socket::Inherited(3),
        door: Some((64117, [10; 32])),
        main: Some("task".to_owned()),
        linger: Some(Duration::from_secs(60)),
        echo: true,
        grace: Duration::from_secs(2),
        make: vec![PathBuf::from("/new")],
        user: Some("app".to_owned()),
        own: ["/in", "/out"].map(PathBuf::from).to_vec(),
        journal_limit: 1 << 30,
    };
    assert_eq!(parse_line(&line), Ok(Command::Serve(expected)));
    let socket = PathBuf::from("/s");
    let connect = |announce| Ok(Command::Connect { socket: socket.clone(), announce });
    assert_eq!(parse_line("connect --socket /s"), connect(false));
    assert_eq!(parse_line("connect --socket /s --announce"), connect(true));
}

#[test]
fn what_is_wrong_is_named() {
    for (line, named) in [
        ("", "usage"),
        ("serve --socket /s", "--journal"),
        ("serve --journal /j", "--socket"),
        ("serve --journal", "needs a value"),
        ("serve --journal /j --socket-fd x", "--socket-fd x"),
        ("serve --journal /j --socket /s --linger 1", "--main"),
        ("serve --journal /j --socket /s --journal-limit 4096", "at least"),
        ("serve --journal /j --socket /s --port 1", "--key"),
        ("serve --journal /j --socket /s --port 65536", "--port 65536"),
        ("serve --journal /j --socket /s --port 1 --key 0a", "SHA-256"),
        ("serve --verbose", "--verbose"),
        ("connect", "--socket"),
    ] {
        let message = parse_line(line).unwrap_err();
        assert!(message.contains(named), "{line}: {message}");
    }
}
