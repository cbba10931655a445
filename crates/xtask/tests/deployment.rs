//! What is in `deploy/`: the chart and the Kustomize base are sound and say the same, and what they say runs. Skipped
//! where helm and kustomize are missing, which `cargo xtask deploy tools` builds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

fn xtask(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("deploy").args(arguments).output().unwrap()
}

/// False, said aloud, where helm and kustomize were not built.
fn tools() -> bool {
    let output = xtask(&["helm", "version"]);
    let found = output.status.success() && xtask(&["kustomize", "version"]).status.success();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(found || std::env::var_os("JETBRIDGE_REQUIRE_HELM").is_none(), "{said}");
    if !found {
        eprintln!("skipped: {said}");
    }
    found
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn helm(command: &[&str], settings: &[&str]) -> Output {
    let chart = deploy("chart").display().to_string();
    let mut arguments = [&["helm"], command].concat();
    arguments.push(&chart);
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    xtask(&arguments)
}

fn try_template(settings: &[&str]) -> Output {
    helm(&["template", "jetbridge", "--namespace", "jetbridge", "--skip-tests"], settings)
}

/// Objects by kind, namespace and name.
type Objects = BTreeMap<String, Value>;

fn template(settings: &[&str]) -> Objects {
    objects(&text(&try_template(settings)))
}

fn objects(yaml: &str) -> Objects {
    let documents = yaml.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let values = documents.map(|text| jb_yaml::parse(text).unwrap().to_json());
    let values = values.filter(|value| !value.is_null());
    let named = values.map(|value| {
        let metadata = &value["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        let (kind, name) = (value["kind"].as_str().unwrap(), metadata["name"].as_str().unwrap());
        (format!("{kind} {namespace}/{name}"), value)
    });
    named.collect()
}

/// Without what Helm says of itself, and with variables in one order.
fn comparable(mut objects: Objects) -> Objects {
    for object in objects.values_mut() {
        let metadata = object["metadata"].as_object_mut().unwrap();
        if let Some(labels) = metadata.get_mut("labels") {
            let labels = labels.as_object_mut().unwrap();
            labels.retain(|name, _| {
                name != "helm.sh/chart" && name != "app.kubernetes.io/managed-by"
            });
        }
        if let Some(annotations) = metadata.get_mut("annotations") {
            let annotations = annotations.as_object_mut().unwrap();
            annotations.retain(|name, _| !name.starts_with("helm.sh/"));
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
        for container in containers(object) {
            if let Some(variables) = container.get_mut("env") {
                let variables = variables.as_array_mut().unwrap();
                variables.sort_by_key(|variable| variable["name"].to_string());
            }
        }
    }
    objects
}

/// All containers of an object's pods.
fn containers(object: &mut Value) -> Vec<&mut Value> {
    let Some(spec) = object.pointer_mut("/spec/template/spec") else { return Vec::new() };
    let spec = spec.as_object_mut().unwrap();
    let all =
        spec.iter_mut().filter(|(name, _)| *name == "containers" || *name == "initContainers");
    all.flat_map(|(_, list)| list.as_array_mut().unwrap()).collect()
}

/// What a server is told by variables.
fn variables(objects: &Objects) -> BTreeMap<String, Value> {
    let mut set = objects["StatefulSet jetbridge/jetbridge-web"].clone();
    let mut all = containers(&mut set);
    let web = all.iter_mut().find(|container| container["name"] == "web").unwrap();
    let variables = web["env"].as_array().unwrap().iter();
    let named = variables.map(|variable| {
        let value = variable.get("value").or_else(|| variable.get("valueFrom")).unwrap();
        (variable["name"].as_str().unwrap().to_owned(), value.clone())
    });
    named.collect()
}

#[test]
fn chart_and_kustomize_say_the_same() {
    if !tools() {
        return;
    }
    let local = deploy("chart/values-local.yaml").display().to_string();
    for (overlay, values) in [("base", None), ("overlays/local", Some(local.as_str()))] {
        let mut template =
            vec!["template", "jetbridge", "--namespace", "jetbridge", "--skip-tests"];
        template.extend(values.iter().flat_map(|file| ["--values", file]));
        let chart = comparable(objects(&text(&helm(&template, &[]))));
        let path = deploy("kustomize").join(overlay).display().to_string();
        let kustomize = comparable(objects(&text(&xtask(&["kustomize", "build", &path]))));
        for (name, object) in &chart {
            let other = kustomize.get(name).unwrap_or_else(|| panic!("{overlay} lacks {name}"));
            let pretty = |value| serde_json::to_string_pretty(value).unwrap();
            assert_eq!(pretty(object), pretty(other), "{name} of {overlay}");
        }
        assert!(chart.keys().eq(kustomize.keys()), "{overlay}: {:?}", kustomize.keys());
    }
}

#[test]
fn the_chart_is_without_complaint() {
    if !tools() {
        return;
    }
    text(&helm(&["lint", "--strict"], &[]));
    let local = deploy("chart/values-local.yaml").display().to_string();
    text(&helm(&["lint", "--strict", "--values", &local], &[]));
}

/// Every value has its entry in the schema, and no other is let through.
#[test]
fn the_schema_knows_every_value_and_no_more() {
    let read = |name: &str| std::fs::read_to_string(deploy("chart").join(name)).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let values = jb_yaml::parse(&read("values.yaml")).unwrap().to_json();
    check(&schema, &schema, &values, "values");
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let Some(map) = value.as_object() else { return };
    let Some(properties) = schema["properties"].as_object() else {
        // What goes into a pod as it is, such as an affinity.
        assert!(map.is_empty() || schema["additionalProperties"].is_object(), "{path} is open");
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{path} lets anything through");
    for (name, property) in properties {
        let described = property["description"].is_string() || property["$ref"].is_string();
        assert!(described, "{path}.{name} is not described");
        let shared = path == "values" && name == "global";
        assert!(shared || map.contains_key(name), "{path}.{name} has no default in values.yaml");
    }
    for (name, value) in map {
        let property = properties.get(name);
        let property = property.unwrap_or_else(|| panic!("{path}.{name} is not in the schema"));
        check(root, property, value, &format!("{path}.{name}"));
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    if !tools() {
        return;
    }
    for (setting, complaint) in [
        ("web.replica=2", "replica"),
        ("web.replicas=0", "replicas"),
        ("steps.podSecurity=none", "podSecurity"),
        ("steps.startupTimeout=soon", "startupTimeout"),
        ("steps.artifacts.size=much", "size"),
        ("steps.denyEgress={everything}", "denyEgress"),
        ("postgresql.enabled=false", "externalDatabase.host"),
        ("ingress.enabled=true", "ingress.host"),
        ("steps.objectStore.location=bucket", "location"),
        ("steps.places[0].name=far", "namespace"),
    ] {
        let output = try_template(&[setting]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{setting} is accepted");
        assert!(said.contains(complaint), "{setting}: {said}");
    }
}

#[test]
fn values_reach_the_server() {
    if !tools() {
        return;
    }
    let objects = template(&[
        "web.replicas=3",
        "web.mainTeamLocalUsers={a,b}",
        "images.prefix=registry.example.com/ci",
        "images.tag=v2",
        "images.runner=elsewhere.example.com/runner@sha256:0",
        "images.pullSecrets={one,two}",
        "ingress.enabled=true",
        "ingress.host=ci.example.com",
        "ingress.tlsSecret=certificate",
        "postgresql.enabled=false",
        "externalDatabase.host=db.example.com",
        "steps.namespace=elsewhere",
        "steps.createNamespace=false",
        "steps.podSecurity=privileged",
        "steps.artifacts.existingClaim=shared",
        "steps.caches.enabled=false",
        "steps.checkPods.max=7",
        "steps.denyEgress={10.0.0.0/8,fd00::/8}",
    ]);
    let variables = variables(&objects);
    let told = |name: &str| variables[&format!("JETBRIDGE_{name}")].as_str().unwrap().to_owned();
    assert_eq!(told("EXTERNAL_URL"), "https://ci.example.com");
    assert_eq!(told("MAIN_TEAM_LOCAL_USER"), "a,b");
    assert_eq!(told("POSTGRES_HOST"), "db.example.com");
    assert_eq!(told("POSTGRES_SSLMODE"), "require");
    assert_eq!(told("KUBERNETES_NAMESPACE"), "elsewhere");
    assert_eq!(told("KUBERNETES_POD_SECURITY"), "privileged");
    assert_eq!(told("KUBERNETES_CHECK_PODS"), "7");
    assert_eq!(told("KUBERNETES_DENY_EGRESS"), "10.0.0.0/8,fd00::/8");
    assert_eq!(told("KUBERNETES_ARTIFACT_STORE_CLAIM"), "shared");
    assert_eq!(told("KUBERNETES_RUNNER_IMAGE"), "elsewhere.example.com/runner@sha256:0");
    assert_eq!(told("KUBERNETES_TASK_IMAGE"), "registry.example.com/ci/jetbridge-task:v2");
    assert_eq!(told("KUBERNETES_IMAGE_PULL_SECRET"), "one,two");
    assert!(!variables.contains_key("JETBRIDGE_KUBERNETES_CACHE_PVC"));
    let kinds: Vec<&str> = objects.keys().map(|name| name.split(' ').next().unwrap()).collect();
    assert!(kinds.contains(&"Ingress") && kinds.contains(&"PodDisruptionBudget"), "{kinds:?}");
    assert!(!kinds.contains(&"Namespace") && !kinds.contains(&"PersistentVolumeClaim"));
    assert!(!objects.keys().any(|name| name.contains("postgresql")), "{:?}", objects.keys());
}

#[test]
fn artifacts_may_be_in_an_object_store() {
    if !tools() {
        return;
    }
    let objects = template(&[
        "steps.objectStore.location=s3://artifacts/ci",
        "steps.objectStore.endpoint=https://s3.example.com",
    ]);
    let variables = variables(&objects);
    assert_eq!(variables["JETBRIDGE_KUBERNETES_ARTIFACT_STORE"], "s3://artifacts/ci");
    assert_eq!(variables["JETBRIDGE_S3_ENDPOINT"], "https://s3.example.com");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        assert_eq!(variables[name]["secretKeyRef"]["name"], "jetbridge", "{name}");
    }
    assert!(!variables.contains_key("JETBRIDGE_KUBERNETES_ARTIFACT_STORE_CLAIM"));
    let claims = objects.keys().filter(|name| name.starts_with("PersistentVolumeClaim "));
    assert_eq!(
        claims.collect::<Vec<_>>(),
        [&"PersistentVolumeClaim jetbridge-steps/jetbridge-caches"]
    );
}

/// Each further namespace of steps has what the first has, and the server is told of it.
#[test]
fn steps_may_run_in_several_namespaces() {
    if !tools() {
        return;
    }
    let objects = template(&[
        "steps.places[0].namespace=gpu",
        "steps.places[0].tags={gpu,big}",
        "steps.places[1].namespace=theirs",
        "steps.places[1].name=own",
        "steps.places[1].teams={a}",
    ]);
    let told = &variables(&objects)["JETBRIDGE_KUBERNETES_PLACE"];
    assert_eq!(told, "namespace=gpu tag=gpu tag=big,namespace=theirs name=own team=a");
    let of = |namespace: &str| -> Vec<String> {
        let own = format!(" {namespace}/");
        let names = objects.keys().filter(|name| name.contains(&own));
        names.map(|name| name.replace(&own, " ")).collect()
    };
    assert!(of("gpu").len() >= 5, "{:?}", of("gpu"));
    assert_eq!(of("gpu"), of("jetbridge-steps"));
    assert_eq!(of("theirs"), of("gpu"));
    for namespace in ["jetbridge-steps", "gpu", "theirs"] {
        assert!(objects.contains_key(&format!("Namespace /{namespace}")), "{namespace}");
    }
}

#[test]
fn what_is_secret_is_only_named() {
    if !tools() {
        return;
    }
    let objects = template(&[]);
    assert!(!objects.keys().any(|name| name.starts_with("Secret")), "{:?}", objects.keys());
    let variables = variables(&objects);
    for name in ["POSTGRES_PASSWORD", "ENCRYPTION_KEY", "ADD_LOCAL_USER"] {
        let source = &variables[&format!("JETBRIDGE_{name}")];
        assert_eq!(source["secretKeyRef"]["name"], "jetbridge", "{name}");
    }
}

/// The server has no right in the whole cluster, and in the namespace of steps only those it uses.
#[test]
fn the_server_may_do_only_what_it_does() {
    if !tools() {
        return;
    }
    let objects = template(&[]);
    assert!(!objects.keys().any(|name| name.starts_with("Cluster")), "{:?}", objects.keys());
    let roles = objects.iter().filter(|(name, _)| name.starts_with("Role "));
    let rules: Vec<&Value> =
        roles.flat_map(|(_, role)| role["rules"].as_array().unwrap()).collect();
    let granted: BTreeMap<&str, &Value> =
        rules.iter().map(|rule| (rule["resources"][0].as_str().unwrap(), &rule["verbs"])).collect();
    let expected = [
        ("events", json!(["list", "watch"])),
        ("networkpolicies", json!(["list", "watch", "create", "patch"])),
        ("persistentvolumeclaims", json!(["get"])),
        ("pods", json!(["get", "list", "watch", "create", "delete"])),
        ("pods/exec", json!(["get", "create"])),
        ("pods/portforward", json!(["get", "create"])),
        ("secrets", json!(["create", "delete"])),
    ];
    assert!(granted.into_iter().eq(expected.iter().map(|(name, verbs)| (*name, verbs))));
}

/// Installs it on the cluster, runs a pipeline to green, and uninstalls it. Needs a cluster with the images.
#[test]
fn it_installs_runs_a_pipeline_and_leaves_nothing() {
    if !tools() {
        return;
    }
    if std::env::var_os("JETBRIDGE_CLUSTER_DIR").is_none() {
        eprintln!("skipped: JETBRIDGE_CLUSTER_DIR names no cluster");
        return;
    }
    let said = text(&xtask(&["trial", "--loaded"]));
    assert!(said.contains("demo/release #1 succeeded"), "{said}");
    assert!(said.contains("nothing is left"), "{said}");
}
