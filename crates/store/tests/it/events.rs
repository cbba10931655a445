//! Logs, positions, machine events and leases.

use std::time::Duration;

use jb_model::{BuildId, BuildStatus};
use jb_store::{Change, Error, Fence, Position, Store, StoredEvent, Transcribed};

use crate::world::{World, at, world};

conformance![
    a_log_is_numbered_without_gaps,
    reading_is_bounded_by_bytes,
    records_are_stored_once,
    racing_appends_keep_order,
    compaction_changes_nothing,
    leases,
    expired_leases_are_claimed_once,
    steps_are_committed_at_once,
    a_fenced_driver_cannot_write,
    transcripts_are_stored_once_beside_the_log
];

const MINUTE: Duration = Duration::from_secs(60);

fn events(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| format!("{{\"n\":{n}}}")).collect()
}

fn stored(range: std::ops::Range<u64>) -> Vec<StoredEvent> {
    range.clone().zip(events(range)).map(|(seq, json)| StoredEvent { seq, json }).collect()
}

async fn a_log_is_numbered_without_gaps(store: Store) {
    let world = world(store).await;
    let build = world.one_off().await;
    let store = &world.store;
    let mut changes = store.subscribe();
    assert_eq!(store.events(build, 0, 1_000).await.unwrap(), []);
    assert_eq!(store.append_events(build, &events(0..3), None, None).await.unwrap(), Some(0));
    assert_eq!(changes.recv().await.unwrap(), Change::Build(build));
    assert_eq!(store.append_events(build, &[], None, None).await.unwrap(), Some(3));
    assert_eq!(store.append_events(build, &events(3..4), None, None).await.unwrap(), Some(3));
    assert_eq!(store.append_events(build, &events(4..9), None, None).await.unwrap(), Some(4));
    assert_eq!(store.event_count(build).await.unwrap(), 9);
    for from in 0..=10 {
        let found = store.events(build, from, 1_000).await.unwrap();
        assert_eq!(found, stored(from.min(9)..9), "from {from}");
    }
    let missing = store.append_events(BuildId(999), &events(0..1), None, None).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}

async fn reading_is_bounded_by_bytes(store: Store) {
    let world = world(store).await;
    let build = world.one_off().await;
    let store = &world.store;
    for n in 0..400 {
        store.append_events(build, &events(n..n + 1), None, None).await.unwrap();
    }
    // Far more rows than one query looks at, in pages of any size.
    for bytes in [1, 10, 777, 1_000_000] {
        let (mut from, mut found) = (0, Vec::new());
        loop {
            let page = store.events(build, from, bytes).await.unwrap();
            let Some(last) = page.last() else { break };
            let size: usize = page.iter().map(|event| event.json.len()).sum();
            assert!(page.len() == 1 || size <= bytes, "{size} over {bytes}");
            from = last.seq + 1;
            found.extend(page);
        }
        assert_eq!(found, stored(0..400), "pages of {bytes}");
    }
}

async fn records_are_stored_once(store: Store) {
    let world = world(store).await;
    let build = world.one_off().await;
    let store = &world.store;
    let append = async |key, from, upto, range| {
        let position = Some(Position { key, from, upto });
        store.append_events(build, &events(range), None, position).await.unwrap()
    };
    assert_eq!(store.position(build, "a").await.unwrap(), 0);
    assert_eq!(append("a", 0, 10, 0..2).await, Some(0));
    assert_eq!(append("a", 0, 10, 0..2).await, None, "repeated");
    assert_eq!(append("a", 5, 12, 2..3).await, None, "overlapping");
    assert_eq!(append("a", 11, 12, 2..3).await, None, "with a gap");
    assert_eq!(append("b", 3, 4, 2..3).await, None, "beginning in the middle");
    assert_eq!(append("b", 0, 1, 2..3).await, Some(2), "another source");
    assert_eq!(append("a", 10, 11, 3..4).await, Some(3));
    assert_eq!(append("a", 11, 20, 4..4).await, Some(4), "records that say nothing");
    assert_eq!(store.position(build, "a").await.unwrap(), 20);
    assert_eq!(store.events(build, 0, 1_000).await.unwrap(), stored(0..4));
    let back = Some(Position { key: "a", from: 20, upto: 19 });
    let refused = store.append_events(build, &[], None, back).await;
    assert!(matches!(refused, Err(Error::Refused { .. })));
}

