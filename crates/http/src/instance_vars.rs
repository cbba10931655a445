//! The variables that tell instances of a pipeline apart, as they travel in queries.

use jb_model::{Object, Value};

use crate::query::{Query, encode};

/// Reads `vars=<object>` and `vars.<path>=<value>`. Pairs are applied in the order of their keys, so a path
/// changes what the whole object set. The error tells which part is malformed.
pub(crate) fn parse(query: &Query) -> Result<Object, String> {
    let mut pairs: Vec<(&str, &str)> = query
        .pairs()
        .filter(|(key, _)| *key == "vars" || key.starts_with("vars."))
        .collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs.dedup_by_key(|(key, _)| *key);
    let mut vars = Object::new();
    for (key, value) in pairs {
        let malformed = |why: &dyn std::fmt::Display| format!("instance vars are malformed: {why}");
        let value: Value = serde_json::from_str(value).map_err(|error| malformed(&error))?;
        match key.strip_prefix("vars.") {
            None => match value {
                Value::Object(object) => vars.extend(object),
                Value::Null => {}
                _ => return Err(malformed(&"vars must be an object")),
            },
            Some(path) => {
                let path = segments(path).map_err(|error| malformed(&error))?;
                assign(&mut vars, &path, value);
            }
        }
    }
    Ok(vars)
}

/// Splits `a."b.c".d` into its segments.
fn segments(path: &str) -> Result<Vec<String>, String> {
    let mut segments = Vec::new();
    let mut rest = path;
    loop {
        let segment = if let Some(quoted) = rest.strip_prefix('"') {
            let (segment, after) =
                quoted.split_once('"').ok_or_else(|| format!("`{path}` has an open quote"))?;
            rest = after;
            segment
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let (segment, after) = rest.split_at(end);
            rest = after;
            segment
        };
        if segment.is_empty() {
            return Err(format!("`{path}` has an empty segment"));
        }
        segments.push(segment.to_owned());
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(segments),
            None => return Err(format!("`{path}` goes on after a quote")),
        }
    }
}

fn assign(into: &mut Object, path: &[String], value: Value) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() {
        into.insert(first.clone(), value);
        return;
    }
    let entry = into.entry(first.clone()).or_insert(Value::Null);
    if !entry.is_object() {
        *entry = Value::Object(Object::new());
    }
    if let Value::Object(object) = entry {
        assign(object, rest, value);
    }
}

/// The query that leads back to an instance: one pair per leaf, sorted; empty for none.
pub(crate) fn render(vars: &Object) -> String {
    let mut pairs = Vec::new();
    for (key, value) in vars {
        leaves(&format!("vars.{}", quoted(key)), value, &mut pairs);
    }
    pairs.sort();
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    pairs.join("&")
}

fn leaves(path: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, value) in object {
                leaves(&format!("{path}.{}", quoted(key)), value, pairs);
            }
        }
        _ => pairs.push((path.to_owned(), value.to_string())),
    }
}

fn quoted(segment: &str) -> String {
    if segment.contains(['.', ':', '/', ' ']) {
        format!("\"{segment}\"")
    } else {
        segment.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn read(query: &str) -> Result<Value, String> {
        parse(&Query::parse(query)).map(Value::Object)
    }

    #[test]
    fn leaves_and_whole_objects_are_merged_in_the_order_of_their_keys() {
        assert_eq!(read("vars.branch=%22feat%2Fone%22").unwrap(), json!({"branch": "feat/one"}));
        assert_eq!(
            read("vars.a.b=2&vars=%7B%22a%22%3A%7B%22b%22%3A1%2C%22c%22%3A3%7D%7D&other=x").unwrap(),
            json!({"a": {"b": 2, "c": 3}})
        );
        assert_eq!(read("vars.%22a.b%22.c=true").unwrap(), json!({"a.b": {"c": true}}));
        assert_eq!(read("variant=1").unwrap(), json!({}));
    }

    #[test]
    fn malformed_vars_are_refused() {
        for query in ["vars.a=feat", "vars=[]", "vars=1", "vars.=1", "vars.a..b=1", "vars.%22a=1"] {
            let error = read(query).unwrap_err();
            assert!(error.starts_with("instance vars are malformed: "), "{query}: {error}");
        }
    }

    #[test]
    fn rendering_is_read_back() {
        let vars = json!({"b": {"y.z": [1, 2], "e": {}}, "a": "x y"});
        let Value::Object(vars) = vars else { unreachable!("an object") };
        let query = render(&vars);
        assert_eq!(query, "vars.a=%22x+y%22&vars.b.%22y.z%22=%5B1%2C2%5D&vars.b.e=%7B%7D");
        assert_eq!(parse(&Query::parse(&query)).unwrap(), vars);
    }
}
