//! Starting, feeding, signalling and ending processes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use jb_runner_protocol::{FailureKind, ProcessSpec, ProcessState, Reply, Request, Stdin};

use crate::support::{Runner, program, sh};

fn signal(id: &str, signal: i32) -> impl FnOnce(u32) -> Request {
    let id = id.to_owned();
    move |token| Request::Signal { token, id, signal, group: true }
}

#[test]
fn output_and_status_come_through() {
    let runner = Runner::start();
    let log = runner.client().run("p", sh("echo out; echo err >&2; exit 7"));
    assert_eq!((log.text().as_str(), log.errors().as_str()), ("out\n", "err\n"));
    assert_eq!((log.status, log.signal), (7, 0));
}

#[test]
fn starting_twice_runs_once() {
    let runner = Runner::start();
    let spec = sh("echo started >> log");
    let spec = ProcessSpec { dir: runner.path().to_str().unwrap().to_owned(), ..spec };
    let mut client = runner.client();
    assert!(matches!(client.try_start("p", spec.clone()), Reply::Started { existing: false, .. }));
    assert!(matches!(
        runner.client().try_start("p", spec.clone()),
        Reply::Started { existing: true, .. }
    ));
    client.log("p");
    // Nor after its end, when it has no number any more.
    assert!(matches!(client.try_start("p", spec), Reply::Started { existing: true, pid: 0, .. }));
    assert_eq!(std::fs::read_to_string(runner.path().join("log")).unwrap(), "started\n");
}

#[test]
fn what_cannot_be_executed_says_why() {
    let runner = Runner::start();
    let mut client = runner.client();
    let file = runner.path().join("file");
    std::fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    let file = file.to_str().unwrap();
    for (spec, kind, words) in [
        (program("no-such-program", &[]), FailureKind::ExecutableNotFound, "no-such-program"),
        (program("/no/such", &[]), FailureKind::ExecutableNotFound, "/no/such"),
        (program("", &[]), FailureKind::Other, "no path"),
        (program(file, &[]), FailureKind::Other, "denied"),
        (program("true", &["a\0b"]), FailureKind::Other, "NUL"),
        (
            ProcessSpec { dir: "/no/dir".to_owned(), ..sh("true") },
            FailureKind::Other,
            "enter the directory `/no/dir`",
        ),
        (
            ProcessSpec { user: Some("nosuchuser".to_owned()), ..sh("true") },
            FailureKind::Other,
            "`nosuchuser`",
        ),
    ] {
        let (failure, message) = client.start_failure("p", spec);
        assert_eq!(failure, kind, "{message}");
        assert!(message.contains(words), "{message}");
    }
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (failure, message) = client.start_failure("p", program(file, &[]));
    assert!(failure == FailureKind::Other && message.contains("interpreter"), "{message}");
    // None of these used up the id.
    assert_eq!(client.list(), []);
    assert_eq!(client.run("p", sh("exit 4")).status, 4);
}

#[test]
fn the_environment_is_exactly_what_was_given_and_three_defaults() {
    let runner = Runner::start();
    let spec = ProcessSpec {
        env: vec![
            ("A".to_owned(), "1 2\n3".to_owned()),
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ],
        ..program("env", &["-0"])
    };
    let log = runner.client().run("p", spec);
    let mut variables: Vec<_> = log.stdout.split(|byte| *byte == 0).collect();
    variables.sort_unstable();
    assert_eq!(
        variables,
        [&b""[..], b"A=1 2\n3", b"HOME=/root", b"PATH=/usr/bin:/bin", b"USER=root"]
    );
}

