#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn unpacks_what_it_packed() {
    let cases: [Vec<String>; 4] = [
        vec![],
        vec!["{}".into()],
        vec![String::new(), "ä".into(), String::new()],
        (0..2_000).map(|n| format!("{{\"line\":{n}}}")).collect(),
    ];
    for events in cases {
        let segment = pack(&events, 1).unwrap();
        assert_eq!(segment.n_events, i64::try_from(events.len()).unwrap());
        assert_eq!(unpack(segment.codec, segment.n_bytes, &segment.body).unwrap(), events);
    }
    assert_eq!(pack(&["a".repeat(5_000)], 1).unwrap().codec, 1);
}

#[test]
fn refuses_what_is_damaged() {
    let segment = pack(&["hello".into()], 1).unwrap();
    for cut in [1, 4, 6] {
        let body = &segment.body[..segment.body.len() - cut];
        assert!(matches!(unpack(0, segment.n_bytes, body), Err(Error::Stored { .. })), "{cut}");
    }
    assert!(matches!(unpack(9, 0, &[]), Err(Error::Stored { .. })));
    assert!(matches!(unpack(1, 100, b"no zstd"), Err(Error::Stored { .. })));
}
