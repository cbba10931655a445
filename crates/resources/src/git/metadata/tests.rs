use super::*;

#[test]
fn known_hosts_have_pages_for_commits() {
    let url = |origin: &str| commit_url(origin, "abc").unwrap_or_default();
    assert_eq!(url("https://github.com/a/b.git"), "https://github.com/a/b/commit/abc");
    assert_eq!(url("git@github.com:a/b.git"), "https://github.com/a/b/commit/abc");
    assert_eq!(url("ssh://git@gitlab.example/a/b"), "https://gitlab.example/a/b/-/commit/abc");
    assert_eq!(url("https://u:secret@bitbucket.org/a/b"), "https://bitbucket.org/a/b/commits/abc");
    assert_eq!(url("https://example.com/a/b"), "");
    assert_eq!(url("/srv/repo"), "");
}

#[test]
fn messages_are_cut_between_characters() {
    let message = format!("{}é", "x".repeat(MAX_MESSAGE - 1));
    assert_eq!(cut(&message).len(), MAX_MESSAGE - 1);
    assert_eq!(cut("short"), "short");
}
