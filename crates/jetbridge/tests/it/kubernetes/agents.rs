//! Agents in pods, against a scripted model.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use jb_scripted_model::{Script, ScriptedHost, ScriptedModel};
use serde_json::Value;

use super::Place;
use super::registry::Reached;
use crate::agent_approvals;
use crate::agent_networks;
use crate::agents::{self, ESCAPES, KEY};
use crate::harnesses::{self, HARNESSES, Harness};
use crate::server::until;

/// Where pods reach this machine.
fn host() -> Option<IpAddr> {
    let told = std::env::var("JETBRIDGE_CLUSTER_HOST").ok();
    if told.is_none() {
        eprintln!("SKIPPED: only a cluster of the tests' own is known to reach this machine");
    }
    told.map(|host| host.parse().unwrap())
}

/// A server whose agents may use the model.
async fn place(level: &str, dir: &Path, host: IpAddr, model: &ScriptedModel) -> Option<Place> {
    place_with(level, dir, host, model, &[]).await
}

async fn place_with(
    level: &str,
    dir: &Path,
    host: IpAddr,
    model: &ScriptedModel,
    flags: &[&str],
) -> Option<Place> {
    let url = model.url();
    let port = url.rsplit(':').next().unwrap();
    let file = agents::models(dir, &format!("http://{host}:{port}"));
    let flags = [&["--agent-models", &file], flags].concat();
    Place::with_env(level, &flags, &[("AGENT_TEST_KEY", KEY)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_tested_reviewed_and_pushed_by_pods() {
    let Some(host) = host() else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::script("change.model.yml")).await;
    let Some(place) = place("restricted", dir.path(), host, &model).await else { return };
    let api = place.login().await;
    agents::change(&api, dir.path(), host, &model, &agents::example("change.yml")).await;
    // Nothing that the cluster was told has the key.
    let told = place.cluster.kubectl(&["get", "pods,networkpolicies", "--output=yaml"]);
    assert!(told.contains("jetbridge.dev/link") && !told.contains(KEY), "{told}");
}

/// The answer reaches the harness in its pod by a stream that another server made.
#[tokio::test(flavor = "multi_thread")]
async fn calls_in_pods_wait_over_a_death_of_the_server() {
    let Some(host) = host() else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::parsed(agent_approvals::SCRIPT)).await;
    let Some(mut place) = place("restricted", dir.path(), host, &model).await else { return };
    let api = place.login().await;
    agent_approvals::two_calls_wait(api, async || {
        place.server.kill();
        place.server.start_again().await;
        place.login().await
    })
    .await;
    assert_eq!(model.received().len(), 2);
    place.is_empty().await;
}

/// While people take their time there is no pod that waits for them, and no policy of one; what was written is in the
/// cluster's artifacts.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_has_no_pods_while_people_take_their_time() {
    let Some(host) = host() else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::parsed(agent_approvals::PARKED_SCRIPT)).await;
    let Some(mut place) = place("restricted", dir.path(), host, &model).await else { return };
    agent_approvals::stop_at_once(dir.path());
    place.server.kill();
    place.server.start_again().await;
    let api = place.login().await;
    agent_approvals::nothing_runs(api, agent_approvals::PARKED, async || {
        until("its pods and their policies are gone", async || {
            let of_agents = "--selector=jetbridge.dev/kind in (agent,gateway,mcp)";
            let pods = place.cluster.kubectl(&["get", "pods", of_agents, "--output=name"]);
            let owners = "--output=jsonpath={.items[*].metadata.ownerReferences[*].name}";
            let policies = place.cluster.kubectl(&["get", "networkpolicies", owners]);
            (pods.trim().is_empty() && policies.trim().is_empty()).then_some(())
        })
        .await;
        place.server.kill();
        place.server.start_again().await;
        place.login().await
    })
    .await;
    assert_eq!(model.received().len(), 3);
    place.is_empty().await;
}

