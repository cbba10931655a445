use serde_json::{Value, json};

use crate::repository::Repository;
use crate::script::Scripts;

/// Checks `repository` with more source settings, from a version.
fn check(repository: &Repository, more: Value, from: Option<&str>) -> Vec<String> {
    let versions = raw(&Scripts::new(), repository, more, from);
    versions
        .as_array()
        .unwrap()
        .iter()
        .map(|version| version["ref"].as_str().unwrap().to_owned())
        .collect()
}

fn raw(scripts: &Scripts, repository: &Repository, more: Value, from: Option<&str>) -> Value {
    let mut source = json!({"uri": repository.uri()});
    source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let version = from.map(|from| json!({"ref": from}));
    scripts.check("git", &json!({"source": source, "version": version})).json()
}

#[test]
fn a_first_check_returns_the_newest_commit() {
    let (repository, commits) = Repository::with_commits(3);
    for branch in [json!({}), json!({"branch": "master"}), json!({"disable_ci_skip": true})] {
        assert_eq!(check(&repository, branch, None), [commits[2].clone()]);
    }
    assert_eq!(check(&repository, json!({"version_depth": 2}), None), commits[1..]);
}

#[test]
fn a_later_check_returns_the_given_commit_and_all_after_it() {
    let (repository, commits) = Repository::with_commits(4);
    assert_eq!(check(&repository, json!({}), Some(&commits[1])), commits[1..]);
    assert_eq!(check(&repository, json!({}), Some(&commits[0])), commits);
    assert_eq!(check(&repository, json!({}), Some(&commits[3])), commits[3..]);
}

