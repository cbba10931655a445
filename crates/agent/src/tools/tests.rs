#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::symlink;
use std::path::Path;

use jb_agent_protocol::Root;
use jb_agent_protocol::transcript::ToolOutcome::{Denied, Failed, Ok as Fine};

use super::*;

struct Step {
    dir: tempfile::TempDir,
    spec: LoopSpec,
}

/// A working directory with an input `in`, an output `out`, and a secret beside it.
fn step(tools: Vec<ToolGrant>) -> Step {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    for name in ["work/in/src", "work/out", "work/other"] {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    std::fs::write(dir.path().join("secret"), "key").unwrap();
    std::fs::write(work.join("in/src/lib.rs"), "fn one() {}\nfn two() {}\n").unwrap();
    let root = |name: &str, writable| Root {
        path: work.join(name).to_str().unwrap().to_owned(),
        untrusted: None,
        writable,
    };
    let spec = LoopSpec {
        api: Default::default(),
        name: "test".into(),
        model: "m".into(),
        prompt: String::new(),
        socket: String::new(),
        working_dir: work.to_str().unwrap().to_owned(),
        roots: vec![root("in", false), root("out", true)],
        tools,
        network: Default::default(),
        mcp: vec![],
        asked: Default::default(),
        suspension: None,
        result_schema: None,
        forbidden: vec![],
        retry_pause_ms: 1,
        context_tokens: 200_000,
    };
    Step { dir, spec }
}

fn everything() -> Vec<ToolGrant> {
    let programs = ["echo*", "cat *", "sh -c *", "tool*", "false", "sleep*", "pwd"];
    let shell = ToolGrant::Shell(programs.map(str::to_owned).into());
    vec![ToolGrant::Read, ToolGrant::Edit, ToolGrant::Write, ToolGrant::Search, shell]
}

impl Step {
    async fn call(&self, name: &str, input: Value) -> Called {
        Tools::new(&self.spec, Remote::default()).unwrap().call(name, &input).await
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        Path::new(&self.spec.working_dir).join(path)
    }
}

#[tokio::test]
async fn what_is_not_granted_does_not_exist() {
    let step = step(vec![ToolGrant::Read]);
    let tools = Tools::new(&step.spec, Remote::default()).unwrap();
    let names: Vec<_> = tools.definitions().iter().map(|tool| tool["name"].clone()).collect();
    assert_eq!(names, ["read"]);
    for name in ["write", "edit", "search", "shell", "bash", "Read", ""] {
        let called = step.call(name, json!({"path": "out/x", "content": "", "argv": ["id"]})).await;
        assert_eq!(called.outcome, Denied, "{name}");
    }
    assert!(!step.path("out/x").exists());
}

#[tokio::test]
async fn files_are_read_written_and_edited() {
    let step = step(everything());
    assert_eq!(step.call("read", json!({"path": "."})).await.text, "in/\nout/\n");
    assert_eq!(step.call("read", json!({"path": "in/src"})).await.text, "lib.rs\n");
    let part = step.call("read", json!({"path": "in/src/lib.rs", "line": 2, "lines": 1})).await;
    assert_eq!(part.text, "fn two() {}\n");
    let wrote = step.call("write", json!({"path": "out/a/b/c.txt", "content": "x x y"})).await;
    assert_eq!((wrote.outcome, wrote.text.as_str()), (Fine, "wrote 5 bytes to out/a/b/c.txt"));
    let edit =
        |old: &str, all: bool| json!({"path": "out/a/b/c.txt", "old": old, "new": "z", "all": all});
    assert_eq!(step.call("edit", edit("y", false)).await.outcome, Fine);
    let twice = step.call("edit", edit("x", false)).await;
    assert!(twice.outcome == Failed && twice.text.contains("2 times"), "{}", twice.text);
    assert_eq!(step.call("edit", edit("x", true)).await.outcome, Fine);
    assert_eq!(step.call("edit", edit("q", false)).await.outcome, Failed);
    assert_eq!(std::fs::read_to_string(step.path("out/a/b/c.txt")).unwrap(), "z z z");
}

#[tokio::test]
async fn no_path_leads_out_of_inputs_and_outputs() {
    let step = step(everything());
    symlink("/etc", step.path("out/etc")).unwrap();
    symlink("../../secret", step.path("out/link")).unwrap();
    symlink("/proc/self/root", step.path("out/root")).unwrap();
    symlink(step.path("in/src"), step.path("out/absolute")).unwrap();
    let secret = step.dir.path().join("secret");
    let paths = [
        "../secret",
        "out/../../secret",
        "out/link",
        "out/etc/passwd",
        "out/root/etc/passwd",
        "out/absolute/lib.rs",
        "other/file",
        "/etc/passwd",
        "/proc/self/environ",
        "inside",
        secret.to_str().unwrap(),
    ];
    for path in paths {
        let input = json!({"path": path, "content": "x", "old": "k", "new": "x"});
        for tool in ["read", "write", "edit", "search"] {
            let mut input = input.clone();
            input["pattern"] = json!(".");
            let called = step.call(tool, input).await;
            assert_eq!(called.outcome, Denied, "{tool} {path}: {}", called.text);
        }
    }
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "key");
    // Searching everything does not go through the links either.
    let found = step.call("search", json!({"pattern": "root|key|fn"})).await.text;
    assert_eq!(found, "in/src/lib.rs:1: fn one() {}\nin/src/lib.rs:2: fn two() {}\n");
}