#[test]
fn a_missing_directory_is_made_for_the_user() {
    let runner = Runner::start();
    std::fs::set_permissions(runner.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let dir = runner.path().join("a/b");
    let spec = ProcessSpec {
        dir: dir.to_str().unwrap().to_owned(),
        create_dir: true,
        user: Some("1234:4321".to_owned()),
        ..sh("pwd; id -u; id -g; id -G; umask; touch made; echo again > /dev/stdout")
    };
    let log = runner.client().run("p", spec);
    assert_eq!(
        log.text(),
        format!("{}\n1234\n4321\n4321\n0022\nagain\n", dir.display()),
        "{}",
        log.errors()
    );
    let made = std::fs::metadata(dir.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1234, 4321));
}

#[test]
fn users_are_found_by_name() {
    let runner = Runner::start();
    let spec = ProcessSpec { user: Some("daemon".to_owned()), ..sh("id -un; echo $USER") };
    assert_eq!(runner.client().run("p", spec).text(), "daemon\ndaemon\n");
}

#[test]
fn unprivileged_processes_cannot_get_rare_capabilities() {
    let runner = Runner::start();
    let mut client = runner.client();
    let show = "grep -h CapBnd /proc/self/status; grep -h CapEff /proc/self/status";
    let bits = |text: String| -> Vec<u64> {
        let sets = text.lines().map(|line| line.split_whitespace().nth(1).unwrap().to_owned());
        sets.map(|set| u64::from_str_radix(&set, 16).unwrap()).collect()
    };
    let allowed: u64 = 0xa804_25fb;
    for set in bits(client.run("p", sh(show)).text()) {
        assert_eq!(set & !allowed, 0, "{set:x}");
    }
    let privileged = ProcessSpec { privileged: true, ..sh(show) };
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().filter(|line| line.starts_with("CapBnd")).map(str::to_owned).collect();
    assert_eq!(bits(client.run("q", privileged).text())[0], bits(own)[0]);
}

#[test]
fn input_is_read_to_its_end() {
    let runner = Runner::start();
    let mut client = runner.client();
    assert_eq!(client.run("null", program("cat", &[])).text(), "");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let spec = ProcessSpec { stdin: Stdin::Data(bytes.clone()), ..program("cat", &[]) };
    assert!(client.run("data", spec).stdout == bytes);
    let spec = ProcessSpec { stdin: Stdin::Open, ..program("cat", &[]) };
    client.start("open", spec);
    for piece in bytes.chunks(300_000) {
        let (id, bytes) = ("open".to_owned(), piece.to_vec());
        client.done(|token| Request::Stdin { token, id, bytes });
    }
    client.done(|token| Request::CloseStdin { token, id: "open".to_owned() });
    assert!(client.log("open").stdout == bytes);
}

#[test]
fn input_that_nobody_reads_neither_blocks_nor_grows() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.start("p", ProcessSpec { stdin: Stdin::Open, ..program("sleep", &["1000"]) });
    let stdin = |token| Request::Stdin { token, id: "p".to_owned(), bytes: vec![0; 1 << 19] };
    // Without waiting for answers, as no client should.
    (0..17).for_each(|token| client.send(&stdin(token)));
    let refused = client.receive().unwrap();
    assert!(
        matches!(&refused, Reply::Failed { message, .. } if message.contains("too much input")),
        "{refused:?}"
    );
    // The end of the process answers the sixteen who waited.
    client.send(&signal("p", 9)(17));
    for _ in 0..17 {
        assert!(matches!(client.receive(), Some(Reply::Done { .. })));
    }
    assert_eq!(client.log("p").signal, 9);
}

#[test]
fn closing_its_input_does_not_end_a_process_badly() {
    let runner = Runner::start();
    let mut client = runner.client();
    client
        .start("p", ProcessSpec { stdin: Stdin::Open, ..sh("exec <&-; echo closed; sleep 1000") });
    client.attach("p", 0);
    client.until("closed");
    let bytes = vec![0; 1 << 19];
    client.done(|token| Request::Stdin { token, id: "p".to_owned(), bytes });
    client.done(signal("p", 15));
    assert!(matches!(client.record(), Some(Reply::Exited { signal: 15, status: 143, .. })));
}

