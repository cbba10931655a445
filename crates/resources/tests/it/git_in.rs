use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::repository::{Repository, git};
use crate::script::{Ended, Scripts};

struct Get {
    scripts: Scripts,
    dest: PathBuf,
    ended: Ended,
}

fn get(source: Value, params: Value, version: Option<&str>) -> Get {
    let scripts = Scripts::new();
    let dest = scripts.path("get");
    let version = version.map(|version| json!({"ref": version}));
    let ended = scripts.fetch(
        "git",
        &dest,
        &json!({"source": source, "params": params, "version": version}),
    );
    Get { scripts, dest, ended }
}

impl Get {
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dest.join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}; {}", self.ended.stderr))
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.dest, 0, args)
    }
}

#[test]
fn the_version_is_checked_out_with_its_files_and_metadata() {
    let (repository, commits) = Repository::with_commits(3);
    repository.git(&["tag", "v1", &commits[1]]);
    repository.git(&["tag", "v1-again", &commits[1]]);
    repository.publish();
    let got =
        get(json!({"uri": repository.uri(), "branch": "master"}), json!({}), Some(&commits[1]));
    let date = "2023-11-14 22:13:26 +0000";
    let expected = json!([
        {"name": "commit", "value": commits[1]},
        {"name": "author", "value": "Some One"},
        {"name": "author_date", "value": date, "type": "time"},
        {"name": "committer", "value": "Some One"},
        {"name": "committer_date", "value": date, "type": "time"},
        {"name": "tags", "value": "v1,v1-again"},
        {"name": "message", "value": "commit 1\n", "type": "message"},
    ]);
    let response = got.ended.json();
    assert_eq!(response["version"], json!({"ref": commits[1]}));
    let mut metadata = response["metadata"].clone();
    for field in metadata.as_array_mut().unwrap() {
        if field["type"] == "time" {
            assert!(field["value"].as_str().unwrap().starts_with("2023-11-14 22:13:"), "{field}");
            field["value"] = json!(date);
        }
    }
    assert_eq!(metadata, expected);
    assert_eq!(got.read("some-file"), "commit 0\ncommit 1\n");
    assert_eq!(got.read(".git/ref"), format!("{}\n", commits[1]));
    assert_eq!(got.read(".git/commit"), format!("{}\n", commits[1]));
    assert_eq!(got.read(".git/short_ref"), commits[1][..7]);
    assert_eq!(got.read(".git/commit_message"), "commit 1\n");
    assert_eq!(got.read(".git/committer"), "one@example.com");
    assert_eq!(got.read(".git/committer_name"), "Some One");
    assert_eq!(got.read(".git/author"), "Some One\n");
    assert_eq!(got.read(".git/tags"), "v1,v1-again\n");
    assert_eq!(got.read(".git/branch"), "");
    assert_eq!(got.read(".git/url"), "");
    assert!(got.read(".git/commit_timestamp").starts_with("2023-11-14 22:13:"));
    assert_eq!(
        got.read(".git/describe_ref"),
        format!("{}\n", got.git(&["rev-parse", "--short", "HEAD"]))
    );
    assert_eq!(
        serde_json::from_str::<Value>(&got.read(".git/metadata.json")).unwrap(),
        response["metadata"]
    );
}

#[test]
fn without_a_version_the_branch_is_checked_out() {
    let (repository, commits) = Repository::with_commits(2);
    let got = get(json!({"uri": repository.uri()}), json!({}), None);
    assert_eq!(got.ended.json()["version"], json!({"ref": commits[1]}));
    assert_eq!(got.git(&["symbolic-ref", "--short", "HEAD"]), "master");
    assert_eq!(got.read(".git/branch"), "master\n");
}

#[test]
fn formats_and_options_are_applied() {
    let (repository, commits) = Repository::with_commits(2);
    repository.tag("v1.0");
    let params = json!({
        "short_ref_format": "build-%s",
        "timestamp_format": "format:%Y",
        "describe_ref_options": "--always --tags --match='v*' --long",
    });
    let got = get(json!({"uri": repository.uri(), "tag_filter": "v*"}), params, Some("v1.0"));
    assert_eq!(got.ended.json()["version"], json!({"ref": "v1.0"}));
    assert_eq!(got.read(".git/ref"), "v1.0\n");
    assert_eq!(got.read(".git/short_ref"), "build-v1.0");
    assert_eq!(got.read(".git/commit"), format!("{}\n", commits[1]));
    assert_eq!(got.read(".git/commit_timestamp"), "2023\n");
    assert!(got.read(".git/describe_ref").starts_with("v1.0-0-g"));
    assert!(
        get(json!({"uri": repository.uri()}), json!({"short_ref_format": "%d"}), None)
            .ended
            .failure()
            .contains("%s")
    );
}

