//! The variables that tell instances of a pipeline apart, as they travel in queries.

use jb_model::Object;
use jb_pipeline::instance_vars::{from_query, to_query};

use crate::query::Query;

/// The vars of a query; the error tells what is malformed.
pub(crate) fn parse(query: &Query) -> Result<Object, String> {
    from_query(query.pairs())
        .map(Option::unwrap_or_default)
        .map_err(|error| format!("instance vars are malformed: {error}"))
}

/// The query that leads back to an instance: one pair per leaf, sorted and encoded; empty for none.
pub(crate) fn render(vars: &Object) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(to_query(vars)).finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn rendering_is_read_back() {
        let Value::Object(vars) = json!({"b": {"y.z": [1, 2]}, "a": "x y"}) else {
            unreachable!("an object")
        };
        let query = render(&vars);
        assert_eq!(query, "vars.a=%22x+y%22&vars.b.%22y.z%22=%5B1%2C2%5D");
        assert_eq!(parse(&Query::parse(&query)).unwrap(), vars);
        assert_eq!(render(&Object::new()), "");
    }

    #[test]
    fn malformed_vars_are_refused() {
        let error = parse(&Query::parse("vars.a=feat")).unwrap_err();
        assert!(error.starts_with("instance vars are malformed: "), "{error}");
    }
}
