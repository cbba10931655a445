//! Much output, slow readers, lost readers, acknowledgement.

use std::collections::VecDeque;
use std::fs;
use std::io::Read as _;

use jb_runner_protocol::record::MAX_RECORD;
use jb_runner_protocol::{
    JOURNAL_BYTES_MAX, ProcessSpec, ProcessState, Reply, Request, Stdin, WindowSize,
};

use crate::support::{Client, Log, Runner, log, program, sh};

const LINES: usize = 1_000_000;
/// What may be left in bytes when everything was acknowledged.
const LITTLE: u64 = 70_000;
/// What may come beyond the bound of a journal before its process waits: one turn of reading.
const MUCH: u64 = 4_000_000;

/// A million numbered lines of 80 bytes.
fn million() -> ProcessSpec {
    program("seq", &["-f", "%079.0f", &LINES.to_string()])
}

fn assert_million(log: &Log, end: &str) {
    let text = log.text();
    assert_eq!(text.len(), LINES * (79 + end.len()));
    for (number, line) in (1..).zip(text.split_terminator(end)) {
        assert_eq!(line.trim_start_matches('0').parse(), Ok(number));
    }
}

/// The bytes of all a process's segments.
fn journal_size(runner: &Runner, id: &str) -> u64 {
    let segments = fs::read_dir(runner.journal_dir().join(id)).unwrap();
    segments.map(|segment| segment.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_million_lines_come_whole_through_a_pipe() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.start("p", million());
    assert_million(&log(&client.taken("p", 0)), "\n");
}

#[test]
fn a_million_lines_come_whole_through_a_terminal() {
    let runner = Runner::start();
    let tty = Some(WindowSize { cols: 500, rows: 500 });
    let mut client = runner.client();
    client.start("p", ProcessSpec { tty, ..million() });
    assert_million(&log(&client.taken("p", 0)), "\r\n");
}

#[test]
fn readers_that_die_anywhere_lose_and_repeat_nothing() {
    let runner = Runner::start();
    runner.client().start("p", program("seq", &["300000"]));
    let mut records: Vec<Reply> = Vec::new();
    let mut random = 1_u32;
    'connections: loop {
        let mut client = runner.client();
        let from = records.len() as u64;
        client.attach("p", from);
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        for _ in 0..random >> 28 {
            let record = client.record().unwrap();
            let last = matches!(record, Reply::Exited { .. });
            records.push(record);
            if last {
                break 'connections;
            }
        }
    }
    let strip = |records: Vec<Reply>| -> Vec<Reply> {
        records
            .into_iter()
            .map(|record| match record {
                Reply::Output { seq, time_us, stream, bytes, .. } => {
                    Reply::Output { attachment: 0, seq, time_us, stream, bytes }
                }
                Reply::Exited { seq, time_us, status, signal, oom, .. } => {
                    Reply::Exited { attachment: 0, seq, time_us, status, signal, oom }
                }
                other => other,
            })
            .collect()
    };
    let whole = strip(runner.client().records("p", 0));
    assert!(strip(records) == whole);
    let expected: String = (1..=300_000).map(|line| format!("{line}\n")).collect();
    assert!(log(&whole).text() == expected);
}

#[test]
fn many_readers_get_the_same() {
    let runner = Runner::start();
    runner.client().start("p", program("seq", &["200000"]));
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let mut client = runner.client();
            std::thread::spawn(move || client.log("p"))
        })
        .collect();
    let logs: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(logs.iter().all(|log| *log == logs[0]));
    assert_eq!(logs[0].text().lines().count(), 200_000);
}

#[test]
fn two_attachments_of_one_connection_are_told_apart() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.start("a", sh("echo a"));
    client.start("b", sh("echo b"));
    let (a, _) = client.attach("a", 0);
    let (b, _) = client.attach("b", 0);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match client.record().unwrap() {
            Reply::Output { attachment, bytes, .. } => seen.push((attachment, bytes)),
            Reply::Exited { .. } => {}
            other => panic!("not a record: {other:?}"),
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [(a, b"a\n".to_vec()), (b, b"b\n".to_vec())]);
}

