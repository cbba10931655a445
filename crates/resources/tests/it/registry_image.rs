//! Against a real registry.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::image::{docker_save, layout};
use crate::registry::Registry;
use crate::script::Scripts;

const CREATED: &str = "2024-01-01T00:00:00Z";

/// Pushes an image labelled `label` and returns the response.
fn push(scripts: &Scripts, source: &Value, label: &str, params: Value) -> Value {
    let artifacts = scripts.path("artifacts");
    fs::create_dir_all(artifacts.join("image")).unwrap();
    docker_save(&artifacts.join("image/image.tar"), label, CREATED);
    let mut whole = json!({"image": "image/*.tar"});
    whole.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
    scripts.push("registry-image", &artifacts, &json!({"source": source, "params": whole})).json()
}

fn check(scripts: &Scripts, source: &Value, from: Option<&Value>) -> Value {
    scripts.check("registry-image", &json!({"source": source, "version": from})).json()
}

fn with(source: &Value, more: Value) -> Value {
    let mut source = source.clone();
    source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    source
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_image_is_pushed_followed_by_tag_and_fetched() {
    let Some(registry) = Registry::start() else { return };
    let scripts = Scripts::new();
    let source = json!({"repository": registry.name("some/image"), "tag": "stable"});
    assert_eq!(check(&scripts, &source, None), json!([]));
    let pushed = push(&scripts, &source, "one", json!({}));
    let one = pushed["version"].clone();
    assert_eq!(one["tag"], "stable");
    assert_eq!(
        pushed["metadata"],
        json!([{"name": "repository", "value": registry.name("some/image")}, {"name": "tags", "value": "stable"}])
    );
    assert_eq!(check(&scripts, &source, None), json!([one]));
    assert_eq!(check(&scripts, &source, Some(&one)), json!([one]));
    let two = push(&scripts, &source, "two", json!({}))["version"].clone();
    assert_ne!(one["digest"], two["digest"]);
    assert_eq!(check(&scripts, &source, Some(&one)), json!([one, two]));

    let dest = scripts.path("get");
    let got =
        scripts.fetch("registry-image", &dest, &json!({"source": source, "version": one})).json();
    assert_eq!(got["version"], one);
    let metadata = json!([{"name": "repository", "value": source["repository"]}, {"name": "tag", "value": "stable"}]);
    assert_eq!(got["metadata"], metadata);
    let read = |name: &str| fs::read_to_string(dest.join(name)).unwrap();
    assert_eq!(read("tag"), "stable");
    assert_eq!(read("digest"), one["digest"].as_str().unwrap());
    assert_eq!(read("repository"), source["repository"].as_str().unwrap());
    assert_eq!(json_file(&dest.join("labels.json")), json!({"commit": "one", "other": "x"}));
    assert_eq!(
        json_file(&dest.join("metadata.json")),
        json!({"env": ["PATH=/bin", "A=1"], "user": "1000:1000", "entrypoint": ["/bin/sh"],
            "cmd": ["-c", "true"], "working_dir": "/work"})
    );
    assert_eq!(read("rootfs/added"), "upper");
    assert!(!dest.join("rootfs/removed").exists());
    assert_eq!(fs::read_link(dest.join("rootfs/bin/sh")).unwrap(), Path::new("busybox"));
    assert_eq!(fs::metadata(dest.join("rootfs/sealed")).unwrap().mode() & 0o7777, 0o555);
    assert_eq!(fs::metadata(dest.join("rootfs/sealed/file")).unwrap().mode() & 0o7777, 0o400);
    assert_eq!(fs::metadata(dest.join("rootfs/added")).unwrap().mtime(), 1_600_000_000);
    let mut names: Vec<_> =
        fs::read_dir(&dest).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["digest", "labels.json", "metadata.json", "repository", "rootfs", "tag"]);
}

#[test]
fn labels_and_annotations_become_metadata() {
    let Some(registry) = Registry::start() else { return };
    let scripts = Scripts::new();
    let source =
        json!({"repository": registry.name("image"), "tag": "x", "label_regex": "^commit$"});
    let version = push(&scripts, &source, "one", json!({}))["version"].clone();
    let request = json!({"source": source, "version": version, "params": {"skip_download": true}});
    let got = scripts.fetch("registry-image", &scripts.path("get"), &request).json();
    assert_eq!(got["metadata"][2], json!({"name": "commit", "value": "one"}));
    assert!(!scripts.path("get/rootfs").exists());
    assert!(scripts.path("get/digest").exists());
}

