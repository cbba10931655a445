//! Results and their schemas.

use serde_json::Value;

/// Errors of one result that are handed back; the first are enough to go on with.
const ERRORS_MAX: usize = 10;

/// A JSON Schema, ready to check with.
pub struct Schema {
    validator: jsonschema::Validator,
}

impl Schema {
    /// # Errors
    /// When it is no schema, or refers to something outside itself.
    pub fn new(schema: &Value) -> Result<Self, String> {
        let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
        Ok(Self { validator })
    }

    /// What is wrong with a result, and where.
    pub fn errors(&self, result: &Value) -> Vec<String> {
        let errors = self.validator.iter_errors(result).take(ERRORS_MAX);
        errors
            .map(|error| {
                let place = error.instance_path().to_string();
                let place = if place.is_empty() { "the result".to_owned() } else { place };
                format!("{place}: {}", crate::output::cut(&error.to_string(), 500))
            })
            .collect()
    }
}
