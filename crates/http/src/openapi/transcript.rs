//! The JSON Schema of the entries of transcripts.

use jb_model::Value;
use serde_json::json;

/// One entry of any type.
pub(super) fn entry() -> Value {
    let text = || json!({"type": "string"});
    let count = || json!({"type": "integer", "minimum": 0});
    let tokens = [
        ("input_tokens", count()),
        ("output_tokens", count()),
        ("cache_read_tokens", count()),
        ("cache_write_tokens", count()),
        ("cost_micros", count()),
    ];
    let tool = [("id", text()), ("name", text())];
    let limit_of = json!({"enum": ["turns", "tokens", "cost"]});
    let outcome = json!({"enum": ["ok", "failed", "denied"]});
    let ending = json!({"enum": [
        "completed", "no_result", "budget_spent", "refused", "model_failed", "egress_not_enforced", "failed",
    ]});
    let tools = json!({"type": "array", "items": text()});
    let types = [
        one(
            "start",
            &[
                ("harness", text()),
                ("version", text()),
                ("model", text()),
                ("tools", tools.clone()),
            ],
            &[],
        ),
        one("prompt", &[("text", text())], &[]),
        one("text", &[("text", text())], &[]),
        one("tool_call", &tool, &[("input", json!({}))]),
        one("tool_result", &tool, &[("outcome", outcome), ("text", text()), ("bytes", count())]),
        one(
            "model_call",
            &tokens,
            &[
                ("number", count()),
                ("model", text()),
                ("provider", text()),
                ("response_id", text()),
                ("response_model", text()),
                ("finish_reason", text()),
                ("status", count()),
                ("first_byte_ms", count()),
                ("total_ms", count()),
                ("error", text()),
            ],
        ),
        one("compacted", &[("messages", count()), ("tokens", count()), ("summary", text())], &[]),
        one("retry", &[("reason", text()), ("after_ms", count())], &[]),
        one("budget_spent", &[("limit_of", limit_of), ("used", count()), ("limit", count())], &[]),
        one("spent", &tokens, &[("turns", count())]),
        one("replay_mismatch", &[("number", count()), ("difference", text())], &[]),
        one("result_refused", &[("errors", tools), ("attempt", count())], &[]),
        one("end", &[("ending", ending), ("message", text())], &[("result", json!({}))]),
    ];
    let types: Vec<Value> = types.into_iter().chain(about_people()).collect();
    json!({
        "description": "What happened in an agent step. Types and fields may be added.",
        "type": "object",
        "required": ["type", "time_us", "source", "origin", "agent"],
        "properties": {
            "type": text(),
            "time_us": {"type": "integer", "description": "Microseconds since the Unix epoch."},
            "source": {"enum": ["harness", "gateway"]},
            "origin": {"type": "string", "description": "The step's id in the build's plan."},
            "agent": {"type": "string", "description": "The step's name."},
        },
        "oneOf": types,
    })
}

/// Those about calls that wait for people.
fn about_people() -> [Value; 2] {
    let text = || json!({"type": "string"});
    let asked = [("id", text()), ("call", text()), ("name", text())];
    let answered = [("id", text()), ("approved", json!({"type": "boolean"}))];
    [
        one("approval_asked", &asked, &[("input", json!({}))]),
        one("approval_answered", &answered, &[("by", text()), ("comment", text())]),
    ]
}

/// The entries of one type.
fn one(name: &str, required: &[(&str, Value)], further: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).chain(["type"]).collect();
    let mut properties = jb_model::Object::new();
    for (name, schema) in required.iter().chain(further) {
        properties.insert((*name).to_owned(), schema.clone());
    }
    properties.insert("type".to_owned(), json!({"const": name}));
    json!({"properties": properties, "required": names})
}