#[test]
fn semantic_versions_are_pushed_with_aliases_and_followed() {
    let Some(registry) = Registry::start() else { return };
    let scripts = Scripts::new();
    let source = json!({"repository": registry.name("app")});
    let bump = |version: &str| {
        let pushed =
            push(&scripts, &source, version, json!({"version": version, "bump_aliases": true}));
        (pushed["version"].clone(), pushed["metadata"][1]["value"].as_str().unwrap().to_owned())
    };
    let (first, tags) = bump("1.0.0");
    assert_eq!(tags, "1.0.0 latest 1 1.0");
    let (second, _) = bump("v1.1.0");
    assert_eq!(second["tag"], "1.1.0");
    let (third, _) = bump("2.0.0");
    let (patch, tags) = bump("1.0.1");
    assert_eq!(tags, "1.0.1 1.0");
    let (_, tags) = bump("3.0.0-rc.1");
    assert_eq!(tags, "3.0.0-rc.1");
    assert_eq!(check(&scripts, &source, None), json!([first, patch, second, third]));
    assert_eq!(check(&scripts, &source, Some(&second)), json!([second, third]));
    let constrained = with(&source, json!({"semver_constraint": "~1.0.1 || >1"}));
    assert_eq!(check(&scripts, &constrained, None), json!([patch, third]));
    let all = with(&source, json!({"pre_releases": true}));
    assert_eq!(check(&scripts, &all, None).as_array().unwrap().len(), 5);
    let by_pattern = with(&source, json!({"tag_regex": r"^1\.\d$", "created_at_sort": true}));
    assert_eq!(check(&scripts, &by_pattern, None).as_array().unwrap().len(), 2);
    let variant = with(&source, json!({"variant": "slim"}));
    let pushed =
        push(&scripts, &variant, "slim", json!({"version": "1.0.0", "bump_aliases": true}));
    assert_eq!(pushed["metadata"][1]["value"], "1.0.0-slim slim 1-slim 1.0-slim");
    assert_eq!(check(&scripts, &variant, None), json!([pushed["version"]]));
}

#[test]
fn additional_tags_come_from_a_file() {
    let Some(registry) = Registry::start() else { return };
    let scripts = Scripts::new();
    let source = json!({"repository": registry.name("app")});
    fs::create_dir_all(scripts.path("artifacts")).unwrap();
    fs::write(scripts.path("artifacts/tags"), "a\nb  c\n").unwrap();
    let pushed =
        push(&scripts, &source, "x", json!({"additional_tags": "tags", "tag_prefix": "t-"}));
    assert_eq!(pushed["version"]["tag"], "t-a");
    assert_eq!(pushed["metadata"][1]["value"], "t-a t-b t-c");
    let request = |params: Value| json!({"source": source, "params": params});
    let failure = |params: Value| {
        scripts.push("registry-image", &scripts.path("artifacts"), &request(params)).failure()
    };
    assert!(failure(json!({"image": "image/image.tar"})).starts_with("no tag specified"));
    assert_eq!(failure(json!({})), "params.image is required");
    assert!(failure(json!({"image": "nosuch", "version": "1.0.0"})).contains("no file matches"));
    assert!(
        failure(json!({"image": "tags", "version": "1.0.0"}))
            .starts_with("params.image: could not load")
    );
    assert!(
        failure(json!({"image": "image/image.tar", "version": "one"}))
            .starts_with("params.version: invalid")
    );
    assert!(
        failure(json!({"image": "image/image.tar", "additional_tags": "nosuch"}))
            .starts_with("params.additional_tags")
    );
    fs::write(scripts.path("artifacts/tags"), "not/a:tag").unwrap();
    assert!(
        failure(json!({"image": "image/image.tar", "additional_tags": "tags"}))
            .starts_with("cannot push tag")
    );
}

