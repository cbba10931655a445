//! The executable specs: each `##` of `specs/*.md` has a pipeline and the findings about it.
//!
//! `UPDATE_SPECS=1 cargo test -p jb-pipeline specs` writes what is found into the files; read the difference before keeping it.

use std::fmt::Write as _;
use std::path::Path;

use crate::check_pipeline;

const YAML: &str = "```yaml\n";
const TEXT: &str = "```text\n";
const END: &str = "```\n";

#[test]
fn specs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let update = std::env::var_os("UPDATE_SPECS").is_some();
    let mut failures = String::new();
    for file in files {
        let written = std::fs::read_to_string(&file).unwrap();
        let found = rewrite(&written);
        if update {
            std::fs::write(&file, &found).unwrap();
        } else if found != written {
            let line = written.lines().zip(found.lines()).position(|(a, b)| a != b);
            let line = line.unwrap_or_else(|| written.lines().count().min(found.lines().count()));
            writeln!(
                failures,
                "{}:{}\n  written: {}\n  found:   {}",
                file.display(),
                line + 1,
                written.lines().nth(line).unwrap_or_default(),
                found.lines().nth(line).unwrap_or_default()
            )
            .unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// The same file with the findings as they are now.
fn rewrite(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(YAML) {
        let after = &rest[start + YAML.len()..];
        let pipeline = &after[..after.find(END).expect("a closing fence")];
        let expected = rest.find(TEXT).expect("a block of findings") + TEXT.len();
        result.push_str(&rest[..expected]);
        result.push_str(&findings(pipeline));
        let end = expected + rest[expected..].find(END).expect("a closing fence");
        rest = &rest[end..];
    }
    result + rest
}

fn findings(pipeline: &str) -> String {
    let checked = check_pipeline(pipeline);
    let mut lines = String::new();
    for found in &checked.diagnostics {
        let severity = if found.is_error() { "error" } else { "warning" };
        let place = found.span.map(|span| format!("{span} ")).unwrap_or_default();
        let (code, message) = (found.code.as_str(), &found.message);
        if found.section.is_none() {
            writeln!(lines, "{place}{severity} {code} {}: {message}", found.path).unwrap();
        } else {
            writeln!(lines, "{place}{severity} {code}: {message}").unwrap();
        }
    }
    lines
}
