//! The search against brute force on small histories.

use std::collections::{BTreeMap, BTreeSet};

use jb_model::{BuildId, JobId, ResourceId, VersionId};
use proptest::prelude::*;

use super::database::{Build, Database, Row, id};
use super::run;
use crate::{Failure, Input, Position};

const JOBS: i64 = 3;
const RESOURCES: i64 = 3;
const VERSIONS: usize = 3;

/// For each build: its job, and one version (or none) of each resource.
type Rows = Vec<(i64, Vec<Option<usize>>)>;

fn database(rows: &Rows) -> Database {
    let mut database = Database::default();
    for resource in 1..=RESOURCES {
        let versions = (0..VERSIONS).map(|v| Row::enabled(&format!("v{v}"))).collect();
        database.versions.insert(ResourceId(resource), versions);
    }
    for (build, (job, held)) in (1..).zip(rows) {
        let outputs = (1..)
            .zip(held)
            .filter_map(|(r, v)| v.map(|v| (ResourceId(r), id(&format!("v{v}")))))
            .collect();
        database.builds.push(Build {
            position: Position::new(BuildId(build), None),
            job: JobId(*job),
            succeeded: true,
            inputs: Vec::new(),
            outputs,
            pipes: Vec::new(),
        });
    }
    database
}

fn inputs(passed: &[BTreeSet<i64>]) -> Vec<Input> {
    (1..)
        .zip(passed)
        .map(|(resource, passed)| Input {
            name: format!("i{resource}"),
            resource: ResourceId(resource),
            passed: passed.iter().copied().map(JobId).collect(),
            every: false,
            pinned: None,
        })
        .collect()
}

fn rows(complete: bool) -> impl Strategy<Value = Rows> {
    let version = prop_oneof![
        9 => (0..VERSIONS).prop_map(Some),
        1 => if complete { (0..VERSIONS).prop_map(Some).boxed() } else { Just(None).boxed() },
    ];
    let held = proptest::collection::vec(version, 3);
    proptest::collection::vec((1..=JOBS, held), 0..9)
}

fn passed() -> impl Strategy<Value = Vec<BTreeSet<i64>>> {
    proptest::collection::vec(proptest::collection::btree_set(1..=JOBS, 1..=3), 1..=3)
}

fn holds(build: &Build, input: &Input, choice: &BTreeMap<String, VersionId>) -> bool {
    build.outputs.iter().any(|(r, v)| *r == input.resource && *v == choice[&input.name])
}

/// Whether every passed job has one build with all the versions chosen for inputs that name it.
fn is_vouched_together(
    database: &Database,
    inputs: &[Input],
    choice: &BTreeMap<String, VersionId>,
) -> bool {
    let jobs: BTreeSet<JobId> =
        inputs.iter().flat_map(|input| input.passed.iter().copied()).collect();
    jobs.into_iter().all(|job| {
        database.builds.iter().filter(|build| build.job == job).any(|build| {
            inputs
                .iter()
                .filter(|input| input.passed.contains(&job))
                .all(|input| holds(build, input, choice))
        })
    })
}

/// Whether each input's version is in a build of each of its passed jobs that has no other version
/// for another input. A build from before a job got an input lacks that input's resource; then
/// another build may vouch for it.
fn is_vouched(database: &Database, inputs: &[Input], choice: &BTreeMap<String, VersionId>) -> bool {
    inputs.iter().flat_map(|input| input.passed.iter().map(move |job| (input, *job))).all(
        |(input, job)| {
            database
                .builds
                .iter()
                .filter(|build| build.job == job && holds(build, input, choice))
                .any(|build| {
                    inputs.iter().filter(|other| other.passed.contains(&job)).all(|other| {
                        holds(build, other, choice)
                            || !build
                                .outputs
                                .iter()
                                .any(|(resource, _)| *resource == other.resource)
                    })
                })
        },
    )
}

/// All ways to give each input a version.
fn choices(inputs: &[Input]) -> Vec<BTreeMap<String, VersionId>> {
    let mut all = vec![BTreeMap::new()];
    for input in inputs {
        all = all
            .into_iter()
            .flat_map(|choice| {
                (0..VERSIONS).map(move |v| {
                    let mut choice = choice.clone();
                    choice.insert(input.name.clone(), id(&format!("v{v}")));
                    choice
                })
            })
            .collect();
    }
    all
}

