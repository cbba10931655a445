//! The duties of process 1.

use jb_runner_protocol::{Reply, Request};

use crate::support::{Runner, log, program, sh};

#[test]
fn orphans_are_reaped() {
    for runner in [Runner::as_init(&[]), Runner::start()] {
        let mut client = runner.client();
        // Each orphan ends on its own after its parent did.
        let script = "for i in 1 2 3 4 5; do (sleep 0.01 & ) ; done; sleep 0.1";
        client.run("p", sh(script));
        let zombies = "ps -eo ppid=,stat= | awk -v p=$PPID '$1 == p && $2 ~ /^Z/' | wc -l";
        assert_eq!(client.run("q", sh(zombies)).text().trim(), "0");
    }
}

#[test]
fn it_is_process_1_and_a_terminating_signal_ends_everything() {
    let mut runner = Runner::as_init(&["--main", "main", "--grace", "60"]);
    let mut client = runner.client();
    assert_eq!(client.run("q", sh("echo $PPID")).text(), "1\n");
    client.start(
        "main",
        sh("trap 'echo asked; exit 9' TERM; sh -c 'echo up; exec sleep 1000' & wait"),
    );
    client.attach("main", 0);
    client.until("up");
    // As a cluster does, from within the container's processes.
    client.start("kill", program("kill", &["-TERM", "1"]));
    let end = log(&client.rest());
    assert!(end.text().contains("asked") && end.status == 9, "{end:?}");
    assert_eq!(client.receive(), None);
    assert_eq!(runner.wait().code(), Some(9));
}

#[test]
fn a_shutdown_kills_what_does_not_end() {
    let mut runner = Runner::as_init(&[]);
    let mut client = runner.client();
    client.start(
        "p",
        sh("trap '' TERM; setsid sh -c \"trap '' TERM; echo up; sleep 1000\" & sleep 1000"),
    );
    client.attach("p", 0);
    client.until("up");
    client.done(|token| Request::Shutdown { token, grace_ms: 1 });
    assert!(matches!(client.rest().last(), Some(Reply::Exited { signal: 9, .. })));
    assert_eq!(runner.wait().code(), Some(0));
}

#[test]
fn nothing_starts_during_a_shutdown() {
    let mut runner = Runner::start();
    let mut client = runner.client();
    client.start("p", sh("trap '' TERM; echo up; while :; do sleep 0.01; done"));
    client.attach("p", 0);
    client.until("up");
    client.done(|token| Request::Shutdown { token, grace_ms: 60_000 });
    let (_, message) = client.start_failure("q", sh("true"));
    assert!(message.contains("shutting down"), "{message}");
    // Asked again, it hurries.
    client.done(|token| Request::Shutdown { token, grace_ms: 0 });
    assert_eq!(runner.wait().code(), Some(0));
}
