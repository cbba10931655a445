#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_runner_protocol::{FrameBuffer, Reply, Stream};

use super::*;

const EXIT: Exit = Exit { status: 3, signal: 0, oom: false };

fn append(journal: &mut Journal, bytes: &[u8]) {
    let mut record = Vec::new();
    record::push_output(&mut record, journal.next_seq(), 5, Stream::Stdout, bytes);
    journal.append(&record).unwrap();
}

/// Everything from `seq` on, as a client would decode it, read in pieces of `budget`.
fn read_from(journal: &Journal, seq: u64, budget: usize) -> Vec<Reply> {
    let mut cursor = Cursor::new(journal, seq);
    let mut frames = FrameBuffer::new();
    while !cursor.at_end(journal) {
        let mut out = Vec::new();
        assert_eq!(cursor.read(journal, 9, budget, &mut out).unwrap(), out.len());
        assert!(!out.is_empty());
        frames.extend(&out);
    }
    let mut replies = Vec::new();
    while let Some(frame) = frames.next_frame().unwrap() {
        replies.push(Reply::decode(frame).unwrap());
    }
    assert_eq!(frames.pending(), 0);
    replies
}

fn numbers(replies: &[Reply]) -> Vec<u64> {
    replies
        .iter()
        .map(|reply| match reply {
            Reply::Output { seq, attachment: 9, .. } | Reply::Exited { seq, attachment: 9, .. } => {
                *seq
            }
            other => panic!("not a record: {other:?}"),
        })
        .collect()
}

/// More than three segments, and the exit.
fn filled(dir: &Path) -> Journal {
    let mut journal = Journal::create(dir.join("j")).unwrap();
    let chunk = vec![b'x'; 60_000];
    while journal.segments.len() < 4 {
        append(&mut journal, &chunk);
        append(&mut journal, b"y");
    }
    journal.append_exit(6, EXIT).unwrap();
    journal
}

#[test]
fn any_start_and_any_budget_give_the_same_records() {
    let temp = tempfile::tempdir().unwrap();
    let journal = filled(temp.path());
    let all = read_from(&journal, 0, 1 << 20);
    assert_eq!(numbers(&all), (0..journal.next_seq()).collect::<Vec<_>>());
    for seq in [0, 1, 7, 100, journal.next_seq() - 1] {
        for budget in [1, 1000, 300_000] {
            let from = usize::try_from(seq).unwrap();
            assert!(read_from(&journal, seq, budget) == all[from..], "from {seq} by {budget}");
        }
    }
    assert_eq!(read_from(&journal, journal.next_seq() + 5, 1000), []);
}

#[test]
fn reopening_keeps_everything() {
    let temp = tempfile::tempdir().unwrap();
    let journal = filled(temp.path());
    let all = read_from(&journal, 0, 1 << 20);
    let reopened = Journal::open(temp.path().join("j")).unwrap();
    assert_eq!(reopened.exit(), Some(EXIT));
    assert!(read_from(&reopened, 0, 1 << 20) == all);
}

#[test]
fn a_journal_cut_anywhere_keeps_its_whole_records_and_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(temp.path().join("j")).unwrap();
    append(&mut journal, b"first");
    let second_at = journal.size();
    append(&mut journal, b"second");
    let path = segment_path(&temp.path().join("j"), 0);
    let whole = fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut cut_journal = Journal::open(temp.path().join("j")).unwrap();
        let expected = if cut == whole.len() { 2 } else { u64::from(cut as u64 >= second_at) };
        assert_eq!(cut_journal.next_seq(), expected, "cut at {cut}");
        append(&mut cut_journal, b"more");
        assert_eq!(numbers(&read_from(&cut_journal, 0, 10)).len() as u64, expected + 1);
    }
}

#[test]
fn acknowledged_segments_go_and_their_readers_start_after_them() {
    let temp = tempfile::tempdir().unwrap();
    let mut journal = filled(temp.path());
    let (end, size) = (journal.next_seq(), journal.size());
    let second = journal.segments[1].first_seq;
    journal.delete_before(second - 1).unwrap();
    assert_eq!(journal.size(), size);
    journal.delete_before(second).unwrap();
    assert!(journal.size() < size);
    assert_eq!(journal.first_seq(), second);
    assert_eq!(numbers(&read_from(&journal, 0, 1000)), (second..end).collect::<Vec<_>>());
    journal.delete_before(end).unwrap();
    // Little but the exit is left, for whoever asks again.
    assert!(journal.size() <= SMALL + record::EXIT_LENGTH as u64);
    assert_eq!(numbers(&read_from(&journal, 0, 1000)).last(), Some(&(end - 1)));
    let reopened = Journal::open(temp.path().join("j")).unwrap();
    assert_eq!((reopened.next_seq(), reopened.exit()), (end, Some(EXIT)));
    journal.remove().unwrap();
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn a_reader_follows_into_new_segments() {
    let temp = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(temp.path().join("j")).unwrap();
    let mut cursor = Cursor::new(&journal, 0);
    let (mut out, mut written) = (Vec::new(), 0);
    for _ in 0..400 {
        append(&mut journal, &[b'z'; 50_000]);
        written += 50_000 + record::OUTPUT_HEADER;
        cursor.read(&journal, 1, 1 << 20, &mut out).unwrap();
    }
    assert!(journal.segments.len() > 2);
    assert_eq!(out.len(), written);
}

#[test]
fn a_missing_middle_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let journal = filled(temp.path());
    fs::remove_file(segment_path(&temp.path().join("j"), journal.segments[1].first_seq)).unwrap();
    let error = Journal::open(temp.path().join("j")).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn ids_are_names_and_back() {
    for id in ["task", "a/b", ".", "..", "%2F", "é", "5f2/image-get", "a.b"] {
        let name = directory_name(id).unwrap();
        assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
        assert_eq!(process_id(&name).as_deref(), Some(id));
    }
    assert_eq!(directory_name(&"/".repeat(200)), None);
}