#[test]
fn an_index_keeps_its_digest_through_a_layout_and_is_fetched_by_platform() {
    let Some(registry) = Registry::start() else { return };
    let scripts = Scripts::new();
    let source = json!({"repository": registry.name("multi"), "tag": "x"});
    let artifacts = scripts.path("artifacts");
    let digest = layout(&artifacts.join("oci"));
    let request = json!({"source": source, "params": {"image": "oci"}});
    let version = scripts.push("registry-image", &artifacts, &request).json()["version"].clone();
    assert_eq!(version["digest"], digest);
    let files = |architecture: &str| -> Vec<bool> {
        let dest = scripts.path(architecture);
        let params = json!({"platform": {"architecture": architecture}});
        let source = with(&source, json!({"annotation_regex": "^com"}));
        let request = json!({"source": source, "version": version, "params": params});
        let got = scripts.fetch("registry-image", &dest, &request).json();
        assert_eq!(got["metadata"][2], json!({"name": "com.example.arch", "value": architecture}));
        ["intel", "arm"].iter().map(|name| dest.join("rootfs").join(name).exists()).collect()
    };
    assert_eq!(files("amd64"), [true, false]);
    assert_eq!(files("arm64"), [false, true]);
    let request = json!({"source": source, "version": version, "params": {"platform": {"architecture": "s390x"}}});
    let failure = scripts.fetch("registry-image", &scripts.path("none"), &request).failure();
    assert!(
        failure.contains("no image for linux/s390x")
            && failure.contains("linux/amd64, linux/arm64"),
        "{failure}"
    );

    // Mirrored to another repository by a get and a put, it is the same image.
    let copy = scripts.path("copy");
    let request = json!({"source": source, "version": version, "params": {"format": "oci-layout"}});
    scripts.fetch("registry-image", &copy.join("image"), &request).json();
    assert!(!copy.join("image/oci/single-image-digest").exists());
    let target = json!({"repository": registry.name("mirror/of/multi"), "tag": "y"});
    let request = json!({"source": target, "params": {"image": "image/oci"}});
    assert_eq!(scripts.push("registry-image", &copy, &request).json()["version"]["digest"], digest);
}

#[test]
fn a_single_image_keeps_its_digest_through_every_format() {
    let Some(registry) = Registry::start() else { return };
    let scripts = Scripts::new();
    let source = json!({"repository": registry.name("app"), "tag": "x"});
    let version = push(&scripts, &source, "one", json!({}))["version"].clone();
    for (format, path) in [("oci-layout", "oci"), ("oci", "image.tar")] {
        let dest = scripts.path(format);
        let request = json!({"source": source, "version": version, "params": {"format": format}});
        scripts.fetch("registry-image", &dest, &request).json();
        let target = json!({"repository": registry.name(&format!("copy/{format}")), "tag": "y"});
        let request = json!({"source": target, "params": {"image": path}});
        let pushed = scripts.push("registry-image", &dest, &request).json();
        assert_eq!(pushed["version"]["digest"], version["digest"], "{format}");
    }
    assert_eq!(json_file(&scripts.path("oci/labels.json"))["commit"], "one");
    let request = json!({"source": source, "version": version, "params": {"format": "zip"}});
    let failure = scripts.fetch("registry-image", &scripts.path("zip"), &request).failure();
    assert!(failure.starts_with("params.format: \"zip\" is none of"), "{failure}");
}

#[test]
fn other_tools_understand_the_images() {
    let Some(registry) = Registry::start() else { return };
    if !Path::new("/usr/bin/skopeo").exists() {
        eprintln!("SKIPPED: skopeo is not installed");
        return;
    }
    let scripts = Scripts::new();
    let source = json!({"repository": registry.name("app"), "tag": "x"});
    let version = push(&scripts, &source, "one", json!({}))["version"].clone();
    let request = json!({"source": source, "version": version, "params": {"format": "oci"}});
    scripts.fetch("registry-image", &scripts.path("get"), &request).json();
    let archive = format!("docker-archive:{}", scripts.path("get/image.tar").display());
    let remote = format!("docker://{}:x", registry.name("app"));
    for image in [archive.as_str(), remote.as_str()] {
        let output = std::process::Command::new("skopeo")
            .args(["inspect", "--tls-verify=false", image])
            .output()
            .unwrap();
        assert!(output.status.success(), "{image}: {}", String::from_utf8_lossy(&output.stderr));
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["Labels"]["commit"], "one");
    }
    // And the other way: a layout it makes, in a directory and in a tar.
    for kind in ["oci", "oci-archive"] {
        let made = scripts.path("made").join(kind);
        fs::create_dir_all(scripts.path("made")).unwrap();
        let target = format!("{kind}:{}:tagged", made.display());
        let output = std::process::Command::new("skopeo")
            .args(["copy", "--src-tls-verify=false", "--insecure-policy", &remote, &target])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let target = json!({"repository": registry.name("from-skopeo"), "tag": kind});
        let request = json!({"source": target, "params": {"image": format!("made/{kind}")}});
        let version =
            scripts.push("registry-image", scripts.dir.path(), &request).json()["version"].clone();
        let dest = scripts.path(&format!("get-{kind}"));
        let got =
            scripts.fetch("registry-image", &dest, &json!({"source": target, "version": version}));
        // An index of one image that names no platform stands for it.
        assert!(got.succeeded, "{}", got.stderr);
        assert_eq!(fs::read_to_string(dest.join("rootfs/added")).unwrap(), "upper");
    }
}