#[test]
fn tags_are_fetched_removed_or_left() {
    let (repository, commits) = Repository::with_commits(2);
    repository.git(&["checkout", "--quiet", "--detach", &commits[0]]);
    repository.commit("off the branch");
    repository.tag("elsewhere");
    repository.git(&["tag", "here", &commits[1]]);
    repository.publish();
    let tags = |source: Value, params: Value| {
        let mut whole = json!({"uri": repository.uri(), "branch": "master"});
        whole.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        let got = get(whole, params, Some(&commits[1]));
        assert!(got.ended.succeeded, "{}", got.ended.stderr);
        got.git(&["tag", "--list"])
    };
    assert_eq!(tags(json!({}), json!({})), "here");
    assert_eq!(tags(json!({"fetch_tags": true}), json!({})), "elsewhere\nhere");
    assert_eq!(tags(json!({"fetch_tags": true}), json!({"fetch_tags": false})), "");
    assert_eq!(tags(json!({}), json!({"clean_tags": true})), "");
}

#[test]
fn a_shallow_clone_is_deepened_to_the_version() {
    let (repository, commits) = Repository::with_commits(10);
    let source = json!({"uri": repository.uri(), "branch": "master"});
    let count = |got: &Get| {
        assert!(got.ended.succeeded, "{}", got.ended.stderr);
        got.git(&["rev-list", "--count", "HEAD"]).parse::<usize>().unwrap()
    };
    let got = get(source.clone(), json!({"depth": 1}), Some(&commits[9]));
    assert_eq!(count(&got), 1);
    let got = get(source.clone(), json!({"depth": 1}), Some(&commits[7]));
    assert_eq!(got.read("some-file").lines().count(), 8);
    assert!(count(&got) < 8);
    let got = get(source, json!({"depth": 3}), Some(&commits[0]));
    assert_eq!(count(&got), 1);
}

#[test]
fn other_branches_can_come_along() {
    let (repository, commits) = Repository::with_commits(1);
    repository.git(&["checkout", "--quiet", "-b", "dev"]);
    let dev = repository.commit("dev");
    let source = json!({"uri": repository.uri(), "branch": "master"});
    let got = get(source.clone(), json!({"fetch": ["dev", "master"]}), Some(&commits[0]));
    assert!(got.ended.succeeded, "{}", got.ended.stderr);
    assert_eq!(got.git(&["rev-parse", "dev"]), dev);
    let got = get(source.clone(), json!({"all_branches": true}), Some(&commits[0]));
    assert_eq!(got.git(&["rev-parse", "origin/dev"]), dev);
    let got = get(source.clone(), json!({}), Some(&commits[0]));
    assert_eq!(got.git(&["branch", "--remotes", "--list", "origin/dev"]), "");
    // A put to another branch says so in its version.
    let scripts = Scripts::new();
    let request = json!({"source": source, "version": {"ref": dev, "branch": "dev"}});
    let ended = scripts.fetch("git", &scripts.path("get"), &request);
    assert_eq!(ended.json()["version"], json!({"ref": dev}));
}

#[test]
fn only_sparse_paths_are_checked_out() {
    let repository = Repository::new();
    repository.commit_to("one/a", "a");
    repository.commit_to("two/b", "b");
    let got = get(json!({"uri": repository.uri(), "sparse_paths": ["one/*"]}), json!({}), None);
    assert_eq!(got.read("one/a"), "a\n");
    assert!(!got.dest.join("two").exists());
}

#[test]
fn a_version_that_is_gone_is_said_to_be() {
    let (repository, _) = Repository::with_commits(1);
    let gone = "0123456789012345678901234567890123456789";
    let got = get(json!({"uri": repository.uri(), "branch": "master"}), json!({}), Some(gone));
    assert!(
        got.ended
            .failure()
            .starts_with(&format!("{gone} was not found in the repository on branch master"))
    );
    let got = get(json!({"uri": repository.uri()}), json!({}), Some("--upload-pack=x"));
    assert!(got.ended.failure().starts_with("version.ref: "));
}

