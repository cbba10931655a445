//! Tools of MCP servers that are programs, which `jb-agent serve` starts.

use std::process::Stdio;

use jb_agent_protocol::transcript::{Ending, ToolOutcome};
use jb_agent_protocol::{Entry, mcp};
use jb_scripted_model::{MCP_PROGRAM, Reply, Script};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::mcp::results;
use crate::step::{Ran, Step};

const TOKEN: &str = "pg-t0ken";

/// A step with a server called `db`, as its container runs it.
struct Program {
    step: Step,
    served: Child,
    /// What the server's container says.
    said: JoinHandle<String>,
}

/// Starts whoever starts the server.
async fn program(script: Script, tools: &[&str], command: &[&str]) -> Program {
    with_revision(script, tools, command, "sessions").await
}

async fn with_revision(
    script: Script,
    tools: &[&str],
    command: &[&str],
    revision: &str,
) -> Program {
    let mut step = Step::new(script).await;
    let socket = step.dir.path().join("db.sock").to_str().unwrap().to_owned();
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let command = owned(command);
    step.spec.mcp = vec![mcp::Grant { server: "db".into(), tools: owned(tools) }];
    let way = mcp::Way::Program {
        socket: socket.clone(),
        command: command[0].clone(),
        sent: vec![TOKEN.to_owned()],
    };
    step.gateway.mcp = vec![mcp::Server { name: "db".into(), tools: owned(tools), way }];
    step.gateway.redact.push(TOKEN.to_owned());
    let mut served = Command::new(env!("CARGO_BIN_EXE_jb-agent"))
        .arg("serve")
        .env("TOKEN", TOKEN)
        .env("REVISION", revision)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let told = json!(mcp::ProgramSpec { name: "db".into(), socket, command });
    let mut stdin = served.stdin.take().unwrap();
    stdin.write_all(told.to_string().as_bytes()).await.unwrap();
    let mut stdout = served.stdout.take().unwrap();
    let said = tokio::spawn(async move {
        let mut said = String::new();
        stdout.read_to_string(&mut said).await.unwrap();
        said
    });
    Program { step, served, said }
}

/// Whoever waits for it is told by its end.
#[tokio::test]
async fn who_cannot_let_the_gateway_in_ends_at_once() {
    let missing = json!(mcp::ProgramSpec {
        name: "db".into(),
        socket: "/nowhere/at/all/db.sock".into(),
        command: vec!["sh".into()],
    });
    let mut served = Command::new(env!("CARGO_BIN_EXE_jb-agent"))
        .arg("serve")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = served.stdin.take().unwrap();
    stdin.write_all(missing.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let ended = served.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(mcp::NEVER_BEGAN));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("listen at /nowhere/at/all/db.sock"), "{said}");
}

/// The server of the tests.
fn scripted(way: &'static str) -> [&'static str; 5] {
    ["sh", "-c", MCP_PROGRAM, "mcp.sh", way]
}

impl Program {
    /// Runs the step to its end, and the server to its own. Also says what the server's container said.
    async fn run(&mut self) -> (Ran, Vec<Entry>) {
        let ran = self.step.run().await;
        (ran, self.said().await)
    }

    async fn said(&mut self) -> Vec<Entry> {
        let said = (&mut self.said).await.unwrap();
        assert!(self.served.wait().await.unwrap().success());
        let lines = said.lines().map(serde_json::from_str::<jb_agent_protocol::Line>);
        lines.map(|line| line.unwrap().entry).collect()
    }
}

fn query() -> Reply {
    Reply::tool("db__query", json!({"query": "users"}))
}

#[tokio::test]
async fn tools_of_a_program_are_called_in_both_revisions() {
    for revision in ["sessions", "stateless"] {
        let script =
            Script::of([query(), Reply::tool("db__drop", json!({})), Reply::text("Done.")]);
        let mut program = with_revision(script, &["query"], &scripted(""), revision).await;
        let (ran, said) = program.run().await;
        assert_eq!(ran.ending().0, Ending::Completed, "{:?}", ran.ending());
        let results = results(&ran);
        assert_eq!(results[0], (ToolOutcome::Ok, "rows of users"), "{revision}");
        assert_eq!(results[1].0, ToolOutcome::Denied);
        let [Entry::ServerText { server, text }] = &said[..] else { panic!("{said:?}") };
        assert!(server == "db" && text == "serving pg-t0ken", "{text}");
    }
}

#[tokio::test]
async fn what_a_program_was_started_with_is_masked_in_what_it_answers() {
    let script = Script::of([Reply::tool("db__whoami", json!({})), Reply::text("Done.")]);
    let mut program = program(script, &["whoami"], &scripted("")).await;
    let (ran, _) = program.run().await;
    assert_eq!(results(&ran), [(ToolOutcome::Ok, "you gave me ((redacted))")]);
    assert!(!std::fs::read_to_string(program.step.recording()).unwrap().contains(TOKEN));
}