#[test]
fn a_login_is_needed_and_given() {
    let Some(registry) = Registry::start_with_login() else { return };
    let scripts = Scripts::new();
    let open = json!({"repository": registry.name("private"), "tag": "x"});
    let source = with(&open, json!({"username": "someone", "password": "s3cret"}));
    let version = push(&scripts, &source, "one", json!({}))["version"].clone();
    assert_eq!(check(&scripts, &source, None), json!([version]));
    let dest = scripts.path("get");
    scripts.fetch("registry-image", &dest, &json!({"source": source, "version": version})).json();
    for source in
        [open.clone(), with(&open, json!({"username": "someone", "password": "wrong-one"}))]
    {
        let ended = scripts.check("registry-image", &json!({"source": source}));
        assert!(ended.failure().contains("denied access"), "{ended:?}");
        assert!(!ended.stderr.contains("wrong-one"));
    }
}

#[test]
fn a_mirror_stands_in_for_the_default_registry_only() {
    let Some(mirror) = Registry::start() else { return };
    let scripts = Scripts::new();
    let direct = json!({"repository": mirror.name("library/busybox"), "tag": "x"});
    let version = push(&scripts, &direct, "mirrored", json!({}))["version"].clone();
    let source =
        json!({"repository": "busybox", "tag": "x", "registry_mirror": {"host": mirror.host()}});
    assert_eq!(check(&scripts, &source, None), json!([version]));
    let dest = scripts.path("get");
    scripts.fetch("registry-image", &dest, &json!({"source": source, "version": version})).json();
    assert_eq!(fs::read_to_string(dest.join("repository")).unwrap(), "busybox");
    assert_eq!(fs::read_to_string(dest.join("rootfs/added")).unwrap(), "upper");
    // Another registry is asked itself.
    let Some(other) = Registry::start() else { return };
    let source = json!({"repository": other.name("library/busybox"), "tag": "x",
        "registry_mirror": {"host": mirror.host()}});
    assert_eq!(check(&scripts, &source, None), json!([]));
}

#[test]
fn a_damaged_layer_is_not_unpacked() {
    let Some(registry) = Registry::start() else { return };
    let scripts = Scripts::new();
    let source = json!({"repository": registry.name("app"), "tag": "x"});
    let version = push(&scripts, &source, "one", json!({}))["version"].clone();
    let manifest = version["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let blob = |hex: &str| {
        registry.data().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    };
    let manifest = json_file(&blob(manifest));
    let layer = manifest["layers"][1]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let mut bytes = fs::read(blob(layer)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(blob(layer), bytes).unwrap();
    let ended = scripts.fetch(
        "registry-image",
        &scripts.path("get"),
        &json!({"source": source, "version": version}),
    );
    assert!(ended.failure().contains("its content has digest"), "{ended:?}");
    assert!(!scripts.path("get/digest").exists());
}

#[test]
fn a_missing_digest_or_registry_is_said() {
    let Some(registry) = Registry::start() else { return };
    let scripts = Scripts::new();
    let source = json!({"repository": registry.name("app"), "tag": "x"});
    let gone = format!("sha256:{}", "0".repeat(64));
    let request = json!({"source": source, "version": {"tag": "x", "digest": gone}});
    let failure = scripts.fetch("registry-image", &scripts.path("get"), &request).failure();
    assert!(failure.starts_with("download failed") && failure.ends_with("not found"), "{failure}");
    let request = json!({"source": source, "version": {"tag": "x", "digest": "sha256:../../etc"}});
    let failure = scripts.fetch("registry-image", &scripts.path("get"), &request).failure();
    assert!(failure.starts_with("version.digest: "), "{failure}");
    let failure = scripts
        .check("registry-image", &json!({"source": {"repository": registry.name("app")}}))
        .failure();
    assert!(failure.ends_with("not found"), "{failure}");
}
