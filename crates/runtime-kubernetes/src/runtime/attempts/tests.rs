use super::*;

/// The times, in milliseconds since the pod has a node, at which the node is asked.
fn asked(until: u64, started: impl Fn(u64) -> Option<bool>) -> Vec<u64> {
    let begin = Instant::now();
    let mut attempts = Attempts::default();
    let mut times = Vec::new();
    for ms in 0..until {
        let now = begin + Duration::from_millis(ms);
        if attempts.is_due(started(ms), now) {
            times.push(ms);
            attempts.failed(now);
        }
    }
    times
}

#[test]
fn without_events_the_node_is_asked_ever_less_often() {
    assert_eq!(asked(900, |_| None), [0, 60, 150, 285, 488, 792]);
}

#[test]
fn with_events_it_is_asked_once_the_container_has_started() {
    assert_eq!(asked(500, |ms| Some(ms >= 400)), [400, 490]);
}

#[test]
fn a_start_of_which_nothing_tells_is_found_at_last() {
    assert_eq!(asked(95_000, |_| Some(false)), [30_000, 60_000, 90_000]);
}
