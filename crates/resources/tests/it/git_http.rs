//! The same over smart HTTP, with and without a login.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::cgi::HttpGit;
use crate::repository::{Repository, git};
use crate::script::Scripts;

/// `someone:s3 cret'$`, as a client sends it.
const LOGIN: &str = "Basic c29tZW9uZTpzMyBjcmV0JyQ=";

#[test]
fn a_repository_is_followed_fetched_and_pushed_over_http() {
    let (repository, commits) = Repository::with_commits(3);
    let server = HttpGit::serve(repository.root(), None);
    let scripts = Scripts::new();
    let source = json!({"uri": server.uri("bare.git"), "branch": "master"});
    let versions =
        scripts.check("git", &json!({"source": source, "version": {"ref": commits[1]}})).json();
    assert_eq!(versions, json!([{"ref": commits[1]}, {"ref": commits[2]}]));
    let artifacts = scripts.path("artifacts");
    let clone = artifacts.join("repo");
    let request = json!({"source": source, "version": {"ref": commits[1]}, "params": {"depth": 1}});
    assert_eq!(scripts.fetch("git", &clone, &request).json()["version"]["ref"], commits[1]);
    git(&clone, 9, &["commit", "--quiet", "--allow-empty", "-m", "more"]);
    let request = json!({"source": source, "params": {"repository": "repo", "rebase": true}});
    let pushed = scripts.push("git", &artifacts, &request).json();
    assert_eq!(pushed["version"]["ref"], repository.in_bare(&["rev-parse", "master"]));
    assert_eq!(repository.in_bare(&["rev-parse", "master~1"]), commits[2]);
}

#[test]
fn a_login_is_used_and_never_shown() {
    let (repository, commits) = Repository::with_commits(1);
    let server = HttpGit::serve(repository.root(), Some(LOGIN));
    let scripts = Scripts::new();
    let uri = server.uri("bare.git");
    let login = json!({"uri": uri, "username": "someone", "password": "s3 cret'$"});
    let ended = scripts.check("git", &json!({"source": login}));
    assert_eq!(ended.json(), json!([{"ref": commits[0]}]));
    let dest = scripts.path("get");
    let got = scripts.fetch("git", &dest, &json!({"source": login}));
    assert_eq!(got.json()["version"]["ref"], commits[0]);
    let config = std::fs::read_to_string(dest.join(".git/config")).unwrap();
    for text in [&ended.stderr, &got.stderr, &config] {
        assert!(!text.contains("s3 cret"), "{text}");
    }
    let wrong = json!({"uri": uri, "username": "someone", "password": "wrong-secret"});
    let ended = scripts.check("git", &json!({"source": wrong}));
    assert!(!ended.succeeded && !ended.stderr.contains("wrong-secret"), "{ended:?}");
    assert!(!scripts.check("git", &json!({"source": {"uri": uri}})).succeeded);
}

#[test]
fn a_submodule_on_another_host_gets_its_own_login_and_not_ours() {
    let (part, _) = Repository::with_commits(1);
    let part_server = HttpGit::serve(part.root(), Some(LOGIN));
    let (top, _) = Repository::with_commits(1);
    let top_server = HttpGit::serve(top.root(), Some("Basic dG9wOm93bg=="));
    let url = part_server.uri("bare.git");
    let modules = format!("[submodule \"part\"]\n\tpath = part\n\turl = {url}\n");
    std::fs::write(top.work().join(".gitmodules"), modules).unwrap();
    let commit = part.git(&["rev-parse", "HEAD"]);
    top.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},part")]);
    std::fs::create_dir_all(top.work().join("part")).unwrap();
    top.git(&["add", ".gitmodules"]);
    top.git(&["commit", "--quiet", "-m", "add part"]);
    top.publish();
    let source = json!({"uri": top_server.uri("bare.git"), "username": "top", "password": "own"});
    let scripts = Scripts::new();
    let refused = scripts.fetch("git", &scripts.path("one"), &json!({"source": source}));
    assert!(!refused.succeeded);
    assert_eq!(part_server.logins.load(Ordering::SeqCst), 0);
    let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut with = source;
    with["submodule_credentials"] =
        json!([{"host": host, "username": "someone", "password": "s3 cret'$"}]);
    let got = scripts.fetch("git", &scripts.path("two"), &json!({"source": with}));
    assert!(got.succeeded, "{}", got.stderr);
    assert!(scripts.path("two/part/some-file").exists());
}