async fn racing_appends_keep_order(store: Store) {
    let world = world(store).await;
    let build = world.one_off().await;
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let store = world.store.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    let event = format!("{{\"w\":{writer},\"n\":{n}}}");
                    store.append_events(build, &[event], None, None).await.unwrap();
                }
            })
        })
        .collect();
    // The same record from two connections is stored by one of them.
    let twice: Vec<_> = (0..4)
        .map(|_| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let position = Some(Position { key: "k", from: 0, upto: 1 });
                let event = ["{\"w\":9,\"n\":0}".to_owned()];
                store.append_events(build, &event, None, position).await.unwrap().is_some()
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut stored = 0;
    for task in twice {
        stored += usize::from(task.await.unwrap());
    }
    assert_eq!(stored, 1);
    let log = world.store.events(build, 0, 1_000_000).await.unwrap();
    assert_eq!(log.len(), 121);
    assert!(log.iter().zip(0..).all(|(event, seq)| event.seq == seq));
    for writer in 0..6 {
        let of = format!("{{\"w\":{writer},");
        let own: Vec<_> = log.iter().filter(|event| event.json.starts_with(&of)).collect();
        let wanted: Vec<_> = (0..20).map(|n| format!("{of}\"n\":{n}}}")).collect();
        assert_eq!(
            own.iter().map(|event| &event.json).collect::<Vec<_>>(),
            wanted.iter().collect::<Vec<_>>()
        );
    }
}

async fn compaction_changes_nothing(store: Store) {
    let world = world(store).await;
    let build = world.one_off().await;
    let store = &world.store;
    let line = |n: usize| format!("{{\"n\":{n},\"text\":\"{}\"}}", "log line ".repeat(1_000));
    let wanted: Vec<String> = (0..600).map(line).collect();
    for part in wanted.chunks(2) {
        store.append_events(build, part, None, None).await.unwrap();
    }
    let read = async || -> Vec<String> {
        let (mut from, mut found) = (0, Vec::new());
        loop {
            let page = store.events(build, from, 1 << 20).await.unwrap();
            let Some(last) = page.last() else { return found };
            from = last.seq + 1;
            found.extend(page.into_iter().map(|event| event.json));
        }
    };
    assert_eq!(store.uncompacted_builds(10).await.unwrap(), []);
    store.finish_build(build, BuildStatus::Succeeded, None, at(20)).await.unwrap();
    assert_eq!(store.uncompacted_builds(10).await.unwrap(), [build]);
    for _ in 0..2 {
        store.compact_events(build).await.unwrap();
        assert!(read().await == wanted);
    }
    assert_eq!(store.uncompacted_builds(10).await.unwrap(), []);
    let tail = store.events(build, 599, 10).await.unwrap();
    assert_eq!(tail.first().map(|event| event.seq), Some(599));
    assert_eq!(store.append_events(build, &events(0..1), None, None).await.unwrap(), Some(600));
    assert_eq!(read().await.len(), 601);
}

async fn leases(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let build = world.one_off().await;
    let acquire = async |owner, now| store.acquire_lease(build, owner, MINUTE, now).await.unwrap();
    assert_eq!(store.runnable_builds(at(100), 9).await.unwrap()[0].build, build);
    let first = acquire("a", at(100)).await.unwrap();
    assert_eq!((first.owner.as_str(), first.expires_at), ("a", at(160)));
    assert_eq!(acquire("b", at(100)).await, None);
    assert_eq!(store.runnable_builds(at(159), 9).await.unwrap(), []);
    assert!(store.renew_lease(build, first.fence, MINUTE, at(130)).await.unwrap());
    assert_eq!(acquire("b", at(189)).await, None);
    let second = acquire("b", at(190)).await.unwrap();
    assert!(second.fence > first.fence);
    assert!(!store.renew_lease(build, first.fence, MINUTE, at(191)).await.unwrap());
    store.release_lease(build, first.fence).await.unwrap();
    assert_eq!(acquire("a", at(191)).await, None, "a stale release does nothing");
    let third = acquire("b", at(191)).await.unwrap();
    assert!(third.fence > second.fence, "a restarted owner gets a new fence");
    let mut changes = store.subscribe();
    store.release_lease(build, third.fence).await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::BuildQueued);
    assert!(acquire("a", at(191)).await.is_some());
    assert_eq!(store.release_leases("b").await.unwrap(), 0);
    assert_eq!(store.release_leases("a").await.unwrap(), 1);
    let fourth = acquire("b", at(191)).await.unwrap();
    assert!(fourth.fence > third.fence, "whoever held it before is shut out");
    store.abort_build(build, at(192)).await.unwrap();
    assert!(store.runnable_builds(at(999), 9).await.unwrap()[0].aborted);
    store.finish_build(build, BuildStatus::Aborted, None, at(200)).await.unwrap();
    assert_eq!(acquire("a", at(999)).await, None);
    assert_eq!(store.runnable_builds(at(999), 9).await.unwrap(), []);
}

async fn expired_leases_are_claimed_once(store: Store) {
    let world = world(store).await;
    let mut wanted = Vec::new();
    for _ in 0..12 {
        wanted.push(world.one_off().await);
    }
    let held = world.store.acquire_lease(wanted[0], "other", MINUTE, at(100));
    held.await.unwrap().unwrap();
    let claimers: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|owner| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let leases = store.claim_builds(owner, MINUTE, 2, at(110)).await.unwrap();
                    if leases.is_empty() {
                        return mine;
                    }
                    mine.extend(leases.into_iter().map(|lease| lease.build));
                }
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for claimer in claimers {
        claimed.extend(claimer.await.unwrap());
    }
    // What was locked by another claimer may have been passed over; nothing is claimed twice.
    claimed.extend(
        world.store.claim_builds("d", MINUTE, 100, at(110)).await.unwrap().iter().map(|l| l.build),
    );
    claimed.sort();
    assert_eq!(claimed, wanted[1..]);
}

