//! What was recorded has the shapes that `/openapi.json` promises.

use jb_authz::{Found, Method, find};
use jb_http::openapi_document;
use serde_json::Value;

#[test]
fn recorded_answers_fit_their_schemas() {
    let document = openapi_document();
    let folder = format!("{}/tests/recordings", env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "jsonl") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let exchange: Value = serde_json::from_str(line).unwrap();
            let Some((schema, body)) = schema_and_body(&document, &exchange) else { continue };
            let mut place = format!("{}: {}", path.display(), exchange["request"]["path"]);
            fits(&document, &schema, &body, &mut place);
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked}");
}

fn schema_and_body(document: &Value, exchange: &Value) -> Option<(Value, Value)> {
    let (request, response) = (&exchange["request"], &exchange["response"]);
    let method = match request["method"].as_str()? {
        "PUT" => Method::Put,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        _ => Method::Get,
    };
    let path = request["path"].as_str()?.split('?').next()?;
    let Found::Route(found) = find(method, path) else { return None };
    let operation =
        &document["paths"][found.route.path][found.route.method.as_str().to_lowercase()];
    let status = response["status"].to_string();
    let content = operation["responses"][status].get("content")?;
    let schema = content.get("application/json")?["schema"].clone();
    Some((schema, serde_json::from_str(response["body"].as_str()?).ok()?))
}

fn fits(document: &Value, schema: &Value, value: &Value, place: &mut String) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        return fits(document, &document["components"]["schemas"][name], value, place);
    }
    match (schema["type"].as_str().unwrap(), value) {
        ("string", Value::String(_))
        | ("integer", Value::Number(_))
        | ("boolean", Value::Bool(_)) => {}
        // Of a job that has no build.
        (_, Value::Null) if place.ends_with("_build") => {}
        ("array", Value::Array(list)) => {
            for entry in list {
                fits(document, &schema["items"], entry, place);
            }
        }
        ("object", Value::Object(object)) => {
            let Some(properties) = schema["properties"].as_object() else { return };
            for required in schema["required"].as_array().unwrap() {
                assert!(object.contains_key(required.as_str().unwrap()), "{place} {required}");
            }
            for (key, value) in object {
                let schema = properties.get(key).unwrap_or_else(|| panic!("{place}.{key}"));
                let length = place.len();
                *place += &format!(".{key}");
                fits(document, schema, value, place);
                place.truncate(length);
            }
        }
        (kind, value) => panic!("{place}: {value} is no {kind}"),
    }
}
