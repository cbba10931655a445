//! What changes between two configurations, as people read it in a build's log. Pure.

use jb_model::Value;

/// Sections in the order they are shown, and what one of their items is called.
const SECTIONS: [(&str, &str, &str); 6] = [
    ("groups", "groups", "group"),
    ("var_sources", "variable source", "variable source"),
    ("resources", "resources", "resource"),
    ("resource_types", "resource types", "resource type"),
    ("prototypes", "prototypes", "prototype"),
    ("jobs", "jobs", "job"),
];

const YELLOW: &str = "\u{1b}[0;33m";
const GREEN: &str = "\u{1b}[0;32m";
const RED: &str = "\u{1b}[0;31m";
const PLAIN: &str = "\u{1b}[0m";

/// Items with more lines than this are shown whole instead of compared line by line.
const COMPARED_LINES_MAX: usize = 2000;

/// The changes, or nothing when there are none.
pub(crate) fn render(before: &Value, after: &Value) -> String {
    let mut text = String::new();
    for (key, title, singular) in SECTIONS {
        let changes = section(items(before, key), items(after, key), singular);
        if !changes.is_empty() {
            text.push_str(&format!("{title}:\n{changes}"));
        }
    }
    let (old, new) = (&before["display"], &after["display"]);
    if old != new {
        text.push_str(&format!("display configuration has changed:\n{}", compare(old, new)));
    }
    text
}

fn items<'a>(config: &'a Value, key: &str) -> Vec<(&'a str, &'a Value)> {
    let list = config.get(key).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .map(|item| (item.get("name").and_then(Value::as_str).unwrap_or(""), item))
        .collect()
}

fn section(before: Vec<(&str, &Value)>, after: Vec<(&str, &Value)>, singular: &str) -> String {
    let mut text = String::new();
    let mut say = |name: &str, what: &str, lines: String| {
        text.push_str(&format!("  {YELLOW}{singular} {name} has {what}:{PLAIN}\n{lines}  \n"));
    };
    for (name, old) in &before {
        match after.iter().find(|(other, _)| other == name) {
            None => say(name, "been removed", compare(old, &Value::Null)),
            Some((_, new)) if old != new => say(name, "changed", compare(old, new)),
            Some(_) => {}
        }
    }
    for (name, new) in &after {
        if !before.iter().any(|(other, _)| other == name) {
            say(name, "been added", compare(&Value::Null, new));
        }
    }
    text
}

fn compare(before: &Value, after: &Value) -> String {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    if !before.is_null() {
        lines(before, 0, &mut old);
    }
    if !after.is_null() {
        lines(after, 0, &mut new);
    }
    let mut text = String::new();
    for (sign, line) in difference(&old, &new) {
        match sign {
            Sign::Same => text.push_str(&format!("  {line}\n")),
            Sign::Added => {
                text.push_str(&format!("  \u{8}\u{8}{GREEN}+{PLAIN} {GREEN}{line}{PLAIN}\n"));
            }
            Sign::Removed => {
                text.push_str(&format!("  \u{8}\u{8}{RED}-{PLAIN} {RED}{line}{PLAIN}\n"));
            }
        }
    }
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Same,
    Added,
    Removed,
}

/// The lines of both texts by a longest common subsequence, removals before additions.
fn difference<'a>(old: &'a [String], new: &'a [String]) -> Vec<(Sign, &'a str)> {
    let mut result = Vec::new();
    if old.len().max(new.len()) > COMPARED_LINES_MAX {
        result.extend(old.iter().map(|line| (Sign::Removed, line.as_str())));
        result.extend(new.iter().map(|line| (Sign::Added, line.as_str())));
        return result;
    }
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            result.push((Sign::Same, old[i].as_str()));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            result.push((Sign::Removed, old[i].as_str()));
            i += 1;
        } else {
            result.push((Sign::Added, new[j].as_str()));
            j += 1;
        }
    }
    result
}

/// A value as lines of block YAML.
fn lines(value: &Value, indent: usize, out: &mut Vec<String>) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, field) in fields {
                nested(
                    &format!("{pad}{}:", scalar(&Value::String(key.clone()))),
                    field,
                    indent,
                    out,
                );
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let at = out.len();
                lines(item, indent + 2, out);
                if let Some(first) = out.get_mut(at) {
                    first.replace_range(indent..indent + 2, "- ");
                }
            }
        }
        other => out.push(format!("{pad}{}", scalar(other))),
    }
}

fn nested(head: &str, value: &Value, indent: usize, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push(head.to_owned());
            lines(value, indent + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push(head.to_owned());
            lines(value, indent, out);
        }
        Value::String(text) if text.contains('\n') => {
            out.push(format!("{head} |"));
            let pad = " ".repeat(indent + 2);
            out.extend(text.lines().map(|line| format!("{pad}{line}")));
        }
        other => out.push(format!("{head} {}", scalar(other))),
    }
}

/// A scalar, quoted only when it would read as something else.
fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let plain = !text.is_empty()
        && text.trim() == text
        && !text.contains(['\n', '"', '\'', '#', '{', '}', '[', ']', ','])
        && !text.contains(": ")
        && !text.ends_with(':')
        && !text.starts_with(['&', '*', '!', '|', '>', '%', '@', '`', '-', '?'])
        && !matches!(
            text.to_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "~"
        )
        && text.parse::<f64>().is_err();
    if plain { text.clone() } else { value.to_string() }
}

#[cfg(test)]
mod tests;