#[test]
fn signals_reach_the_whole_group_or_the_process_alone() {
    let runner = Runner::start();
    let mut client = runner.client();
    // The trap ends only when the child did, which must have had the signal too.
    let child = "sh -c 'echo up; exec sleep 1000' &";
    let trap = "trap 'wait; echo interrupted; exit 3' TERM";
    client.start("group", sh(&format!("{trap}; {child} wait; exit 4")));
    client.attach("group", 0);
    client.until("up\n");
    client.done(signal("group", 15));
    client.until("interrupted");
    assert!(matches!(client.record(), Some(Reply::Exited { status: 3, signal: 0, .. })));
    let trap = "trap 'kill $!; exit 5' TERM";
    client.start("alone", sh(&format!("{trap}; {child} wait; exit 4")));
    client.attach("alone", 0);
    client.until("up\n");
    let id = "alone".to_owned();
    client.done(|token| Request::Signal { token, id, signal: 15, group: false });
    assert!(matches!(client.record(), Some(Reply::Exited { status: 5, .. })));
    // It ended: nothing to do, nothing wrong.
    client.done(signal("alone", 15));
    let invalid = client.call(signal("none", 15));
    assert!(matches!(invalid, Reply::Failed { kind: FailureKind::NoProcess, .. }));
}

#[test]
fn ignored_and_blocked_signals_are_reset_for_processes() {
    let runner = Runner::start();
    let script = "grep -E 'SigBlk|SigIgn' /proc/self/status";
    let text = runner.client().run("p", sh(script)).text();
    assert_eq!(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn no_descriptor_leaks_into_a_process() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.start("other", ProcessSpec { stdin: Stdin::Open, ..program("cat", &[]) });
    client.attach("other", 0);
    // The shell must outlive `ls`, or it becomes it and shows the directory it reads.
    let text = client.run("p", sh("ls /proc/$$/fd; :")).text();
    assert_eq!(text, "0\n1\n2\n");
}

#[test]
fn background_children_do_not_hold_up_the_end() {
    let runner = Runner::start();
    let mut client = runner.client();
    let log = client.run("p", sh("sleep 1000 & echo $!; (sleep 0.05; echo late) & exit 6"));
    assert_eq!(log.status, 6);
    let (pid, rest) =
        log.text().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    // What comes shortly after the end is still taken.
    assert_eq!(rest, "late\n");
    assert_eq!(client.run("kill", program("kill", &[&pid])).status, 0);
    // One that never stops writing does not either.
    assert_eq!(client.run("q", sh("yes & exit 8")).status, 8);
}

#[test]
fn processes_start_beside_and_after_the_first() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.start("main", sh("sleep 1000"));
    assert_eq!(client.run("hijack/1", sh("echo beside")).text(), "beside\n");
    client.done(signal("main", 9));
    assert_eq!(client.log("main").status, 137);
    assert_eq!(client.run("hijack/2", sh("echo after")).text(), "after\n");
    let states: Vec<_> = client.list().into_iter().map(|info| (info.id, info.state)).collect();
    let exited = |status, signal| ProcessState::Exited { status, signal, oom: false };
    assert_eq!(
        states,
        [
            ("hijack/1".to_owned(), exited(0, 0)),
            ("hijack/2".to_owned(), exited(0, 0)),
            ("main".to_owned(), exited(137, 9)),
        ]
    );
}

#[test]
fn a_forgotten_process_is_gone_with_its_journal() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.start("p", program("sleep", &["1000"]));
    let forget = |token| Request::Forget { token, id: "p".to_owned() };
    assert!(matches!(client.call(forget), Reply::Failed { kind: FailureKind::Other, .. }));
    client.done(signal("p", 9));
    client.log("p");
    client.done(forget);
    assert_eq!(std::fs::read_dir(runner.journal_dir()).unwrap().count(), 0);
    assert_eq!(client.run("p", sh("echo anew")).text(), "anew\n");
}
