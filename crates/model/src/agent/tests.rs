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

#[test]
fn tools_of_servers_have_names_that_models_take() {
    assert_eq!(McpServer::offered_name("docs", "pages/find.all"), "docs__pages_find_all");
    let server = |tools: &[&str]| McpServer {
        name: "docs".into(),
        tools: tools.iter().map(|&tool| tool.to_owned()).collect(),
        way: McpWay::Http {
            url: "https://docs.example:8443/mcp?v=1".into(),
            headers: [("authorization".to_owned(), "Bearer ((token))".to_owned())].into(),
        },
    };
    let check = |server: McpServer| McpServer::check_all(&[server]);
    assert_eq!(check(server(&["search", "pages/find"])), Ok(()));
    assert!(check(server(&[])).unwrap_err().contains("needs a list of the `tools:`"));
    assert!(check(server(&["a.b", "a/b"])).unwrap_err().contains("granted twice"));
    assert!(check(server(&["a b"])).unwrap_err().contains("letters, digits"));
    assert!(check(server(&[&"x".repeat(43)])).unwrap_err().contains("more than 48 characters"));
    let twice = McpServer::check_all(&[server(&["a"]), server(&["b"])]);
    assert_eq!(twice, Err("the MCP server 'docs' is named twice".to_owned()));
    for name in ["", "Docs", "1docs", "do__cs", "docs_", "do.cs"] {
        assert!(McpServer::check_name(name).is_err(), "{name}");
    }
}

#[test]
fn servers_are_reached_by_http_with_headers_of_the_pipelines() {
    for url in ["https://docs.example", "http://10.0.0.1:8080/mcp", "http://[::1]:1/"] {
        assert_eq!(McpServer::check_url(url), Ok(()));
    }
    for url in
        ["", "docs.example", "ftp://docs", "https://", "https:///mcp", "http://:80", "http://a b"]
    {
        assert!(McpServer::check_url(url).is_err(), "{url}");
    }
    let user = McpServer::check_url("https://user:pass@docs.example/mcp").unwrap_err();
    assert!(user.contains("send a header") && !user.contains("pass@"), "{user}");
    assert_eq!(McpServer::check_header("X-Api-Key"), Ok(()));
    for header in ["", "a b", "Host", "Content-Type", "Mcp-Session-Id", "a:b"] {
        assert!(McpServer::check_header(header).is_err(), "{header}");
    }
}