#[test]
fn a_commit_off_the_branch_is_found_by_other_refs() {
    let (repository, commits) = Repository::with_commits(1);
    repository.git(&["checkout", "--quiet", "-b", "review"]);
    let change = repository.commit("change");
    repository.in_bare(&["update-ref", "refs/changes/1", &change]);
    repository.in_bare(&["update-ref", "-d", "refs/heads/review"]);
    let source = json!({"uri": repository.uri(), "branch": "master", "search_remote_refs": true});
    assert_eq!(get(source, json!({}), Some(&change)).ended.json()["version"]["ref"], change);
    repository.in_bare(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let source = json!({"uri": repository.uri(), "branch": "master"});
    let got = get(source, json!({}), Some(&change));
    assert_eq!(got.ended.json()["version"]["ref"], change);
    assert_eq!(got.git(&["rev-parse", "HEAD~1"]), commits[0]);
}

#[test]
fn notes_and_settings_arrive() {
    let (repository, commits) = Repository::with_commits(1);
    repository.git(&["notes", "add", "-m", "a note", &commits[0]]);
    repository.git(&["push", "--quiet", "origin", "refs/notes/*"]);
    let source = json!({"uri": repository.uri(), "git_config": [
        {"name": "core.abbrev", "value": 12}, {"name": "push.recurseSubmodules", "value": "no"}]});
    let got = get(source, json!({}), Some(&commits[0]));
    assert!(got.ended.succeeded, "{}", got.ended.stderr);
    assert_eq!(got.git(&["notes", "show"]), "a note");
    assert_eq!(got.git(&["config", "core.abbrev"]), "12");
}

/// A repository with two submodules, one of them with one of its own.
fn nested() -> (Repository, Vec<Repository>) {
    let (inner, _) = Repository::with_commits(2);
    let (outer, _) = Repository::with_commits(1);
    let allow = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
    let add = |to: &Repository, from: &Repository, name: &str| {
        to.git(&[&allow[..], &["--name", name, &from.uri(), &format!("lib/{name}")]].concat());
        to.commit(&format!("add {name}"));
    };
    add(&outer, &inner, "inner");
    let (top, _) = Repository::with_commits(1);
    add(&top, &outer, "outer");
    add(&top, &inner, "plain name");
    (top, vec![outer, inner])
}

#[test]
fn submodules_are_fetched_as_asked() {
    let (top, _parts) = nested();
    let present = |params: Value| -> Vec<bool> {
        let got = get(json!({"uri": top.uri()}), params, None);
        assert!(got.ended.succeeded, "{}", got.ended.stderr);
        let there = |path: &str| got.dest.join(path).join("some-file").exists();
        ["lib/outer", "lib/outer/lib/inner", "lib/plain name"]
            .iter()
            .map(|path| there(path))
            .collect()
    };
    assert_eq!(present(json!({})), [true, true, true]);
    assert_eq!(present(json!({"submodules": "none"})), [false, false, false]);
    assert_eq!(present(json!({"submodules": ["lib/outer"]})), [true, true, false]);
    assert_eq!(present(json!({"submodules": ["plain name"]})), [false, false, true]);
    assert_eq!(present(json!({"submodule_recursive": false})), [true, false, true]);
    assert_eq!(present(json!({"depth": 1})), [true, true, true]);
}

#[test]
fn submodules_can_follow_their_branch() {
    let (top, parts) = nested();
    let newest = parts[1].commit("newer");
    let at = |params: Value| {
        let got = get(json!({"uri": top.uri()}), params, None);
        assert!(got.ended.succeeded, "{}", got.ended.stderr);
        git(&got.dest.join("lib/plain name"), 0, &["rev-parse", "HEAD"])
    };
    assert_ne!(at(json!({"submodule_recursive": false})), newest);
    assert_eq!(at(json!({"submodule_remote": true, "submodule_recursive": false})), newest);
}

#[test]
fn only_signed_commits_pass_verification() {
    let gpg = |home: &Path, args: &[&str]| {
        let output = std::process::Command::new("gpg")
            .env("GNUPGHOME", home)
            .arg("--batch")
            .args(args)
            .output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8(output.stdout).unwrap())
    };
    let (repository, commits) = Repository::with_commits(1);
    let home = tempfile::Builder::new().prefix("g").permissions(private()).tempdir().unwrap();
    let key_of = |name: &str| {
        let made = ["--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never"];
        gpg(home.path(), &made).map(|_| gpg(home.path(), &["--armor", "--export", name]).unwrap())
    };
    let Some(key) = key_of("one@example.com") else {
        eprintln!("SKIPPED: gpg is missing or cannot make a key");
        return;
    };
    let other = key_of("other@example.com").unwrap();
    let program = repository.root().join("gpg-with-home");
    fs::write(
        &program,
        format!("#!/bin/sh\nGNUPGHOME={} exec gpg \"$@\"\n", home.path().display()),
    )
    .unwrap();
    fs::set_permissions(&program, private()).unwrap();
    let program = format!("gpg.program={}", program.display());
    repository.git(&[
        "-c",
        &program,
        "commit",
        "--quiet",
        "--allow-empty",
        "-Sone@example.com",
        "-m",
        "signed",
    ]);
    repository.publish();
    let signed = repository.git(&["rev-parse", "HEAD"]);
    let with = |keys: Value, version: &str| {
        get(
            json!({"uri": repository.uri(), "commit_verification_keys": keys}),
            json!({}),
            Some(version),
        )
    };
    let good = with(json!([key]), &signed);
    assert!(good.ended.succeeded, "{}", good.ended.stderr);
    assert!(with(json!([other]), &signed).ended.failure().contains("is not signed by a key"));
    assert!(with(json!([key]), &commits[0]).ended.failure().contains("is not signed by a key"));
    assert!(with(json!(["nonsense"]), &signed).ended.failure().starts_with("invalid GPG key"));
    let _ = std::process::Command::new("gpgconf")
        .env("GNUPGHOME", home.path())
        .args(["--kill", "all"])
        .status();
    drop(good.scripts);
}

fn private() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o700)
}
