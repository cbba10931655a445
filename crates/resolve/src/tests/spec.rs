//! Runs the examples in `specs/*.md`; the format is told in `specs/plain.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jb_model::{BuildId, JobId, ResourceId};

use super::database::{Build, Database, ME, Row, fields, id};
use super::run;
use crate::{Input, Position, Resolution};

#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn id(&mut self, name: &str) -> i64 {
        let index = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        i64::try_from(index).unwrap() + 1
    }
}

#[derive(Default)]
struct Example {
    database: Database,
    jobs: Names,
    resources: Names,
    inputs: Vec<Input>,
    expected: String,
}

impl Example {
    fn job(&mut self, name: &str) -> JobId {
        if name == "me" { ME } else { JobId(self.jobs.id(name)) }
    }

    fn resource(&mut self, name: &str) -> ResourceId {
        ResourceId(self.resources.id(name))
    }

    fn line(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap();
        match verb {
            "versions" => self.versions(rest),
            "job" => {
                self.job(rest);
            }
            "build" => self.build(rest),
            "input" => self.input(rest),
            "=" => writeln!(self.expected, "{rest}").unwrap(),
            other => panic!("unknown word `{other}`"),
        }
    }

    fn versions(&mut self, rest: &str) {
        let (name, list) = rest.split_once(": ").unwrap();
        let resource = self.resource(name);
        let rows = list
            .split(' ')
            .map(|text| {
                let enabled = text.trim_start_matches('-');
                Row { disabled: text != enabled, ..Row::enabled(enabled) }
            })
            .collect();
        self.database.versions.insert(resource, rows);
    }

    fn build(&mut self, rest: &str) {
        let (head, versions) = rest.split_once(':').unwrap();
        let mut words = head.split(' ');
        let build_id = BuildId(words.next().unwrap().parse().unwrap());
        let job = self.job(words.next().unwrap());
        let mut build = Build {
            position: Position::new(build_id, None),
            job,
            succeeded: true,
            inputs: Vec::new(),
            outputs: Vec::new(),
            pipes: Vec::new(),
        };
        for word in words {
            match word.split_once('=') {
                None if word == "failed" => build.succeeded = false,
                Some(("rerun", of)) => {
                    build.position = Position::new(build_id, Some(BuildId(of.parse().unwrap())));
                }
                Some(("pipes", from)) => {
                    build.pipes = from.split(',').map(|b| BuildId(b.parse().unwrap())).collect();
                }
                _ => panic!("unknown word `{word}`"),
            }
        }
        let (inputs, outputs) = versions.split_once("->").unwrap_or((versions, ""));
        for word in inputs.split_whitespace() {
            let (place, version) = word.split_once('=').unwrap();
            let (name, resource) = place.split_once(':').unwrap_or((place, place));
            let resource = self.resource(resource);
            build.inputs.push((name.to_owned(), resource, id(version)));
        }
        for word in outputs.split_whitespace() {
            let (resource, version) = word.split_once('=').unwrap();
            let resource = self.resource(resource);
            build.outputs.push((resource, id(version)));
        }
        self.database.builds.push(build);
    }

    fn input(&mut self, rest: &str) {
        let mut words = rest.split(' ');
        let name = words.next().unwrap();
        let mut input = Input {
            name: name.to_owned(),
            resource: self.resource(name),
            passed: Default::default(),
            every: false,
            pinned: None,
        };
        for word in words {
            match word.split_once('=') {
                None if word == "every" => input.every = true,
                None => input.resource = self.resource(word),
                Some(("passed", jobs)) => {
                    input.passed = jobs.split(',').map(|job| self.job(job)).collect();
                }
                Some(("pin", version)) => input.pinned = Some(fields(version)),
                _ => panic!("unknown word `{word}`"),
            }
        }
        self.inputs.push(input);
    }
}

/// What came out, in the words of the specs; only what the example speaks of.
fn describe(database: &Database, resolution: &Resolution, expected: &str) -> String {
    let mut lines: BTreeMap<&str, String> = BTreeMap::new();
    for (name, result) in &resolution.inputs {
        let mut line = name.clone();
        match result {
            Err(failure) => write!(line, " ! {failure}").unwrap(),
            Ok(chosen) => {
                let rows = database.versions.values().flatten();
                let row = rows.into_iter().find(|row| row.id == chosen.version).unwrap();
                write!(line, " {}", row.text).unwrap();
                if chosen.first_occurrence {
                    line.push_str(" first");
                }
                if !chosen.passed_builds.is_empty() {
                    let from: Vec<_> =
                        chosen.passed_builds.iter().map(BuildId::to_string).collect();
                    write!(line, " from={}", from.join(",")).unwrap();
                }
            }
        }
        lines.insert(name, line);
    }
    expected
        .lines()
        .map(|line| match line {
            "more" | "done" => if resolution.has_next { "more\n" } else { "done\n" }.to_owned(),
            input => {
                let name = input.split(' ').next().unwrap();
                format!("{}\n", lines.get(name).map_or("missing", String::as_str))
            }
        })
        .collect()
}

fn check(file: &str, text: &str) {
    let mut n_examples = 0;
    for section in text.split("\n## ").skip(1) {
        let (title, body) = section.split_once('\n').unwrap();
        let block = body.split("```").nth(1).unwrap_or_else(|| panic!("{file}: {title}: no block"));
        let mut example = Example::default();
        block.lines().filter(|line| !line.is_empty()).for_each(|line| example.line(line));
        for page_size in [1, 2, 100] {
            let resolution = run(&example.database, &example.inputs, page_size);
            let actual = describe(&example.database, &resolution, &example.expected);
            assert_eq!(actual, example.expected, "{file}: {title}, pages of {page_size}");
        }
        n_examples += 1;
    }
    assert!(n_examples > 5, "{file}: only {n_examples} examples found");
}

#[test]
fn plain() {
    check("plain.md", include_str!("../../specs/plain.md"));
}

#[test]
fn passed() {
    check("passed.md", include_str!("../../specs/passed.md"));
}

#[test]
fn every_passed() {
    check("every_passed.md", include_str!("../../specs/every_passed.md"));
}