#[test]
fn a_reader_gets_no_more_than_it_was_granted() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.run("p", program("head", &["-c", "3000000", "/dev/zero"]));
    let attach = |token| Request::Attach {
        token,
        attachment: 7,
        id: "p".to_owned(),
        from_seq: 0,
        window: 100_000,
    };
    assert!(matches!(client.call(attach), Reply::Attached { .. }));
    // The answer to the list comes after everything that was sent before.
    let mut wire = 0;
    let mut sent = |client: &mut Client| {
        client.list();
        client.list();
        let mut records = VecDeque::new();
        std::mem::swap(client.early(), &mut records);
        for record in records {
            let mut frame = Vec::new();
            record.encode(&mut frame);
            wire += frame.len();
        }
        wire
    };
    let first = sent(&mut client);
    assert!((100_000..100_000 + MAX_RECORD).contains(&first), "{first}");
    client.send(&Request::Grant { attachment: 7, bytes: 200_000 });
    let second = sent(&mut client);
    assert!((300_000..300_000 + MAX_RECORD).contains(&second), "{second}");
}

#[test]
fn a_reader_that_stops_holds_up_neither_process_nor_others() {
    let runner = Runner::start();
    let mut stopped = runner.client();
    stopped.start("p", million());
    // Takes all it can get and reads none of it.
    stopped.attach("p", 0);
    let taken = runner.client().taken("p", 0);
    assert_million(&log(&taken), "\n");
    // Its place is gone, and it is told so instead of being given the rest as if that were all.
    while stopped.receive().is_some_and(|reply| !matches!(reply, Reply::Error { .. })) {}
    let status = fs::read_to_string(format!("/proc/{}/status", runner.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 20_000, "the runner took {peak} kB");
}

#[test]
fn acknowledged_output_is_deleted_and_the_exit_stays() {
    let runner = Runner::roomy();
    let mut client = runner.client();
    client.start("p", million());
    let records = client.records("p", 0);
    assert!(journal_size(&runner, "p") > 80_000_000);
    let exit = records.len() as u64 - 1;
    let ack = |seq| Request::Ack { id: "p".to_owned(), seq };
    // Records differ in size: half of the bytes are not half of the records.
    let mut bytes = 0;
    let middle = records.iter().take_while(|record| {
        bytes += match record {
            Reply::Output { bytes, .. } => bytes.len(),
            _ => 0,
        };
        bytes < 40_000_000
    });
    let middle = middle.count() as u64;
    client.send(&ack(middle));
    client.list();
    client.list();
    let half = journal_size(&runner, "p");
    assert!((30_000_000..60_000_000).contains(&half), "{half}");
    // A later reader is told where it starts.
    let (_, first) = runner.client().attach("p", 0);
    assert!(first > 0 && first <= middle);
    client.send(&ack(exit));
    client.list();
    client.list();
    assert!(journal_size(&runner, "p") < LITTLE);
    assert!(matches!(client.records("p", 0).last(), Some(Reply::Exited { status: 0, .. })));
    // Acknowledging too much or nothing known does no harm.
    client.send(&ack(u64::MAX));
    client.send(&Request::Ack { id: "none".to_owned(), seq: 1 });
    assert_eq!(client.list()[0].unacknowledged_seq, exit + 1);
}

#[test]
fn what_someone_still_reads_is_not_deleted() {
    let runner = Runner::roomy();
    let mut slow = runner.client();
    slow.start("p", million());
    let (_, first) = slow.attach("p", 0);
    assert_eq!(first, 0);
    let mut fast = runner.client();
    let records = fast.records("p", 0);
    fast.send(&Request::Ack { id: "p".to_owned(), seq: records.len() as u64 });
    fast.list();
    assert_million(&log(&slow.rest()), "\n");
    slow.list();
    slow.list();
    assert!(journal_size(&runner, "p") < LITTLE);
}

#[test]
fn a_process_waits_when_much_is_not_acknowledged() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.start("p", million());
    while journal_size(&runner, "p") <= JOURNAL_BYTES_MAX {
        std::thread::yield_now();
    }
    // A reader alone does not help: it may be lost before it stored anything.
    let mut reader = runner.client();
    let (attachment, _) = reader.attach("p", 0);
    let mut read = 0;
    while read < JOURNAL_BYTES_MAX / 2 {
        match reader.record() {
            Some(Reply::Output { bytes, .. }) => read += bytes.len() as u64,
            other => panic!("no output: {other:?}"),
        }
    }
    assert!(matches!(client.list()[0].state, ProcessState::Running { .. }));
    reader.send(&Request::Detach { attachment });
    let mut largest = 0;
    client.attach("p", 0);
    let mut records = Vec::new();
    while !matches!(records.last(), Some(Reply::Exited { .. })) {
        records.push(client.record().unwrap());
        if records.len() % 64 == 0 {
            largest = largest.max(journal_size(&runner, "p"));
            client.send(&Request::Ack { id: "p".to_owned(), seq: records.len() as u64 - 1 });
        }
    }
    assert_million(&log(&records), "\n");
    assert!(largest < JOURNAL_BYTES_MAX + MUCH, "{largest}");
}

