#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn buffer(length: u32, kind: u8) -> FrameBuffer {
    let mut buffer = FrameBuffer::new();
    buffer.extend(&length.to_le_bytes());
    buffer.extend(&[kind]);
    buffer
}

#[test]
fn a_frame_is_refused_by_its_header_alone() {
    let length = MAX_PAYLOAD + 1;
    assert_eq!(
        buffer(u32::try_from(length).unwrap(), kind::STDIN).next_frame(),
        Err(DecodeError::TooLarge { length, limit: MAX_PAYLOAD })
    );
    assert!(buffer(u32::MAX, kind::START).next_frame().is_err());
}

#[test]
fn only_a_start_may_be_long() {
    let length = u32::try_from(MAX_START_PAYLOAD).unwrap();
    assert_eq!(buffer(length, kind::START).next_frame(), Ok(None));
    assert_eq!(buffer(u32::try_from(MAX_PAYLOAD).unwrap(), kind::STDIN).next_frame(), Ok(None));
}
