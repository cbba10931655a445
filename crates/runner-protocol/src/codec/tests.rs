#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use crate::*;

fn id() -> impl Strategy<Value = String> {
    "[a-z0-9/:._-]{1,40}"
}

fn spec() -> impl Strategy<Value = ProcessSpec> {
    let size = proptest::option::of(
        (any::<u16>(), any::<u16>()).prop_map(|(cols, rows)| WindowSize { cols, rows }),
    );
    let stdin = prop_oneof![
        Just(Stdin::Null),
        Just(Stdin::Open),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Stdin::Data),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Stdin::Fed),
    ];
    (
        (".*", proptest::collection::vec(".*", 0..4), ".*"),
        proptest::collection::vec((".*", ".*"), 0..4),
        (any::<bool>(), any::<bool>(), proptest::option::of(".*"), size, stdin),
    )
        .prop_map(|((path, args, dir), env, (create_dir, privileged, user, tty, stdin))| {
            ProcessSpec { path, args, env, dir, create_dir, user, tty, stdin, privileged }
        })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

fn request() -> impl Strategy<Value = Request> {
    let token = any::<u32>;
    prop_oneof![
        any::<u16>().prop_map(|version| Request::Hello { version }),
        (token(), id(), spec()).prop_map(|(token, id, spec)| Request::Start { token, id, spec }),
        (token(), token(), id(), any::<u64>(), token()).prop_map(
            |(token, attachment, id, from_seq, window)| Request::Attach {
                token,
                attachment,
                id,
                from_seq,
                window
            }
        ),
        (token(), token()).prop_map(|(attachment, bytes)| Request::Grant { attachment, bytes }),
        token().prop_map(|attachment| Request::Detach { attachment }),
        (token(), id(), bytes()).prop_map(|(token, id, bytes)| Request::Stdin { token, id, bytes }),
        (token(), id()).prop_map(|(token, id)| Request::CloseStdin { token, id }),
        (token(), id(), any::<i32>(), any::<bool>()).prop_map(|(token, id, signal, group)| {
            Request::Signal { token, id, signal, group }
        }),
        (token(), id(), any::<u16>(), any::<u16>()).prop_map(|(token, id, cols, rows)| {
            Request::Resize { token, id, size: WindowSize { cols, rows } }
        }),
        (id(), any::<u64>()).prop_map(|(id, seq)| Request::Ack { id, seq }),
        (token(), id()).prop_map(|(token, id)| Request::Forget { token, id }),
        token().prop_map(|token| Request::List { token }),
        (token(), token()).prop_map(|(token, grace_ms)| Request::Shutdown { token, grace_ms }),
    ]
}

fn info() -> impl Strategy<Value = ProcessInfo> {
    let state = prop_oneof![
        any::<u32>().prop_map(|pid| ProcessState::Running { pid }),
        (any::<i32>(), any::<i32>(), any::<bool>())
            .prop_map(|(status, signal, oom)| ProcessState::Exited { status, signal, oom }),
    ];
    (id(), state, any::<u64>(), any::<u64>()).prop_map(
        |(id, state, next_seq, unacknowledged_seq)| ProcessInfo {
            id,
            state,
            next_seq,
            unacknowledged_seq,
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let token = any::<u32>;
    prop_oneof![
        any::<u16>().prop_map(|version| Reply::Hello { version }),
        (token(), token(), any::<bool>()).prop_map(|(token, pid, existing)| Reply::Started {
            token,
            pid,
            existing
        }),
        (token(), any::<u64>()).prop_map(|(token, first_seq)| Reply::Attached { token, first_seq }),
        token().prop_map(|token| Reply::Done { token }),
        (token(), proptest::collection::vec(info(), 0..5), any::<bool>())
            .prop_map(|(token, processes, last)| Reply::Processes { token, processes, last }),
        (
            token(),
            prop_oneof![
                Just(FailureKind::ExecutableNotFound),
                Just(FailureKind::NoProcess),
                Just(FailureKind::Other)
            ],
            ".*"
        )
            .prop_map(|(token, kind, message)| Reply::Failed { token, kind, message }),
        (
            (token(), any::<u64>(), any::<i64>()),
            prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)],
            bytes()
        )
            .prop_map(|((attachment, seq, time_us), stream, bytes)| Reply::Output {
                attachment,
                seq,
                time_us,
                stream,
                bytes
            }),
        ((token(), any::<u64>(), any::<i64>()), any::<i32>(), any::<i32>(), any::<bool>())
            .prop_map(|((attachment, seq, time_us), status, signal, oom)| Reply::Exited {
                attachment,
                seq,
                time_us,
                status,
                signal,
                oom
            }),
        ".*".prop_map(|message| Reply::Error { message }),
    ]
}

