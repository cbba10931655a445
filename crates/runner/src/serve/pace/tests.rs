use super::*;

#[test]
fn only_small_pieces_in_close_succession_are_left_to_gather() {
    let start = Instant::now();
    let at = |micros: u64| start + Duration::from_micros(micros);
    let mut pace = Pace::default();
    pace.note(40, at(0));
    assert_eq!(pace.until(at(0)), None, "the first is passed on at once");
    pace.note(40, at(100));
    assert_eq!(pace.until(at(100)), Some(at(350)));
    assert_eq!(pace.until(at(350)), None, "then it is read");
    pace.note(8 << 10, at(400));
    assert_eq!(pace.until(at(400)), None, "there is enough");
    pace.note(40, at(500));
    assert!(pace.until(at(500)).is_some());
    pace.note(40, at(5_000));
    assert_eq!(pace.until(at(5_000)), None, "it was quiet for a while");
}