#[test]
fn what_fits_in_the_journal_needs_no_reader() {
    let runner = Runner::start();
    let mut client = runner.client();
    client.start("p", program("head", &["-c", "60000000", "/dev/zero"]));
    while matches!(client.list()[0].state, ProcessState::Running { .. }) {
        std::thread::yield_now();
    }
    assert_eq!(client.log("p").stdout.len(), 60_000_000);
}

#[test]
fn servers_that_die_anywhere_and_acknowledge_what_they_stored_have_it_whole() {
    let runner = Runner::start();
    runner.client().start("p", million());
    let mut stored: Vec<Reply> = Vec::new();
    let mut random = 1_u32;
    while !matches!(stored.last(), Some(Reply::Exited { .. })) {
        let mut client = runner.client();
        let (_, first) = client.attach("p", stored.len() as u64);
        assert_eq!(first, stored.len() as u64);
        // The one before may have died without a word of it, and the process waits for that word.
        if let Some(last) = stored.len().checked_sub(1) {
            client.send(&Request::Ack { id: "p".to_owned(), seq: last as u64 });
        }
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        for _ in 0..random >> 24 {
            stored.push(client.record().unwrap());
            if matches!(stored.last(), Some(Reply::Exited { .. })) {
                break;
            }
        }
        // Some die before they get to it.
        if random & 0x10_0000 != 0 && !stored.is_empty() {
            client.send(&Request::Ack { id: "p".to_owned(), seq: stored.len() as u64 - 1 });
        }
    }
    assert_million(&log(&stored), "\n");
}

#[test]
fn a_stdout_that_takes_nothing_holds_up_no_process() {
    let (mut stdout, theirs) = std::io::pipe().unwrap();
    let runner = Runner::with(&["--echo", "--main", "p"], theirs.into());
    let mut client = runner.client();
    client.start("p", million());
    assert_million(&log(&client.taken("p", 0)), "\n");
    client.send(&Request::Shutdown { token: 0, grace_ms: 0 });
    let mut copied = String::new();
    stdout.read_to_string(&mut copied).unwrap();
    assert!(copied.contains("output is left out here"));
}

#[test]
fn a_new_runner_finds_the_old_journals() {
    let mut runner = Runner::start();
    let mut client = runner.client();
    client.run("ended", sh("echo one; exit 3"));
    client.start("running", sh("echo $$; exec sleep 1000"));
    client.attach("running", 0);
    let pid = client.until("\n");
    runner.restart();
    let mut client = runner.client();
    let ended = client.log("ended");
    assert_eq!((ended.text().as_str(), ended.status), ("one\n", 3));
    // In a container it would have ended with process 1.
    let running = client.log("running");
    assert_eq!((running.text(), running.signal), (pid.clone(), 9));
    assert!(matches!(client.try_start("ended", sh("")), Reply::Started { existing: true, .. }));
    client.run("kill", program("kill", &[pid.trim()]));
}

#[test]
fn streams_keep_their_own_order_in_one_journal() {
    let runner = Runner::start();
    let stdin = Stdin::Null;
    let spec = sh("i=0; while [ $i -lt 2000 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done");
    let log = runner.client().run("p", ProcessSpec { stdin, ..spec });
    let expected = |letter| (0..2000).map(|n| format!("{letter}{n}\n")).collect::<String>();
    assert!(log.text() == expected('o') && log.errors() == expected('e'));
}
