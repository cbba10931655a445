#![allow(clippy::unwrap_used, reason = "tests")]

use jb_model::approval::Approvers;
use jb_model::{BuildId, PlanId, TeamId};
use jb_store::ApprovalAnswer;

use super::*;

const SECOND: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * SECOND)
}

fn asked(number: i64, status: ApprovalStatus, from: i64, to: Option<i64>) -> ApprovalRecord {
    ApprovalRecord {
        id: ApprovalId(number),
        build: BuildId(1),
        build_name: String::new(),
        team_id: TeamId(1),
        team_name: String::new(),
        pipeline: None,
        job_name: None,
        plan: PlanId::new("2"),
        call: format!("a{number}"),
        name: "a".to_owned(),
        message: String::new(),
        artifacts: Vec::new(),
        approvers: Approvers::default(),
        quorum: 1,
        status,
        asked_by: None,
        asked_at: at(from),
        expires_at: Some(at(from + 100)),
        ended_at: to.map(at),
        answers: Vec::new(),
    }
}

fn answer(name: &str, approves: bool, comment: &str) -> ApprovalAnswer {
    let (person, name) = (format!("local:{name}"), name.to_owned());
    ApprovalAnswer { person, name, approves, comment: comment.to_owned(), at: at(0) }
}

#[test]
fn what_waits_for_people_costs_no_time() {
    use ApprovalStatus::{Approved, Rejected, Waiting};
    let ten = Some((at(100), Duration::from_secs(10)));
    let over = |asked: &[ApprovalRecord], now: i64| stand(asked, ten, at(now)).over;
    assert_eq!((over(&[], 109), over(&[], 110)), (None, Some(Over::OutOfTime)));
    assert_eq!(stand(&[], ten, at(105)).next, Some(at(110)));
    let waiting = [asked(1, Waiting, 105, None)];
    assert_eq!(over(&waiting, 1000), None);
    assert_eq!(stand(&waiting, ten, at(106)).next, Some(at(205)));
    // Two that waited at the same time, and one after them: 20 seconds and 5.
    let done = [
        asked(1, Approved, 105, Some(120)),
        asked(2, Rejected, 110, Some(125)),
        asked(3, Approved, 130, Some(135)),
    ];
    assert_eq!((over(&done, 134), over(&done, 135)), (None, Some(Over::OutOfTime)));
}

#[test]
fn one_that_expired_ends_it() {
    let asked = [
        asked(1, ApprovalStatus::Approved, 0, Some(1)),
        asked(2, ApprovalStatus::Expired, 0, Some(100)),
        asked(3, ApprovalStatus::Waiting, 0, None),
    ];
    assert_eq!(stand(&asked, None, at(100)).over, Some(Over::Expired(ApprovalId(2))));
}

#[test]
fn a_harness_is_told_who_decided_and_what_they_said() {
    let mut approved = asked(1, ApprovalStatus::Approved, 0, Some(1));
    approved.answers = vec![answer("ann", true, ""), answer("bob", true, "fine")];
    let mut rejected = asked(2, ApprovalStatus::Rejected, 0, Some(1));
    rejected.answers = vec![answer("ann", true, "fine"), answer("bob", false, "not today")];
    let standing = stand(&[approved, rejected], None, at(2));
    let decided: Vec<Decision> = standing.decided.into_iter().map(|(_, it)| it).collect();
    let decision = |id: &str, approved, by: &str, comment: &str| {
        let (id, by, comment) = (id.to_owned(), by.to_owned(), comment.to_owned());
        Decision { id, approved, by, comment }
    };
    let expected =
        [decision("a1", true, "ann, bob", "fine"), decision("a2", false, "bob", "not today")];
    assert_eq!(decided, expected);
    assert_eq!(bounded("ü".repeat(TEXT_BYTES_MAX)).len(), TEXT_BYTES_MAX);
}
