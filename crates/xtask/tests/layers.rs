//! Dependencies between crates point down only, as ARCHITECTURE.md lists the layers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::process::Command;

/// Lower layers first. A crate may use crates of lower layers, and of its own where `PEERS` says so.
const LAYERS: &[&[&str]] = &[
    &["jb-model", "jb-yaml", "jb-runner-protocol", "jb-agent-protocol", "jb-authz"],
    &["jb-pipeline", "jb-resolve"],
    &["jb-build"],
    &["jb-wire", "jb-metrics"],
    &["jb-runtime", "jb-archive"],
    &["jb-artifacts"],
    &[
        "jb-store",
        "jb-object-store",
        "jb-oci",
        "jb-runtime-local",
        "jb-runtime-kubernetes",
        "jb-git-http",
        "jb-scripted-model",
        "jb-test-object-store",
        "jb-test-postgres",
    ],
    &["jb-engine"],
    &["jb-http"],
    &["jetbridge", "jb-runner", "jb-resources", "jb-agent", "xtask"],
];

/// Adapters never depend on each other, but for these.
const PEERS: &[(&str, &str)] = &[
    ("jb-runtime-local", "jb-oci"),
    ("jb-runtime-kubernetes", "jb-oci"),
    ("jb-runtime-kubernetes", "jb-object-store"),
];

/// What the pure layers must not use.
const IMPURE: &[&str] = &["tokio", "sqlx", "axum", "reqwest", "rustix", "libc", "getrandom"];
const PURE: &[&str] = &[
    "jb-model",
    "jb-yaml",
    "jb-runner-protocol",
    "jb-agent-protocol",
    "jb-pipeline",
    "jb-resolve",
    "jb-authz",
    "jb-wire",
    "jb-build",
];

/// Heavy dependencies and their only homes.
const HOMES: &[(&str, &[&str])] = &[
    ("sqlx", &["jb-store"]),
    ("axum", &["jb-http", "jb-git-http", "jb-scripted-model", "jb-agent", "jetbridge"]),
    ("reqwest", &["jb-oci", "jb-object-store", "jb-agent", "jetbridge", "xtask"]),
    ("rusty-s3", &["jb-object-store"]),
    ("ureq", &["jb-artifacts"]),
    ("clap", &["jetbridge", "xtask"]),
    ("opentelemetry-otlp", &["jetbridge"]),
    ("prometheus", &["jb-metrics"]),
    ("kube", &["jb-runtime-kubernetes"]),
    ("k8s-openapi", &["jb-runtime-kubernetes"]),
];

/// Normal dependencies of each crate of the workspace.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
            (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[test]
fn dependencies_point_down() {
    let mut wrong = Vec::new();
    for (name, used) in dependencies() {
        let Some(own) = layer(&name) else {
            wrong.push(format!("{name} has no layer: add it to LAYERS and ARCHITECTURE.md"));
            continue;
        };
        for other in used {
            let Some(below) = layer(&other) else { continue };
            let peers = PEERS.contains(&(name.as_str(), other.as_str()));
            if below > own || (below == own && !peers) {
                wrong.push(format!("{name} uses {other}, which is not below it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_crates_do_no_io() {
    let all = dependencies();
    for name in PURE {
        let used = &all[*name];
        let impure: Vec<&String> =
            used.iter().filter(|other| IMPURE.contains(&other.as_str())).collect();
        assert!(impure.is_empty(), "{name} is pure and must not use {impure:?}");
    }
}

#[test]
fn heavy_dependencies_have_one_home() {
    for (name, used) in dependencies() {
        for (dependency, homes) in HOMES {
            assert!(
                !used.iter().any(|other| other == dependency) || homes.contains(&name.as_str()),
                "{name} must not use {dependency}; its home is {homes:?}"
            );
        }
    }
}