#[tokio::test]
async fn a_program_that_is_not_as_it_should_be_ends_the_step_in_one_line() {
    let missing = ["pg-mcp"];
    let cases: [(&[&str], &str, &str); 6] = [
        (&missing, "query", "(pg-mcp) cannot be started: `pg-mcp`: No such file"),
        (&scripted("exit"), "query", "(sh) ended with status 3: there is no database"),
        (
            &scripted("garbage"),
            "query",
            "(sh) wrote to its stdout what is no message of MCP: listening on stdio",
        ),
        (&["true"], "query", "(true) ended with status 0"),
        (
            &scripted(""),
            "qurey",
            "has no tool `qurey`; it has: query, whoami, count, drop, die, hang, endless",
        ),
        (&scripted("silent"), "query", "(sh) did not answer within 1 s"),
    ];
    for (command, tool, expected) in cases {
        let mut program = program(Script::default(), &[tool], command).await;
        if command.last() == Some(&"silent") {
            program.step.gateway.idle_timeout_ms = 1000;
        }
        let asked = program.step.run().await.ending();
        assert_eq!(asked.0, Ending::Failed);
        let message = asked.1;
        assert!(message.starts_with("the MCP server `db` "), "{message}");
        assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        assert!(program.step.model().received().is_empty());
        // Whoever started it ends as well.
        program.said().await;
    }
}

#[tokio::test]
async fn calls_of_a_server_that_died_fail_and_the_agent_goes_on() {
    let die = || Reply::tool("db__die", json!({}));
    let script = Script::of([query(), die(), die(), Reply::text("Without it, then.")]);
    let mut program = program(script, &["query", "die"], &scripted("")).await;
    let (ran, said) = program.run().await;
    assert_eq!(ran.ending().0, Ending::Completed);
    let died = "the MCP server `db` (sh) ended with status 9: the disk is full";
    let again = format!("{died}; it is not started again");
    let failed = ToolOutcome::Failed;
    assert_eq!(
        results(&ran),
        [(ToolOutcome::Ok, "rows of users"), (failed, died), (failed, again.as_str())]
    );
    let ended = Entry::ServerEnded {
        server: "db".into(),
        message: "ended with status 9: the disk is full".into(),
    };
    assert_eq!(said.last(), Some(&ended));
}

#[tokio::test]
async fn an_answer_without_an_end_is_broken_off() {
    let script = Script::of([Reply::tool("db__endless", json!({})), Reply::text("Then not.")]);
    let mut program = program(script, &["endless"], &scripted("")).await;
    let (ran, _) = program.run().await;
    assert_eq!(ran.ending().0, Ending::Completed);
    let expected = "the MCP server `db` (sh) sent a message of more than 4194304 bytes";
    assert_eq!(results(&ran), [(ToolOutcome::Failed, expected)]);
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_the_server_serves_on() {
    let hang = Reply::tool("db__hang", json!({}));
    let script = Script::of([hang, query(), Reply::text("Done.")]);
    let mut program = program(script, &["query", "hang"], &scripted("")).await;
    program.step.gateway.idle_timeout_ms = 1000;
    let (ran, _) = program.run().await;
    let hung = "the MCP server `db` (sh) did not answer within 1 s";
    assert_eq!(results(&ran), [(ToolOutcome::Failed, hung), (ToolOutcome::Ok, "rows of users")]);
}

/// What a server left behind, in whatever session, goes with it.
#[tokio::test]
async fn nothing_of_a_server_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let leave = format!(
        "setsid sh -c 'setsid sleep 1000 & echo $! >{}; exec sleep 1000' & ",
        file.display()
    );
    let script = [&leave, "while [ ! -s ", file.to_str().unwrap(), " ]; do :; done; ", MCP_PROGRAM];
    let command = ["sh", "-c", &script.concat()];
    let mut program =
        program(Script::of([query(), Reply::text("Done.")]), &["query"], &command).await;
    let (ran, _) = program.run().await;
    assert_eq!(results(&ran), [(ToolOutcome::Ok, "rows of users")]);
    let pid = std::fs::read_to_string(&file).unwrap();
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
}

#[tokio::test]
async fn a_server_that_says_much_to_stderr_says_not_all_of_it() {
    let script = Script::of([query(), Reply::text("Done.")]);
    let mut program = program(script, &["query"], &scripted("loud")).await;
    let (ran, said) = program.run().await;
    assert_eq!(results(&ran), [(ToolOutcome::Ok, "rows of users")]);
    let texts = said.iter().map(|entry| match entry {
        Entry::ServerText { text, .. } => text.as_str(),
        other => panic!("{other:?}"),
    });
    let texts: Vec<&str> = texts.collect();
    assert_eq!(texts.last(), Some(&"… (what follows is not shown)"));
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    assert!((200 << 10..257 << 10).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_step_runs_again_without_its_programs() {
    let script = Script::of([query(), Reply::text("Done.")]);
    let mut program = program(script, &["query"], &scripted("")).await;
    let first = program.step.run().await;
    program.said().await;
    let mut again = crate::recording::again(&program.step);
    again.spec.mcp = program.step.spec.mcp.clone();
    again.gateway.mcp = program.step.gateway.mcp.clone();
    assert_eq!(again.run().await.transcript, first.transcript);
}
