use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn bounds() -> CheckPods {
    CheckPods { max: 2, max_age: 60 * MINUTE, max_checks: 10, max_idle: 10 * MINUTE }
}

fn pod(name: &str, now: Instant) -> Seen<'_> {
    Seen {
        name,
        key: "git",
        made: now,
        used: now,
        n_begun: 1,
        n_running: 0,
        n_sources: 1,
        knows_source: false,
        own: true,
    }
}

fn uses(name: &str) -> Choice {
    Choice::Use(name.to_owned())
}

const MAKE: Choice = Choice::Make { instead_of: None };

#[test]
fn a_pod_of_the_same_kind_is_used_again() {
    let now = Instant::now();
    assert_eq!(choose(&[], "git", now, &bounds()), MAKE);
    assert_eq!(choose(&[pod("a", now)], "git", now, &bounds()), uses("a"));
    assert_eq!(choose(&[pod("a", now)], "time", now, &bounds()), MAKE);
}

#[test]
fn the_pod_that_knows_the_source_comes_first() {
    let now = Instant::now();
    let busy = Seen { n_running: 9, ..pod("busy", now) };
    let knows = Seen { knows_source: true, ..pod("knows", now) };
    assert_eq!(choose(&[busy.clone(), knows], "git", now, &bounds()), uses("knows"));
    assert_eq!(choose(&[pod("idle", now), busy], "git", now, &bounds()), uses("busy"));
}

#[test]
fn pods_that_are_old_worn_full_or_anothers_take_no_more() {
    let start = Instant::now();
    let now = start + 61 * MINUTE;
    let refuse = |pod: Seen<'_>| assert_eq!(choose(&[pod], "git", now, &bounds()), MAKE);
    refuse(pod("old", start));
    refuse(Seen { n_begun: 10, ..pod("worn", now) });
    refuse(Seen { n_running: RUNNING_MAX, ..pod("busy", now) });
    refuse(Seen { n_sources: SOURCES_MAX, ..pod("full", now) });
    refuse(Seen { own: false, ..pod("another's", now) });
    let known = Seen { n_sources: SOURCES_MAX, knows_source: true, ..pod("full", now) };
    assert_eq!(choose(&[known], "git", now, &bounds()), uses("full"));
}

#[test]
fn one_that_is_at_rest_makes_room_and_none_that_works() {
    let start = Instant::now();
    let now = start + MINUTE;
    let early = Seen { used: start, ..pod("early", start) };
    let late = pod("late", now);
    let choice = choose(&[late.clone(), early.clone()], "time", now, &bounds());
    assert_eq!(choice, Choice::Make { instead_of: Some("early".to_owned()) });
    let at_work = [early, late].map(|pod| Seen { n_running: 1, ..pod });
    assert_eq!(choose(&at_work, "time", now, &bounds()), Choice::Wait);
}

#[test]
fn pods_retire_at_rest() {
    let start = Instant::now();
    let now = start + 65 * MINUTE;
    let pods = [
        Seen { used: now, ..pod("old", start) },
        Seen { n_running: 1, ..pod("old at work", start) },
        Seen { n_begun: 10, ..pod("worn", now) },
        Seen { used: now - 11 * MINUTE, ..pod("idle", now - 12 * MINUTE) },
        pod("fresh", now),
        Seen { own: false, ..pod("another's", start) },
    ];
    assert_eq!(retired(&pods, now, &bounds()), ["old", "worn", "idle"]);
    let later = now + 6 * MINUTE;
    assert!(retired(&pods, later, &bounds()).contains(&"another's".to_owned()));
}
