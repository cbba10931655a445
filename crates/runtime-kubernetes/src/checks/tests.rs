#![allow(clippy::panic, reason = "tests")]

use std::time::Duration;

use super::*;

fn checks() -> Checks {
    Checks::new(CheckPods { max: 1, ..CheckPods::default() }, "s".to_owned())
}

fn seat(checks: &Checks, handle: &str, key: &str, source: &str, now: Instant) -> Seated {
    let handle = ContainerHandle::new(handle);
    let newcomer = Newcomer { handle: &handle, key, source };
    checks.seat(&newcomer, now, |place| Member { user: Some(place), ..Member::default() })
}

#[track_caller]
fn place(seated: Seated) -> Place {
    match seated {
        Seated::At(place) => place,
        Seated::After(_) | Seated::Wait => panic!("no place"),
    }
}

#[test]
fn checks_of_one_source_have_one_place() {
    let (checks, now) = (checks(), Instant::now());
    let a = place(seat(&checks, "1", "git", "a", now));
    let b = place(seat(&checks, "2", "git", "b", now));
    let again = place(seat(&checks, "3", "git", "a", now));
    assert_eq!((&a.pod, &a.pod), (&b.pod, &again.pod));
    assert_eq!([a.number, b.number, again.number], [Some(0), Some(1), Some(0)]);
    assert_eq!(again.member.user, Some(0));
    let found = checks.find(&ContainerHandle::new("2")).map(|place| place.member.user);
    assert_eq!(found, Some(Some(1)));
}

#[test]
fn a_pod_at_rest_makes_room_for_one_of_another_kind() {
    let (checks, now) = (checks(), Instant::now());
    let first = place(seat(&checks, "1", "git", "a", now));
    assert!(matches!(seat(&checks, "2", "time", "a", now), Seated::Wait));
    checks.remove(&ContainerHandle::new("1"), now);
    let Seated::After(pod) = seat(&checks, "2", "time", "a", now) else { panic!("no room") };
    assert_eq!(pod, first.pod);
    assert!(checks.vacate(&pod));
    assert_ne!(place(seat(&checks, "2", "time", "a", now)).pod, first.pod);
}

#[test]
fn another_servers_checks_are_found_and_its_pods_take_no_new_ones() {
    let (checks, now) = (checks(), Instant::now());
    let pod = ContainerHandle::new("checks-git-other-1");
    checks.adopt(&pod, "git", now, now);
    let handle = ContainerHandle::new("b1-check-1");
    checks.found(&pod, [(handle.clone(), Member::default())]);
    assert_eq!(checks.find(&handle).map(|place| place.pod), Some(pod.clone()));
    assert_eq!(checks.handles().as_slice(), std::slice::from_ref(&handle));
    assert_ne!(place(seat(&checks, "2", "git", "a", now)).pod, pod);
    checks.remove_pod(&pod);
    assert!(checks.find(&handle).is_none());
}

#[test]
fn a_pod_that_had_its_time_is_retired_once() {
    let (checks, now) = (checks(), Instant::now());
    let pod = place(seat(&checks, "1", "git", "a", now)).pod;
    let later = now + Duration::from_secs(2 * 60 * 60);
    assert_eq!(checks.retire(later), []);
    checks.remove(&ContainerHandle::new("1"), later);
    assert_eq!(checks.retire(later), [(pod, true)]);
    assert_eq!(checks.retire(later), []);
}