/// One build per passed job, jobs in the order the inputs name them, newest builds first: the first
/// combination in which every input's jobs agree. Right when every build holds every resource.
fn first_agreement(database: &Database, inputs: &[Input]) -> Option<BTreeMap<String, VersionId>> {
    let mut jobs: Vec<JobId> = Vec::new();
    for job in inputs.iter().flat_map(|input| &input.passed) {
        if !jobs.contains(job) {
            jobs.push(*job);
        }
    }
    let mut combinations: Vec<BTreeMap<JobId, &Build>> = vec![BTreeMap::new()];
    for job in jobs {
        combinations = combinations
            .into_iter()
            .flat_map(|combination| {
                database.builds.iter().rev().filter(move |build| build.job == job).map(
                    move |build| {
                        let mut combination = combination.clone();
                        combination.insert(job, build);
                        combination
                    },
                )
            })
            .collect();
    }
    combinations.into_iter().find_map(|combination| {
        let mut choice = BTreeMap::new();
        for input in inputs {
            let versions: BTreeSet<_> = input
                .passed
                .iter()
                .flat_map(|job| &combination[job].outputs)
                .filter(|(resource, _)| *resource == input.resource)
                .map(|(_, version)| version)
                .collect();
            let [version] = versions.into_iter().collect::<Vec<_>>()[..] else { return None };
            choice.insert(input.name.clone(), *version);
        }
        Some(choice)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// With builds that hold every resource, the search finds the newest agreement.
    #[test]
    fn finds_the_newest_agreement(rows in rows(true), passed in passed()) {
        let (database, inputs) = (database(&rows), inputs(&passed));
        let resolution = run(&database, &inputs, 2);
        // Inputs that share no job are separate: each group has its own outcome.
        for group in crate::group_inputs(&inputs) {
            let group: Vec<Input> = group.into_iter().cloned().collect();
            let expected = first_agreement(&database, &group);
            for input in &group {
                match (&resolution.inputs[&input.name], &expected) {
                    (Ok(chosen), Some(expected)) => {
                        prop_assert_eq!(&chosen.version, &expected[&input.name]);
                        for job in &input.passed {
                            let vouching = chosen.passed_builds.iter().filter(|vouching| {
                                database.builds.iter().any(|b| b.position.build == **vouching && b.job == *job)
                            });
                            prop_assert_eq!(vouching.count(), 1);
                        }
                    }
                    (Err(Failure::NoSatisfiableBuilds), None) => {}
                    (result, expected) => prop_assert!(false, "{:?} but {:?}", result, expected),
                }
            }
        }
    }

    /// With builds that lack some resources: what is chosen is vouched for, and if anything can be, it is.
    #[test]
    fn is_sound_and_complete(rows in rows(false), passed in passed()) {
        let (database, inputs) = (database(&rows), inputs(&passed));
        let resolution = run(&database, &inputs, 2);
        for group in crate::group_inputs(&inputs) {
            let group: Vec<Input> = group.into_iter().cloned().collect();
            let choice: Option<BTreeMap<_, _>> = group
                .iter()
                .map(|input| {
                    let result = resolution.inputs[&input.name].as_ref();
                    result.ok().map(|chosen| (input.name.clone(), chosen.version))
                })
                .collect();
            match choice {
                Some(choice) => prop_assert!(is_vouched(&database, &group, &choice)),
                None => {
                    let possible = |choice| is_vouched_together(&database, &group, choice);
                    prop_assert!(!choices(&group).iter().any(possible));
                }
            }
        }
    }

    /// Pages change what is loaded, never what is found.
    #[test]
    fn page_size_does_not_matter(rows in rows(false), passed in passed(), every in any::<bool>()) {
        let (database, mut inputs) = (database(&rows), inputs(&passed));
        inputs.iter_mut().for_each(|input| input.every = every);
        prop_assert_eq!(run(&database, &inputs, 1), run(&database, &inputs, 100));
    }
}
