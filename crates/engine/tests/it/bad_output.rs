//! Resource scripts that print something else than they should, and files that are too large.

use std::sync::Arc;

use jb_model::BuildStatus;
use jb_runtime::fake::FakeRuntime;
use jb_runtime::fake::resource::{ResourceType, Script, mock};
use serde_json::json;

use crate::server::Server;

/// A type whose scripts print what the source says under their name: a text as it is, anything else as JSON.
fn talkative() -> ResourceType {
    let script = |name: &'static str, usual: serde_json::Value| -> Script {
        Arc::new(move |call| {
            let says = call.source(name).clone();
            call.prints = match says {
                serde_json::Value::Null => None,
                serde_json::Value::String(text) if text == "\\xff" => Some(vec![0xff, 0xfe]),
                serde_json::Value::String(text) => Some(text.into_bytes()),
                other => Some(other.to_string().into_bytes()),
            };
            Ok(usual.clone())
        })
    };
    let mut talkative = mock();
    talkative.base.name = "talkative".to_owned();
    talkative.check = script("check", json!([{"v": "1"}]));
    talkative.fetch = script("in", json!({"version": {"v": "1"}}));
    talkative.push = script("out", json!({"version": {"v": "2"}}));
    talkative
}

async fn server(yaml: &str) -> Server {
    let fake = FakeRuntime::with_types([mock(), talkative()]);
    let mut server = Server::stopped(fake, yaml).await;
    server.start(None);
    server
}

fn pipeline(script: &str, prints: &str) -> String {
    format!(
        "resources: [{{name: r, type: talkative, check_every: never, source: {{{script}: {prints}}}}}]\n\
         jobs:\n- {{name: get, plan: [{{get: r}}]}}\n- {{name: put, plan: [{{put: r}}]}}\n"
    )
}

#[tokio::test]
async fn a_check_that_prints_no_versions_errors_and_saves_none() {
    for (prints, said) in [
        ("oops", "expected value at line 1 column 1; it printed: oops"),
        ("'[{'", "EOF while parsing"),
        ("'\\xff'", "it printed: \u{fffd}\u{fffd}"),
        ("{v: '1'}", r#"it is {"v":"1"}"#),
        ("[[a]]", r#"["a"] is no map of strings"#),
        ("[{v: {deep: x}}]", "is no map of strings"),
        ("[{}]", "a version is empty"),
    ] {
        let server = server(&pipeline("check", prints)).await;
        let (build, status) = server.check("r").await;
        assert_eq!(status, BuildStatus::Errored, "{prints}");
        let errors = server.errors(build).await;
        assert_eq!(errors.len(), 1, "{prints}: {errors:?}");
        let whole = &errors[0];
        assert!(whole.starts_with("/opt/resource/check printed no list of versions: "), "{whole}");
        assert!(whole.contains(said), "{prints}: {whole}");
        let resource = server.resource("r").await;
        assert_eq!(server.store.versions_before(resource, None, 10).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_get_or_put_that_prints_no_version_errors() {
    for (job, script, prints, said) in [
        ("get", "in", "oops", "/opt/resource/in printed no valid JSON: "),
        ("get", "in", "''", "it printed: nothing"),
        (
            "get",
            "in",
            "{version: null}",
            "resource script '/opt/resource/in' output a null version",
        ),
        ("get", "in", "{version: {v: '1'}, metadata: x}", "printed metadata that is no list"),
        ("put", "out", "'{'", "/opt/resource/out printed no valid JSON: "),
        ("put", "out", "[]", "resource script '/opt/resource/out' output a null version"),
    ] {
        let server = server(&pipeline(script, prints)).await;
        let (build, status) = server.run(job).await;
        assert_eq!(status, BuildStatus::Errored, "{job} {prints}");
        let errors = server.errors(build).await;
        assert!(errors.len() == 1 && errors[0].contains(said), "{prints}: {errors:?}");
        assert_eq!(server.store.build_outputs(build).await.unwrap(), [], "nothing was made");
    }
}

#[tokio::test]
async fn a_task_file_that_is_too_large_is_named() {
    let long = "#".repeat((1 << 20) + 1);
    let yaml = format!(
        "resources: [{{name: r, type: mock, check_every: never, source: {{create_files: {{t.yml: '{long}'}}}}}}]\n\
         jobs: [{{name: j, plan: [{{get: r}}, {{task: t, file: r/t.yml}}]}}]\n"
    );
    let server = server(&yaml).await;
    let (build, status) = server.run("j").await;
    assert_eq!(status, BuildStatus::Errored);
    let errors = server.errors(build).await;
    assert!(errors[0].contains("t.yml") && errors[0].contains("1048576"), "{errors:?}");
}