#[tokio::test]
async fn inputs_are_not_written() {
    let step = step(everything());
    let write = json!({"path": "in/src/lib.rs", "content": "", "old": "one", "new": "1"});
    assert_eq!(step.call("write", write.clone()).await.outcome, Denied);
    assert_eq!(step.call("edit", write).await.outcome, Denied);
    assert!(std::fs::read_to_string(step.path("in/src/lib.rs")).unwrap().contains("one"));
}

#[tokio::test]
async fn pipes_and_devices_are_no_files() {
    let step = step(everything());
    let pipe = step.path("out/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let called = step.call("read", json!({"path": "out/pipe"})).await;
    assert_eq!((called.outcome, called.text.as_str()), (Failed, "out/pipe is no file"));
    assert_eq!(step.call("search", json!({"pattern": "x", "path": "out"})).await.outcome, Fine);
}

#[tokio::test]
async fn programs_run_by_their_arguments() {
    let step = step(everything());
    let echoed = step.call("shell", json!({"argv": ["echo", "$HOME;", "`id`", "a  b"]})).await;
    assert_eq!((echoed.outcome, echoed.text.as_str()), (Fine, "$HOME; `id` a  b\n"));
    let failed = step.call("shell", json!({"argv": ["false"]})).await;
    assert_eq!((failed.outcome, failed.text.as_str()), (Failed, "\n(exit status: 1)"));
    let dir = step.call("shell", json!({"argv": ["pwd"], "dir": "in/src"})).await;
    assert!(dir.text.ends_with("/work/in/src\n"), "{}", dir.text);
    for dir in ["..", "/", "/etc"] {
        let called = step.call("shell", json!({"argv": ["pwd"], "dir": dir})).await;
        assert_eq!(called.outcome, Denied, "{dir}");
    }
}

#[tokio::test]
async fn other_programs_are_denied() {
    let step = step(everything());
    let denied = [
        json!(["id"]),
        json!(["/bin/echo", "x"]),
        json!(["./echo", "x"]),
        json!(["echo;id"]),
        json!(["env", "echo"]),
        json!(["sh"]),
        json!(["sh", "-x", "-c", "id"]),
        json!(["false", "x"]),
    ];
    for argv in denied {
        assert_eq!(step.call("shell", json!({"argv": argv})).await.outcome, Denied, "{argv}");
    }
    for argv in [json!("echo x"), json!([]), json!(["echo", 1]), json!(["echo", "\0"]), Value::Null]
    {
        assert_eq!(step.call("shell", json!({"argv": argv})).await.outcome, Failed, "{argv}");
    }
}

#[tokio::test]
async fn a_program_of_the_agents_own_is_not_taken_for_a_granted_one() {
    let step = step(everything());
    for (dir, file) in [("out", "out/tool"), ("other", "other/tool")] {
        std::fs::write(step.path(file), "#!/bin/sh\necho mine\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(step.path(file), mode).unwrap();
        assert!(is_left_out(&step, dir));
    }
    // Through a link, too.
    symlink(step.path("out"), step.dir.path().join("bin")).unwrap();
    assert!(is_left_out(&step, "../bin"));
    let called = step.call("shell", json!({"argv": ["tool"], "dir": "out"})).await;
    assert_eq!(called.outcome, Failed, "{}", called.text);
}

/// Whether a directory is left out of the search for programs.
fn is_left_out(step: &Step, dir: &str) -> bool {
    let dir = std::fs::canonicalize(step.path(dir)).unwrap();
    roots::is_within(dir.to_str().unwrap(), &step.spec)
}

#[tokio::test]
async fn much_output_is_cut_in_its_middle() {
    let step = step(everything());
    let script = "yes 0123456789 | head -c 10000000; echo the end";
    let called = step.call("shell", json!({"argv": ["sh", "-c", script]})).await;
    assert_eq!(called.outcome, Fine);
    assert!(called.text.len() < ANSWER_BYTES_MAX, "{}", called.text.len());
    assert!(called.text.starts_with("0123456789\n") && called.text.ends_with("the end\n"));
    assert!(called.text.contains("bytes left out"));
}

#[tokio::test]
async fn a_program_is_ended_with_all_it_started() {
    let step = step(everything());
    // The child holds the output open, and would for an hour.
    let script = "sleep 3600 & echo $! > out/pid; echo started";
    let called = step.call("shell", json!({"argv": ["sh", "-c", script]})).await;
    assert_eq!((called.outcome, called.text.as_str()), (Fine, "started\n"));
    let pid = std::fs::read_to_string(step.path("out/pid")).unwrap();
    // Ends only when it does: whoever adopted it has to notice that it was killed.
    while std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.contains(") Z "))
    {
        tokio::task::yield_now().await;
    }
    let slow = json!({"argv": ["sleep", "3600"], "timeout_seconds": 1});
    let called = step.call("shell", slow).await;
    assert!(called.outcome == Failed && called.text.contains("took too long"), "{}", called.text);
}
