use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::repository::{Repository, git};
use crate::script::{Ended, Scripts};

/// A repository and the artifacts of a build: a clone of it in `repo`, with one commit more.
struct Put {
    repository: Repository,
    scripts: Scripts,
    commit: String,
}

impl Put {
    fn new() -> Self {
        let (repository, _) = Repository::with_commits(2);
        let scripts = Scripts::new();
        let put = Self { repository, scripts, commit: String::new() };
        fs::create_dir(put.artifacts()).unwrap();
        git(&put.artifacts(), 0, &["clone", "--quiet", &put.repository.uri(), "repo"]);
        let commit = put.commit_locally("ours");
        Self { commit, ..put }
    }

    fn artifacts(&self) -> PathBuf {
        self.scripts.path("artifacts")
    }

    fn local(&self, args: &[&str]) -> String {
        git(&self.artifacts().join("repo"), 1000, args)
    }

    fn commit_locally(&self, file: &str) -> String {
        fs::write(self.artifacts().join("repo").join(file), file).unwrap();
        self.local(&["add", "--all"]);
        self.local(&["commit", "--quiet", "-m", file]);
        self.local(&["rev-parse", "HEAD"])
    }

    fn file(&self, name: &str, content: &str) {
        fs::write(self.artifacts().join(name), content).unwrap();
    }

    fn put(&self, params: Value) -> Ended {
        let mut whole = json!({"repository": "repo"});
        whole.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let source = json!({"uri": self.repository.uri(), "branch": "master"});
        self.scripts.push("git", &self.artifacts(), &json!({"source": source, "params": whole}))
    }

    fn remote(&self, name: &str) -> String {
        self.repository.in_bare(&["rev-parse", "--verify", "--quiet", name])
    }
}

#[test]
fn a_commit_and_all_tags_are_pushed() {
    let put = Put::new();
    put.local(&["tag", "some-tag"]);
    let response = put.put(json!({})).json();
    assert_eq!(response["version"], json!({"ref": put.commit}));
    let field = |name: &str| {
        let fields = response["metadata"].as_array().unwrap();
        fields.iter().find(|field| field["name"] == name).map(|field| field["value"].clone())
    };
    assert_eq!(field("branch"), Some(json!("master")));
    assert_eq!(field("tags"), Some(json!("some-tag")));
    assert_eq!(field("message"), Some(json!("ours\n")));
    assert_eq!(put.remote("master"), put.commit);
    assert_eq!(put.remote("some-tag"), put.commit);
}

#[test]
fn another_branch_is_in_the_version() {
    let put = Put::new();
    let response = put.put(json!({"branch": "feature/x"})).json();
    assert_eq!(response["version"], json!({"ref": put.commit, "branch": "feature/x"}));
    assert_eq!(put.remote("feature/x"), put.commit);
    put.put(json!({"branch": "x", "refs_prefix": "refs/for"})).json();
    assert_eq!(put.remote("refs/for/x"), put.commit);
}

#[test]
fn a_tag_is_named_by_a_file() {
    let put = Put::new();
    put.file("tag", "1.2\n");
    put.file("message", "the notes\n");
    put.put(json!({"tag": "tag"})).json();
    assert_eq!(put.remote("refs/tags/1.2"), put.commit);
    put.put(json!({"tag": "tag", "tag_prefix": "v", "annotate": "message"})).json();
    assert_eq!(put.repository.in_bare(&["cat-file", "-t", "v1.2"]), "tag");
    assert_eq!(put.repository.in_bare(&["tag", "-l", "--format=%(contents)", "v1.2"]), "the notes");
    assert_eq!(put.remote("v1.2^{commit}"), put.commit);
}

#[test]
fn only_a_tag_can_be_pushed() {
    let put = Put::new();
    let before = put.remote("master");
    put.file("tag", "solo");
    let response = put.put(json!({"tag": "tag", "only_tag": true})).json();
    assert_eq!(response["version"]["ref"], put.commit);
    assert_eq!(put.remote("refs/tags/solo"), put.commit);
    assert_eq!(put.remote("master"), before);
}