/// Every message of `wire`, which arrives cut at the given places.
fn read_all<T>(
    wire: &[u8],
    cuts: &[usize],
    decode: impl Fn(Frame<'_>) -> Result<T, DecodeError>,
) -> Vec<T> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (wire.len() + 1)).collect();
    cuts.push(wire.len());
    cuts.sort_unstable();
    let (mut buffer, mut at, mut messages) = (FrameBuffer::new(), 0, Vec::new());
    for cut in cuts {
        buffer.extend(&wire[at..cut]);
        at = cut;
        while let Some(frame) = buffer.next_frame().expect("well-formed") {
            messages.push(decode(frame).expect("decodes"));
        }
    }
    assert_eq!(buffer.pending(), 0);
    messages
}

proptest! {
    #[test]
    fn requests_arrive_as_sent_however_the_stream_is_cut(
        sent in proptest::collection::vec(request(), 0..6),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let mut wire = Vec::new();
        sent.iter().for_each(|request| request.encode(&mut wire));
        prop_assert_eq!(read_all(&wire, &cuts, Request::decode), sent);
    }

    #[test]
    fn replies_arrive_as_sent_however_the_stream_is_cut(
        sent in proptest::collection::vec(reply(), 0..6),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        let mut wire = Vec::new();
        sent.iter().for_each(|reply| reply.encode(&mut wire));
        prop_assert_eq!(read_all(&wire, &cuts, Reply::decode), sent);
    }

    #[test]
    fn hostile_payloads_are_errors_not_panics(kind in any::<u8>(), payload in bytes()) {
        let _ = Request::decode(Frame { kind, payload: &payload });
        let _ = Reply::decode(Frame { kind, payload: &payload });
    }

    #[test]
    fn a_damaged_request_is_an_error_or_another_request(
        sent in request(), at in any::<usize>(), flip in 1_u8..,
    ) {
        let mut wire = Vec::new();
        sent.encode(&mut wire);
        let at = at % wire.len();
        wire[at] ^= flip;
        let mut buffer = FrameBuffer::new();
        buffer.extend(&wire);
        if let Ok(Some(frame)) = buffer.next_frame() {
            let _ = Request::decode(frame);
        }
    }

    #[test]
    fn hostile_records_are_errors_not_panics(bytes in bytes()) {
        let _ = record::parse(&bytes);
        let _ = record::parse_exit(&bytes);
    }
}

#[test]
fn a_hello_may_grow_but_must_be_ours() {
    let mut wire = Vec::new();
    Request::Hello { version: 7 }.encode(&mut wire);
    let mut longer = wire[5..].to_vec();
    longer.extend_from_slice(b"more");
    let frame = Frame { kind: 1, payload: &longer };
    assert_eq!(Request::decode(frame), Ok(Request::Hello { version: 7 }));
    let frame = Frame { kind: 1, payload: b"HTTP/1" };
    assert_eq!(Request::decode(frame), Err(DecodeError::NotARunner));
}

#[test]
fn identifiers_are_bounded() {
    for id in ["", "nul\0nul", &"x".repeat(MAX_ID + 1)] {
        let mut wire = Vec::new();
        Request::Forget { token: 1, id: id.to_owned() }.encode(&mut wire);
        let frame = Frame { kind: wire[4], payload: &wire[5..] };
        assert_eq!(Request::decode(frame), Err(DecodeError::Malformed("process id")), "{id:?}");
    }
}

#[test]
fn a_list_longer_than_its_frame_allocates_nothing() {
    // token, last, and a count of four thousand million processes
    let payload = [0, 0, 0, 0, 1, 255, 255, 255, 255];
    let frame = Frame { kind: message::kind::PROCESSES, payload: &payload };
    assert_eq!(Reply::decode(frame), Err(DecodeError::Truncated("list")));
}
