#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;

fn allows(pattern: &str, argv: &[&str]) -> bool {
    let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
    ShellGrant::parse(pattern).unwrap().allows(&argv)
}

#[test]
fn a_grant_without_star_is_exact() {
    assert!(allows("cargo test", &["cargo", "test"]));
    assert!(!allows("cargo test", &["cargo", "test", "-p", "x"]));
    assert!(!allows("cargo test", &["cargo"]));
    assert!(!allows("cargo", &["cargo", "publish"]));
}

#[test]
fn a_star_at_the_end_is_for_further_arguments() {
    for pattern in ["git diff*", "git diff *"] {
        assert!(allows(pattern, &["git", "diff"]));
        assert!(allows(pattern, &["git", "diff", "--stat", "HEAD"]));
        // Another command, which starts a program of one's choice.
        assert!(!allows(pattern, &["git", "difftool", "-x", "sh"]));
    }
    assert!(allows("make*", &["make", "-j4"]));
}

#[test]
fn a_star_in_a_word_stays_in_its_argument() {
    assert!(allows("cargo test --test=* --quiet", &["cargo", "test", "--test=it", "--quiet"]));
    assert!(!allows("cargo test --test=* --quiet", &["cargo", "test", "--test=it"]));
    assert!(!allows("ls */src", &["ls", "a/src", "b/src"]));
    assert!(allows("ls */src", &["ls", "a/src"]));
}

#[test]
fn what_a_shell_would_run_is_only_text() {
    // Each of these ran something else where grants were matched against command lines.
    let argv: [&[&str]; 7] = [
        &["cargo", "test;", "curl", "evil"],
        &["cargo test; curl evil"],
        &["cargo test"],
        &["/tmp/cargo", "test"],
        &["./cargo", "test"],
        &["env", "cargo", "test"],
        &["sh", "-c", "cargo test"],
    ];
    for argv in argv {
        assert!(!allows("cargo test*", argv), "{argv:?}");
    }
    // As an argument of the granted command they do nothing: there is no shell to read them.
    assert!(allows("cargo test*", &["cargo", "test", "; curl evil", "$(id)"]));
}

#[test]
fn patterns_that_cannot_be_meant_are_refused() {
    assert_eq!(ShellGrant::parse("  "), Err(GrantError::Empty));
    assert_eq!(ShellGrant::parse("*"), Err(GrantError::AnyProgram));
    assert_eq!(ShellGrant::parse("car*go test"), Err(GrantError::AnyProgram));
    assert_eq!(ShellGrant::parse("cargo test | tee log"), Err(GrantError::ShellSyntax('|')));
    assert_eq!(ShellGrant::parse("sh -c 'x'"), Err(GrantError::ShellSyntax('\'')));
}

#[test]
fn a_verdict_is_one_of_three() {
    let verdict = Verdict {
        from: "verdict".into(),
        pass: vec!["approve".into()],
        fail: vec!["reject".into()],
        inconclusive_passes: false,
    };
    let judge = |value| verdict.judge(Some(&value));
    assert_eq!(judge(json!({"verdict": "approve"})), Judgement::Pass);
    assert_eq!(judge(json!({"verdict": "reject"})), Judgement::Fail);
    assert_eq!(judge(json!({"verdict": "I approve"})), Judgement::Inconclusive);
    assert_eq!(judge(json!({"verdict": ["approve"]})), Judgement::Inconclusive);
    assert_eq!(judge(json!({"summary": "approve"})), Judgement::Inconclusive);
    assert_eq!(verdict.judge(None), Judgement::Inconclusive);
    assert_eq!(
        verdict.schema()["properties"]["verdict"]["enum"],
        json!(["approve", "reject", "inconclusive"])
    );
}