/// Nodes pull the harness's image as they do any, and its user in pods is not the root of any node.
async fn a_change_is_made_by(harness: &Harness) {
    let (Some(host), Some(images)) = (host(), harnesses::images()) else { return };
    let Some(reached) = Reached::start(false) else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::script("change.model.yml")).await;
    let Some(place) = place("restricted", dir.path(), host, &model).await else { return };
    let api = place.login().await;
    let pipeline = harnesses::pipeline(harness, &images, &reached.registry).await;
    agents::change(&api, dir.path(), host, &model, &pipeline).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_by_claude_code_in_pods() {
    a_change_is_made_by(&HARNESSES[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_by_codex_in_pods() {
    a_change_is_made_by(&HARNESSES[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_by_opencode_in_pods() {
    a_change_is_made_by(&HARNESSES[2]).await;
}

/// One pod more for the server that is a program, which the gateway's reaches.
#[tokio::test(flavor = "multi_thread")]
async fn tools_of_servers_are_called_from_pods() {
    let Some(host) = host() else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(crate::mcp::script()).await;
    let Some(place) = place("restricted", dir.path(), host, &model).await else { return };
    crate::mcp::ask_both(&place.login().await, &model, host).await;
    let told = place.cluster.kubectl(&["get", "pods,networkpolicies", "--output=yaml"]);
    assert!(told.contains("jetbridge.dev/kind: mcp") && !told.contains("black-box"), "{told}");
}

/// Its node pulls it with the login of its source, which the step's own image has none of.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_runs_in_an_image_of_its_own() {
    const SCRIPT: &str = r#"
rules:
- {times: 1, reply: {say: {tools: [{name: db__whoami, input: {}}]}}}
- {reply: {say: {text: I know it.}}}
"#;
    const PIPELINE: &str = r#"
jobs:
- name: ask
  plan:
  - agent: ask
    prompt: Look it up.
    config: {platform: linux}
    mcp:
    - name: db
      command: [sh, -c, 'TOKEN=$(cat /hello) exec /bin/db-mcp']
      tools: [whoami]
      image_resource: {type: registry-image, source: {repository: REGISTRY/db, tag: v1, insecure: true, username: someone, password: s3cret}}
"#;
    let (Some(host), Some(reached)) = (host(), Reached::start(true)) else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::parsed(SCRIPT)).await;
    let Some(place) = place("restricted", dir.path(), host, &model).await else { return };
    let layer = crate::mcp::server_layer("db-mcp").file("hello", "what only its image has\n");
    reached.push("db", layer).await;
    let api = place.login().await;
    api.set_pipeline("p", &PIPELINE.replace("REGISTRY", &reached.registry.host())).await;
    let log = api.succeeded(api.trigger("p", "ask").await).await;
    assert!(log.contains("you gave me what only its image has"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

/// Tries another server on the machine where the model is, the API server, metadata and names.
const OUTWARD: &str = r#"
rules:
- times: 1
  reply: {say: {tools: [{name: shell, input: {argv: [sh, -c, "for to in OTHER $KUBERNETES_SERVICE_HOST:443 10.96.0.1:443 169.254.169.254; do curl -s -o /dev/null -m 2 http://$to/ && echo reached $to; done; timeout 3 nslookup kubernetes.default.svc.cluster.local >/dev/null 2>&1 && echo resolved; ls /var/run/secrets 2>/dev/null; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c sk-; echo done"]}}]}}
- {reply: {say: {text: There is none.}}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_an_agent_reaches_its_gateway_alone() {
    let Some(host) = host() else { return };
    let dir = tempfile::tempdir().unwrap();
    let other = agents::model(Script { rules: Vec::new() }).await;
    let port = other.url().rsplit(':').next().unwrap().to_owned();
    let node = jb_yaml::parse(&OUTWARD.replace("OTHER", &format!("{host}:{port}"))).unwrap();
    let model = agents::model(serde_json::from_value(node.to_json()).unwrap()).await;
    let Some(place) = place("baseline", dir.path(), host, &model).await else { return };
    let api = place.login().await;
    api.set_pipeline("escape", ESCAPES).await;
    let build = api.trigger("escape", "escape").await;
    api.succeeded(build).await;
    let transcript = agents::transcript(&api, build).await;
    let result = transcript.iter().find(|entry| entry["type"] == "tool_result").unwrap();
    assert_eq!(result["text"].as_str().map(str::trim), Some("0\ndone"), "{result}");
    let spent: Vec<&Value> = transcript.iter().filter(|entry| entry["type"] == "spent").collect();
    assert_eq!(spent[0]["turns"], 2);
}

/// An agent that is in the middle of a turn until its pod goes.
const SLOW: &str = r#"
jobs:
- name: slow
  plan:
  - {agent: slow, prompt: Wait., config: {platform: linux}, tools: [{shell: ["sh -c *"]}]}
"#;

const WAIT: &str = r#"
rules:
- {reply: {say: {text: I wait., tools: [{name: shell, input: {argv: [sh, -c, "sleep 1000"]}}]}}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_or_gateway_that_is_evicted_in_mid_turn_ends_the_step_with_one_line() {
    let Some(host) = host() else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = agents::model(agents::parsed(WAIT)).await;
    let Some(place) = place("restricted", dir.path(), host, &model).await else { return };
    let api = place.login().await;
    api.set_pipeline("slow", SLOW).await;
    for kind in ["agent", "gateway"] {
        let build = api.trigger("slow", "slow").await;
        api.events_until(build, None, |said| said.contains("I wait.")).await;
        // The other pod of the build before may be kept for a look.
        place.cluster.evict(&format!("jetbridge.dev/kind={kind},jetbridge.dev/build-id={build}"));
        let (status, log) = api.ended(build).await;
        assert_eq!(status, "errored", "{kind}: {log}");
        let errors: Vec<Value> = crate::api::events_of(&api.stream(build).await)
            .iter()
            .filter(|event| event["event"] == "error")
            .map(|event| event["data"]["message"].clone())
            .collect();
        assert_eq!(errors.len(), 1, "{kind}: {errors:?}");
        let line = errors[0].as_str().unwrap();
        assert!(!line.contains('\n') && line.contains("evicted"), "{kind}: {line}");
    }
}

/// A service of the cluster that leads to a host outside of it.
fn mirror(namespace: &str, to: SocketAddr) -> String {
    let (address, port) = (to.ip(), to.port());
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: mirror, namespace: {namespace}}}\n\
         spec: {{ports: [{{name: https, port: 443, targetPort: {port}}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: mirror\n  namespace: {namespace}\n  \
         labels: {{kubernetes.io/service-name: mirror}}\naddressType: IPv4\nports: [{{name: https, port: {port}}}]\n\
         endpoints: [{{addresses: ['{address}']}}]\n"
    )
}

/// Reaches a host through the proxy, tries two that are not listed, and what there is without it.
const FETCHES: &str = r#"
rules:
- {times: 1, reply: {say: {tools: [{name: shell, input: {argv: [sh, -c, "
    try() { curl -sSk -m 20 \"$@\" 2>&1 || true; };
    try https://$MIRROR/;
    try https://evil.test/;
    try --connect-to evil.test:443:$MIRROR:443 https://evil.test/;
    try --noproxy '*' -m 3 https://$MIRROR/;
    try --noproxy '*' -m 3 http://OTHER/;
    echo done"]}}]}}}
- {reply: {say: {text: Done.}}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_an_agent_reaches_the_hosts_of_its_step_through_its_gateway() {
    let Some(host) = host() else { return };
    let dir = tempfile::tempdir().unwrap();
    let secure = ScriptedHost::start(SocketAddr::new(host, 0), false).await.unwrap();
    let other = agents::model(Script { rules: Vec::new() }).await;
    let port = other.url().rsplit(':').next().unwrap().to_owned();
    let script = FETCHES.replace("OTHER", &format!("{host}:{port}"));
    let model = agents::model(agents::parsed(&script)).await;
    let private = ["--agent-private-hosts", "*.svc.cluster.local=10.0.0.0/8"];
    let place = place_with("restricted", dir.path(), host, &model, &private).await;
    let Some(place) = place else { return };
    let namespace = place.cluster.namespace.as_str();
    place.cluster.apply(&mirror(namespace, secure.address()));
    let name = format!("mirror.{namespace}.svc.cluster.local");
    let pipeline = agent_networks::PIPELINE.replace("HOST", &name);
    let told = format!("outputs: [{{name: out}}], params: {{MIRROR: {name}}}");
    let api = place.login().await;
    api.set_pipeline("fetch", &pipeline.replace("outputs: [{name: out}]", &told)).await;
    let build = api.trigger("fetch", "fetch").await;
    api.succeeded(build).await;
    let transcript = agents::transcript(&api, build).await;
    let result = transcript.iter().find(|entry| entry["type"] == "tool_result").unwrap();
    let text = result["text"].as_str().unwrap();
    assert!(text.starts_with(&format!("this is {name}\n")), "{text}");
    assert_eq!(text.matches("response 403").count(), 1, "{text}");
    assert_eq!(text.matches("this is").count(), 1, "{text}");
    assert_eq!(secure.reached(), [name]);
    assert!(other.received().is_empty());
    let said = agent_networks::connections(&transcript);
    let outcomes: Vec<&str> = said.iter().map(|[outcome, ..]| outcome.as_str()).collect();
    assert_eq!(outcomes, ["allowed", "denied", "denied"], "{said:?}");
}

/// What tasks reach, an agent may; the API server stays closed to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_an_agent_may_have_the_network_of_tasks() {
    const LOOKS: &str = r#"
rules:
- {times: 1, reply: {say: {tools: [{name: shell, input: {argv: [sh, -c, "curl -sSk -m 20 https://OPEN/; curl -sk -m 2 https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version | grep -c major; nslookup kubernetes.default.svc.cluster.local >/dev/null && echo resolved"]}}]}}}
- {reply: {say: {text: Done.}}}
"#;
    let Some(host) = host() else { return };
    let dir = tempfile::tempdir().unwrap();
    let secure = ScriptedHost::start(SocketAddr::new(host, 0), false).await.unwrap();
    let script = LOOKS.replace("OPEN", &secure.address().to_string());
    let model = agents::model(agents::parsed(&script)).await;
    let Some(place) = place("restricted", dir.path(), host, &model).await else { return };
    let api = place.login().await;
    api.set_pipeline("escape", &ESCAPES.replace("    tools:", "    network: full\n    tools:"))
        .await;
    let build = api.trigger("escape", "escape").await;
    let log = api.succeeded(build).await;
    let transcript = agents::transcript(&api, build).await;
    let result = transcript.iter().find(|entry| entry["type"] == "tool_result").unwrap();
    assert_eq!(
        result["text"].as_str().map(str::trim),
        Some("this is nobody\n0\nresolved"),
        "{result}"
    );
    assert!(log.contains("its programs have the network of tasks"), "{log}");
}
