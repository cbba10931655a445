//! Schemas that the results of agents keep to.

use jb_model::Value;

/// Checks that a value can be the schema of a result: a JSON Schema of an object, whole in itself.
///
/// # Errors
/// What is wrong with it.
pub fn check(schema: &Value) -> Result<(), String> {
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err("the schema of a result has `type: object`".to_owned());
    }
    match jsonschema::validator_for(schema) {
        Ok(_) => Ok(()),
        Err(error) => {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
            Err(format!("this is no JSON Schema{place}: {error}"))
        }
    }
}
