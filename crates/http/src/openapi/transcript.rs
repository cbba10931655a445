//! The JSON Schema of the entries of transcripts.

use jb_model::Value;
use serde_json::json;

/// One entry of any type.
pub(super) fn entry() -> Value {
    let types = [of_harness(), of_people(), of_gateway(), of_server()].concat();
    json!({
        "description": "What happened in an agent step. Types and fields may be added.",
        "type": "object",
        "required": ["type", "time_us", "source", "origin", "agent"],
        "properties": {
            "type": text(),
            "time_us": {"type": "integer", "description": "Microseconds since the Unix epoch."},
            "source": {"enum": ["harness", "gateway", "server"]},
            "origin": {"type": "string", "description": "The step's id in the build's plan."},
            "agent": {"type": "string", "description": "The step's name."},
        },
        "oneOf": types,
    })
}

fn text() -> Value {
    json!({"type": "string"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn outcome() -> Value {
    json!({"enum": ["ok", "failed", "denied"]})
}

fn of_harness() -> Vec<Value> {
    let tool = [("id", text()), ("name", text())];
    let ending = json!({"enum": [
        "completed", "no_result", "budget_spent", "refused", "model_failed", "egress_not_enforced", "failed",
    ]});
    let reach = json!({"enum": ["gateway", "hosts", "full"]});
    let texts = json!({"type": "array", "items": text()});
    vec![
        one(
            "start",
            &[
                ("harness", text()),
                ("version", text()),
                ("model", text()),
                ("tools", texts.clone()),
            ],
            &[],
        ),
        one("network", &[("reach", reach)], &[("hosts", texts.clone()), ("listen", text())]),
        one("prompt", &[("text", text())], &[]),
        one("text", &[("text", text())], &[]),
        one("tool_call", &tool, &[("input", json!({}))]),
        one("tool_result", &tool, &[("outcome", outcome()), ("text", text()), ("bytes", count())]),
        one("compacted", &[("messages", count()), ("tokens", count()), ("summary", text())], &[]),
        one("retry", &[("reason", text()), ("after_ms", count())], &[]),
        one("result_refused", &[("errors", texts), ("attempt", count())], &[]),
        one("end", &[("ending", ending), ("message", text())], &[("result", json!({}))]),
    ]
}

fn of_gateway() -> Vec<Value> {
    let tokens = [
        ("input_tokens", count()),
        ("output_tokens", count()),
        ("cache_read_tokens", count()),
        ("cache_write_tokens", count()),
        ("cost_micros", count()),
    ];
    let limit_of = json!({"enum": ["turns", "tokens", "cost"]});
    let passed = json!({"enum": ["allowed", "denied", "failed"]});
    vec![
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
        one(
            "connection",
            &[
                ("host", text()),
                ("outcome", passed),
                ("sent_bytes", count()),
                ("received_bytes", count()),
                ("total_ms", count()),
            ],
            &[("reason", text()), ("address", text())],
        ),
        one(
            "mcp_call",
            &[
                ("server", text()),
                ("tool", text()),
                ("outcome", outcome()),
                ("transport", json!({"enum": ["tcp", "pipe"]})),
                ("total_ms", count()),
            ],
            &[("protocol", text())],
        ),
        one("budget_spent", &[("limit_of", limit_of), ("used", count()), ("limit", count())], &[]),
        one("spent", &tokens, &[("turns", count())]),
        one("replay_mismatch", &[("number", count()), ("difference", text())], &[]),
    ]
}

fn of_server() -> Vec<Value> {
    vec![
        one("server_text", &[("server", text()), ("text", text())], &[]),
        one("server_ended", &[("server", text()), ("message", text())], &[]),
    ]
}

/// About calls that wait for people; they are the harness's.
fn of_people() -> Vec<Value> {
    let asked = [("id", text()), ("call", text()), ("name", text())];
    let answered = [("id", text()), ("approved", json!({"type": "boolean"}))];
    vec![
        one("approval_asked", &asked, &[("input", json!({}))]),
        one("approval_answered", &answered, &[("by", text()), ("comment", text())]),
        one("suspended", &[("run", count()), ("needs", text()), ("digest", text())], &[]),
        one("suspend_failed", &[("reason", text())], &[]),
        one("resumed", &[("run", count())], &[]),
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