async fn driven(world: &World) -> (BuildId, Fence) {
    let build = world.one_off().await;
    let lease = world.store.acquire_lease(build, "a", MINUTE, at(100)).await.unwrap().unwrap();
    (build, lease.fence)
}

async fn steps_are_committed_at_once(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (build, fence) = driven(&world).await;
    let machine = ["{\"m\":0}".to_owned(), "{\"m\":1}".to_owned(), "{\"m\":2}".to_owned()];
    let position = [Position { key: "a", from: 0, upto: 5 }];
    store.commit_step(build, fence, 0, &machine[..2], &events(0..2), &position).await.unwrap();
    store.commit_step(build, fence, 2, &machine[2..], &[], &[]).await.unwrap();
    assert_eq!(store.machine_events(build).await.unwrap(), machine);

    // A step that does not fit leaves nothing behind.
    let stale = store.commit_step(build, fence, 2, &machine[..1], &events(2..3), &[]).await;
    assert!(matches!(stale, Err(Error::Refused { .. })));
    let repeated =
        store.commit_step(build, fence, 3, &machine[..1], &events(2..3), &position).await;
    assert!(matches!(repeated, Err(Error::Refused { .. })));
    assert_eq!(store.machine_events(build).await.unwrap(), machine);
    assert_eq!(store.events(build, 0, 1_000).await.unwrap(), stored(0..2));
    assert_eq!(store.position(build, "a").await.unwrap(), 5);
    assert_eq!(
        store.append_events(build, &events(2..3), Some(fence), None).await.unwrap(),
        Some(2)
    );
}

async fn a_fenced_driver_cannot_write(store: Store) {
    let world = world(store).await;
    let store = &world.store;
    let (build, old) = driven(&world).await;
    let new = store.acquire_lease(build, "b", MINUTE, at(160)).await.unwrap().unwrap().fence;
    let step = store.commit_step(build, old, 0, &["{}".into()], &[], &[]).await;
    assert!(matches!(step, Err(Error::FenceLost { .. })));
    let position = Some(Position { key: "a", from: 0, upto: 1 });
    let append = store.append_events(build, &events(0..1), Some(old), position).await;
    assert!(matches!(append, Err(Error::FenceLost { .. })));
    // Nor does it hear that its records are stored already.
    let later = Some(Position { key: "a", from: 5, upto: 6 });
    let append = store.append_events(build, &events(0..1), Some(old), later).await;
    assert!(matches!(append, Err(Error::FenceLost { .. })));
    assert_eq!(store.position(build, "a").await.unwrap(), 0);
    assert_eq!(store.event_count(build).await.unwrap(), 0);
    store.commit_step(build, new, 0, &["{}".into()], &events(0..1), &[]).await.unwrap();
    assert_eq!(store.event_count(build).await.unwrap(), 1);
}

async fn transcripts_are_stored_once_beside_the_log(store: Store) {
    let world = world(store).await;
    let build = world.one_off().await;
    let store = &world.store;
    let mut changes = store.subscribe();
    let append = async |entries, log, from, upto| {
        let position = Position { key: "a", from, upto };
        let (entries, events) = (events(entries), events(log));
        let said = Transcribed { entries: &entries, events: &events, used: &[] };
        store.append_transcript(build, said, None, position).await.unwrap()
    };
    assert!(append(0..3, 0..1, 0, 5).await);
    assert_eq!(changes.recv().await.unwrap(), Change::Build(build));
    // The same part of the journal again, as after a restart.
    assert!(!append(0..3, 0..1, 0, 5).await);
    assert!(append(3..3, 1..2, 5, 6).await);
    assert!(append(3..9, 2..2, 6, 9).await);
    for from in 0..=10 {
        let found = store.transcript(build, from, 1_000).await.unwrap();
        assert_eq!(found, stored(from.min(9)..9), "from {from}");
    }
    let two = store.transcript(build, 0, 15).await.unwrap();
    assert_eq!(two, stored(0..2));
    assert_eq!(store.transcript(build, 4, 1).await.unwrap(), stored(4..5));
    assert_eq!(store.events(build, 0, 1_000).await.unwrap(), stored(0..2));
    assert_eq!(store.position(build, "a").await.unwrap(), 9);
    let position = Position { key: "a", from: 9, upto: 10 };
    let lost =
        store.append_transcript(build, Transcribed::default(), Some(Fence(77)), position).await;
    assert!(matches!(lost, Err(Error::FenceLost { .. })), "{lost:?}");
    store.finish_build(build, BuildStatus::Succeeded, None, at(9)).await.unwrap();
    store.delete_logs(&[build], at(10)).await.unwrap();
    assert_eq!(store.transcript(build, 0, 1_000).await.unwrap(), []);
}
