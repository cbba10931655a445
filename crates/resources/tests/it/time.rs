use std::fs;

use serde_json::{Value, json};

use crate::script::Scripts;

#[test]
fn check_makes_a_version_when_one_is_due() {
    let scripts = Scripts::new();
    let versions = scripts.check("time", &json!({"source": {"interval": "1s"}})).json();
    assert_eq!(versions.as_array().unwrap().len(), 1);
    let old = json!({"time": "2020-01-01T00:00:00Z"});
    let both = scripts.check("time", &json!({"source": {"interval": "1h"}, "version": old})).json();
    assert_eq!(both[0], old);
    assert_eq!(both.as_array().unwrap().len(), 2);
    let never = json!({"source": {"start_after": "9999-01-01"}});
    assert_eq!(scripts.check("time", &never).json(), json!([]));
}

#[test]
fn in_writes_the_time_and_its_request() {
    let scripts = Scripts::new();
    let dest = scripts.path("get");
    let request =
        json!({"source": {"interval": "1h"}, "version": {"time": "2024-05-15T10:00:00.25Z"}});
    let got = scripts.fetch("time", &dest, &request).json();
    assert_eq!(got, json!({"version": {"time": "2024-05-15T10:00:00.25Z"}, "metadata": []}));
    let read = |name: &str| fs::read_to_string(dest.join(name)).unwrap();
    assert_eq!(read("timestamp"), "2024-05-15 10:00:00.25 +0000 UTC");
    assert_eq!(read("epoch"), "1715767200");
    assert_eq!(serde_json::from_str::<Value>(&read("input")).unwrap(), request);
}

#[test]
fn out_returns_the_current_time_of_the_location() {
    let scripts = Scripts::new();
    let request = json!({"source": {"location": "Asia/Kolkata"}});
    let put = scripts.push("time", scripts.dir.path(), &request).json();
    assert!(put["version"]["time"].as_str().unwrap().ends_with("+05:30"), "{put}");
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let scripts = Scripts::new();
    let failure = |source: Value| scripts.check("time", &json!({"source": source})).failure();
    assert_eq!(failure(json!({"start": "1:00"})), "must configure 'stop' if 'start' is set");
    assert_eq!(
        failure(json!({"location": "Moon/Sea"})).split(": failed").next().unwrap(),
        "source.location: unknown time zone \"Moon/Sea\""
    );
    let missing = Scripts::new().env("TZDIR", "/nonexistent");
    let ended = missing.check("time", &json!({"source": {"location": "UTC"}}));
    assert!(ended.succeeded, "{ended:?}");
    let old = scripts.check("time", &json!({"version": {"time": "yesterday"}})).failure();
    assert!(old.starts_with("version.time: \"yesterday\" is not a time"), "{old}");
}
