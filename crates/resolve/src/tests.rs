#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod database;
mod oracle;
mod spec;

use super::*;
use database::Database;

/// Resolves against a whole database, loading one fact at a time as the engine does.
fn run(database: &Database, inputs: &[Input], page_size: usize) -> Resolution {
    let mut view = View::default();
    for _ in 0..100_000 {
        match resolve(inputs, &view) {
            Ok(resolution) => return resolution,
            Err(needs) => {
                assert!(!needs.is_empty());
                for need in needs {
                    database.load(&need, &mut view, page_size);
                }
            }
        }
    }
    panic!("resolution keeps asking for facts");
}

#[test]
fn an_input_without_history_costs_two_rounds() {
    let mut database = Database::default();
    database.versions.insert(ResourceId(1), vec![database::Row::enabled("v1")]);
    let input = Input {
        name: "x".into(),
        resource: ResourceId(1),
        passed: BTreeSet::new(),
        every: false,
        pinned: None,
    };
    let mut view = View::default();
    for _ in 0..2 {
        let needs = resolve(std::slice::from_ref(&input), &view).unwrap_err();
        assert_eq!(needs.len(), 1);
        for need in needs {
            database.load(&need, &mut view, PAGE_SIZE);
        }
    }
    assert!(resolve(std::slice::from_ref(&input), &view).unwrap().determined());
}

#[test]
fn groups_are_joined_through_a_later_input() {
    let input = |name: &str, passed: &[i64]| Input {
        name: name.into(),
        resource: ResourceId(1),
        passed: passed.iter().copied().map(JobId).collect(),
        every: false,
        pinned: None,
    };
    let inputs = [
        input("a", &[1]),
        input("b", &[]),
        input("c", &[2]),
        input("d", &[1, 2]),
        input("e", &[3]),
    ];
    let names: Vec<Vec<&str>> = group_inputs(&inputs)
        .iter()
        .map(|group| group.iter().map(|input| input.name.as_str()).collect())
        .collect();
    assert_eq!(names, [vec!["a", "c", "d"], vec!["b"], vec!["e"]]);
}

/// The search must not take exponential time over builds that fail alike.
#[test]
fn many_alike_builds_do_not_multiply() {
    let mut database = Database::default();
    database.versions.insert(ResourceId(1), vec![database::Row::enabled("v1")]);
    database.versions.insert(ResourceId(2), vec![database::Row::enabled("w1")]);
    let mut id = 0;
    for job in 1..=3 {
        for _ in 0..200 {
            id += 1;
            database.add_build(id, JobId(job), &[(ResourceId(1), "v1")]);
        }
    }
    let input = |name: &str, resource, passed: &[i64]| Input {
        name: name.into(),
        resource: ResourceId(resource),
        passed: passed.iter().copied().map(JobId).collect(),
        every: false,
        pinned: None,
    };
    let inputs = [input("x", 1, &[1, 2, 3]), input("y", 2, &[1, 2, 3])];
    let resolution = run(&database, &inputs, PAGE_SIZE);
    assert_eq!(resolution.inputs["y"], Err(Failure::NoSatisfiableBuilds));
}