#[test]
fn the_clone_is_kept_between_checks() {
    let (repository, mut commits) = Repository::with_commits(2);
    let scripts = Scripts::new();
    assert_eq!(raw(&scripts, &repository, json!({}), None), json!([{"ref": commits[1]}]));
    commits.push(repository.commit("later"));
    assert_eq!(
        raw(&scripts, &repository, json!({}), Some(&commits[1])),
        json!([{"ref": commits[1]}, {"ref": commits[2]}])
    );
    // A clone that was damaged meanwhile is replaced.
    let cache = std::fs::read_dir(scripts.dir.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(cache.join("repository/HEAD")).unwrap();
    assert_eq!(
        raw(&scripts, &repository, json!({}), Some(&commits[0])).as_array().unwrap().len(),
        3
    );
}

#[test]
fn a_commit_lost_to_a_force_push_restarts_at_the_newest() {
    let (repository, commits) = Repository::with_commits(3);
    let scripts = Scripts::new();
    raw(&scripts, &repository, json!({}), None);
    repository.git(&["reset", "--quiet", "--hard", &commits[0]]);
    let newest = repository.commit("rewritten");
    assert_eq!(raw(&scripts, &repository, json!({}), Some(&commits[2])), json!([{"ref": newest}]));
    for lost in
        [commits[2].as_str(), "0123456789012345678901234567890123456789", "bogus-ref", "--all"]
    {
        assert_eq!(check(&repository, json!({}), Some(lost)), [newest.clone()], "{lost}");
    }
}

#[test]
fn only_wanted_paths_make_versions() {
    let repository = Repository::new();
    let a = repository.commit_to("dir/a", "1");
    let b = repository.commit_to("other dir/b", "2");
    let c = repository.commit_to("c", "3");
    assert_eq!(check(&repository, json!({"paths": ["dir/*"]}), None), [a.clone()]);
    assert_eq!(check(&repository, json!({"paths": ["other dir", "dir"]}), None), [b.clone()]);
    assert_eq!(check(&repository, json!({"ignore_paths": ["c"]}), None), [b.clone()]);
    assert_eq!(check(&repository, json!({"ignore_paths": ["dir"]}), Some(&a)), [b, c.clone()]);
    assert_eq!(check(&repository, json!({"paths": ["c"]}), Some(&a)), [c]);
    assert_eq!(check(&repository, json!({"paths": ["nosuch"]}), None), Vec::<String>::new());
}

#[test]
fn skipped_commits_are_left_out_unless_that_is_disabled() {
    let repository = Repository::new();
    let plain = repository.commit("plain");
    let skipped = repository.commit("not this [ci skip]");
    let other = repository.commit("nor this\n\n[skip ci]");
    assert_eq!(check(&repository, json!({}), None), [plain.clone()]);
    assert_eq!(check(&repository, json!({"disable_ci_skip": true}), None), [other.clone()]);
    let all = [plain.clone(), skipped, other];
    assert_eq!(check(&repository, json!({"disable_ci_skip": true}), Some(&plain)), all);
}

#[test]
fn messages_choose_commits() {
    let repository = Repository::new();
    let one = repository.commit("fix: one (a)");
    let two = repository.commit("feat: two (a)");
    let three = repository.commit("docs: three [skip deploy]");
    let filter = |filter: Value, from: Option<&str>| {
        check(&repository, json!({"commit_filter": filter}), from)
    };
    assert_eq!(filter(json!({"include": ["feat", "fix"]}), Some(&one)), [one.clone(), two.clone()]);
    assert_eq!(
        filter(json!({"include": ["feat", "(a)"], "include_all_match": true}), Some(&one)),
        [two.clone()]
    );
    assert_eq!(filter(json!({"exclude": [r"\[skip deploy\]"]}), None), [two.clone()]);
    assert_eq!(
        filter(json!({"exclude": ["fix", "(a)"], "exclude_all_match": true}), Some(&one)),
        [two, three.clone()]
    );
    assert_eq!(filter(json!({"include": ["$(touch /x)\" `y`"]}), None), Vec::<String>::new());
    assert_eq!(filter(json!({"include": ["three"], "exclude": ["fix"]}), None), [three]);
}

#[test]
fn merged_branches_make_one_version() {
    let (repository, commits) = Repository::with_commits(1);
    repository.git(&["checkout", "--quiet", "-b", "side"]);
    let side = repository.commit_to("side-file", "side");
    repository.git(&["checkout", "--quiet", "master"]);
    let main = repository.commit("main");
    repository.git(&["merge", "--quiet", "--no-edit", "side"]);
    repository.publish();
    let merge = repository.git(&["rev-parse", "HEAD"]);
    assert_eq!(
        check(&repository, json!({"branch": "master"}), Some(&commits[0])),
        [commits[0].clone(), main, merge]
    );
    assert_eq!(check(&repository, json!({"branch": "side"}), None), [side]);
}

fn tagged() -> (Repository, Vec<String>) {
    let repository = Repository::new();
    let mut commits = Vec::new();
    for (index, tag) in
        ["1.0-staging", "1.0-production", "2.0-staging", "3.0-staging"].iter().enumerate()
    {
        commits.push(repository.commit(&format!("commit {index}")));
        repository.tag(tag);
    }
    commits.push(repository.commit("untagged"));
    (repository, commits)
}

#[test]
fn tags_are_versions_with_their_commit() {
    let (repository, commits) = tagged();
    let scripts = Scripts::new();
    let check = |more: Value, from: Option<&str>| raw(&scripts, &repository, more, from);
    let third = json!({"ref": "3.0-staging", "commit": commits[3]});
    let second = json!({"ref": "2.0-staging", "commit": commits[2]});
    for rule in
        [json!({"tag_filter": "*-staging"}), json!({"tag_regex": r"[0-9.]+-(staging|none)"})]
    {
        assert_eq!(check(rule.clone(), None), json!([third]));
        let mut branch = rule.clone();
        branch["branch"] = json!("master");
        for rule in [rule, branch] {
            assert_eq!(check(rule.clone(), Some("2.0-staging")), json!([second, third]), "{rule}");
            assert_eq!(check(rule.clone(), Some("bogus")), json!([third]));
            let mut deep = rule;
            deep["version_depth"] = json!(2);
            assert_eq!(check(deep, None), json!([second, third]));
        }
    }
    assert_eq!(check(json!({"tag_regex": "staging"}), None), json!([]));
    assert_eq!(check(json!({"tag_filter": "nosuch*"}), None), json!([]));
}

#[test]
fn a_moved_tag_is_seen() {
    let (repository, commits) = tagged();
    let scripts = Scripts::new();
    let rule = json!({"tag_filter": "3.0-staging"});
    raw(&scripts, &repository, rule.clone(), None);
    repository.tag("3.0-staging");
    assert_eq!(
        raw(&scripts, &repository, rule, None),
        json!([{"ref": "3.0-staging", "commit": commits[4]}])
    );
}

#[test]
fn tags_of_other_branches_count_only_without_a_branch() {
    let (repository, _) = tagged();
    repository.git(&["checkout", "--quiet", "-b", "other"]);
    let commit = repository.commit("elsewhere");
    repository.tag("9.0-staging");
    let scripts = Scripts::new();
    let found = raw(&scripts, &repository, json!({"tag_filter": "*-staging"}), None);
    assert_eq!(found, json!([{"ref": "9.0-staging", "commit": commit}]));
    let found =
        raw(&scripts, &repository, json!({"tag_filter": "*-staging", "branch": "master"}), None);
    assert_eq!(found[0]["ref"], "3.0-staging");
}

#[test]
fn ancestors_of_matching_tags_are_versions() {
    let (repository, commits) = tagged();
    let rule =
        json!({"tag_filter": "2.*", "tag_behaviour": "match_tag_ancestors", "version_depth": 10});
    assert_eq!(check(&repository, rule, None), commits[..3]);
    let rule = json!({"tag_filter": "*", "tag_behaviour": "match_tag_ancestors"});
    assert_eq!(check(&repository, rule.clone(), None), [commits[3].clone()]);
    assert_eq!(check(&repository, rule, Some(&commits[1])), commits[1..4]);
}

#[test]
fn what_is_not_there_is_said() {
    let (repository, _) = Repository::with_commits(1);
    let scripts = Scripts::new();
    let missing = json!({"source": {"uri": repository.uri(), "branch": "nosuch"}});
    assert_eq!(
        scripts.check("git", &missing).failure(),
        "branch nosuch was not found in the repository"
    );
    let nowhere = json!({"source": {"uri": "file:///nonexistent/repo"}});
    assert!(
        scripts
            .check("git", &nowhere)
            .failure()
            .starts_with("git ls-remote -- file:///nonexistent/repo HEAD failed")
    );
    let empty = Repository::new();
    assert_eq!(check(&empty, json!({}), None), Vec::<String>::new());
}

#[test]
fn nothing_private_is_left_behind() {
    let (repository, _) = Repository::with_commits(1);
    let scripts = Scripts::new();
    raw(
        &scripts,
        &repository,
        json!({"private_key": "not a key", "username": "u", "password": "p"}),
        None,
    );
    let left =
        std::fs::read_dir(scripts.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> =
        left.filter(|name| !name.to_string_lossy().starts_with("git-resource-cache-")).collect();
    assert!(left.is_empty(), "{left:?}");
}
