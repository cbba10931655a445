#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use jb_authz::ROUTES;
use jb_model::Value;

use super::document;

#[test]
fn every_route_is_documented() {
    let document = document();
    let mut ids = BTreeSet::new();
    for route in &ROUTES {
        let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        assert_eq!(operation["operationId"], route.action.name());
        assert!(!operation["responses"].as_object().unwrap().is_empty());
        assert!(ids.insert(route.action.name()));
    }
    for path in ["/healthz", "/readyz", "/sky/issuer/token", "/sky/login", "/sky/logout"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    found.insert(reference.clone());
                }
                object.values().for_each(|value| walk(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut references = BTreeSet::new();
    walk(&document, &mut references);
    let mut used = BTreeSet::new();
    for reference in &references {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
        used.insert(name);
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(used.contains(name.as_str()), "{name} is used nowhere");
    }
}