#[test]
fn a_branch_that_moved_is_refused_forced_rebased_or_merged() {
    let put = Put::new();
    let theirs = put.repository.commit_to("theirs", "theirs");
    let failure = put.put(json!({})).failure();
    assert!(failure.contains("was rejected") && failure.contains("params.rebase"), "{failure}");
    assert_eq!(put.remote("master"), theirs);

    let response = put.put(json!({"rebase": true})).json();
    let rebased = put.remote("master");
    assert_eq!(response["version"]["ref"], rebased);
    assert_eq!(put.remote("master~1"), theirs);
    assert_ne!(rebased, put.commit);

    let put = Put::new();
    let theirs = put.repository.commit_to("theirs", "theirs");
    let response = put.put(json!({"merge": true})).json();
    assert_eq!(response["version"]["ref"], put.remote("master"));
    assert_eq!(put.remote("master^1"), put.commit);
    assert_eq!(put.remote("master^2"), theirs);

    let put = Put::new();
    put.repository.commit_to("theirs", "theirs");
    let response = put.put(json!({"merge": true, "returning": "unmerged"})).json();
    assert_eq!(response["version"]["ref"], put.commit);
    assert_ne!(put.remote("master"), put.commit);

    let put = Put::new();
    put.repository.commit_to("theirs", "theirs");
    put.put(json!({"force": true})).json();
    assert_eq!(put.remote("master"), put.commit);
}

#[test]
fn a_rebase_can_resolve_conflicts_by_strategy() {
    let put = Put::new();
    put.repository.commit_to("ours", "conflict");
    assert!(put.put(json!({"rebase": true})).failure().contains("pull --rebase=merges"));
    put.local(&["rebase", "--abort"]);
    let options =
        json!({"rebase": true, "rebase_strategy": "ort", "rebase_strategy_option": "theirs"});
    put.put(options).json();
    assert_eq!(put.repository.in_bare(&["show", "master:ours"]), "ours");
}

#[test]
fn notes_are_added_and_pushed() {
    let put = Put::new();
    put.file("notes", "tested");
    put.put(json!({"notes": "notes"})).json();
    assert_eq!(put.repository.in_bare(&["notes", "show", &put.commit]), "tested");
}

#[test]
fn push_options_reach_the_server() {
    let put = Put::new();
    put.repository.in_bare(&["config", "receive.advertisePushOptions", "true"]);
    let hook = put.repository.bare().join("hooks/pre-receive");
    fs::write(&hook, "#!/bin/sh\necho \"$GIT_PUSH_OPTION_COUNT $GIT_PUSH_OPTION_0\" > options\n")
        .unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    put.put(json!({"push_options": ["ci skip"]})).json();
    assert_eq!(fs::read_to_string(put.repository.bare().join("options")).unwrap(), "1 ci skip\n");
}

#[test]
fn a_refusing_server_does_not_cause_retries() {
    let put = Put::new();
    let hook = put.repository.bare().join("hooks/pre-receive");
    fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for params in [json!({}), json!({"rebase": true}), json!({"merge": true})] {
        let ended = put.put(params);
        assert!(ended.failure().starts_with("the push to file://"), "{ended:?}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let put = Put::new();
    let failure = |params: Value| put.put(params).failure();
    assert_eq!(failure(json!({"repository": ""})), "params.repository is required");
    assert!(
        failure(json!({"repository": "nosuch"}))
            .starts_with("params.repository: nosuch is not a directory")
    );
    assert!(failure(json!({"rebase": true, "merge": true})).starts_with("invalid push strategy"));
    assert_eq!(failure(json!({"tag": "nosuch"})), "params.tag: file \"nosuch\" does not exist");
    assert_eq!(
        failure(json!({"annotate": "nosuch"})),
        "params.annotate: file \"nosuch\" does not exist"
    );
    put.file("tag", "--delete");
    assert!(failure(json!({"tag": "tag"})).starts_with("params.tag: "));
    assert!(failure(json!({"branch": "--all"})).starts_with("params.branch: "));
    let request =
        json!({"source": {"uri": put.repository.uri()}, "params": {"repository": "repo"}});
    let ended = put.scripts.push("git", &put.artifacts(), &request);
    assert_eq!(ended.failure(), "source.branch or params.branch is required for a put");
}
