#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn text(chunk: Option<Chunk>) -> Option<String> {
    chunk.map(|chunk| chunk.text)
}

#[test]
fn holds_back_an_unfinished_line_until_it_ends() {
    let mut buffer = LineBuffer::new(Position::default());
    buffer.push(0, b"one\ntw");
    assert_eq!(text(buffer.take_lines()).as_deref(), Some("one\n"));
    assert_eq!(buffer.take_lines(), None);
    buffer.push(1, b"o\n");
    let chunk = buffer.take_lines().unwrap();
    assert_eq!(chunk.text, "two\n");
    assert_eq!(chunk.upto, Position { record: 2, offset: 0 });
    assert!(buffer.is_empty());
}

#[test]
fn resumes_in_the_middle_of_a_record_without_gap_or_repeat() {
    let records: [&[u8]; 3] = [b"alpha\nbe", b"ta\ngam", b"ma\n"];
    let whole: Vec<u8> = records.concat();
    for stop_after in 0..records.len() {
        let mut stored = String::new();
        let mut position = Position::default();
        let mut first = LineBuffer::new(position);
        for (record, bytes) in records.iter().enumerate().take(stop_after + 1) {
            first.push(record as u64, bytes);
            if let Some(chunk) = first.take_lines() {
                stored.push_str(&chunk.text);
                position = Position::unpack(chunk.upto.pack());
            }
        }
        let mut second = LineBuffer::new(position);
        for (record, bytes) in records.iter().enumerate() {
            second.push(record as u64, bytes);
        }
        stored.push_str(&second.take_rest().map(|chunk| chunk.text).unwrap_or_default());
        assert_eq!(stored.as_bytes(), whole, "stopped after record {stop_after}");
    }
}

#[test]
fn never_splits_a_character_when_flushing_a_quiet_process() {
    let mut buffer = LineBuffer::new(Position::default());
    let bytes = "prompt: ü".as_bytes();
    buffer.push(0, &bytes[..bytes.len() - 1]);
    assert_eq!(text(buffer.take_all()).as_deref(), Some("prompt: "));
    buffer.push(1, &bytes[bytes.len() - 1..]);
    assert_eq!(text(buffer.take_all()).as_deref(), Some("ü"));
}

#[test]
fn broken_utf8_is_replaced_and_not_lost() {
    let mut buffer = LineBuffer::new(Position::default());
    buffer.push(0, b"a\xffb\n");
    assert_eq!(text(buffer.take_lines()).as_deref(), Some("a\u{fffd}b\n"));
}

#[test]
fn masks_every_line_of_a_secret_but_not_single_characters() {
    let mut redactor = Redactor::default();
    redactor.add("first-line\nsecond-line\n");
    redactor.add("x");
    redactor.add("first");
    assert_eq!(
        redactor.mask("first-line, second-line, first, x".to_owned()),
        "((redacted)), ((redacted)), ((redacted)), x"
    );
}
