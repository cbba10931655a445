//! The two kinds of patterns over job names: those of groups and those of `passed`.

use regex::{Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Glob {
    regex: Regex,
}

/// How large a compiled pattern may get, in bytes.
const MAX_COMPILED: usize = 1 << 20;

impl Glob {
    /// A group's pattern: `*` and `**`, `?`, `[abc]`, `[!a-c]`, `{one,two}`, and `\` before a character meant literally.
    /// `None` when brackets do not close or hold nothing; braces may stay open.
    pub fn group(pattern: &str) -> Option<Self> {
        Glob::compile(&group_expression(pattern)?)
    }

    /// A pattern of `passed`, with the rules of Go's `path.Match`: `*` and `?` stop at `/`, `[^a-c]` negates. A malformed
    /// pattern matches nothing, so it is `None` too.
    pub fn passed(pattern: &str) -> Option<Self> {
        Glob::compile(&path_expression(pattern)?)
    }

    /// Whether a pattern is a plain name, which matches itself alone under both sets of rules.
    pub fn is_plain(pattern: &str) -> bool {
        !pattern.contains(['*', '?', '[', '{', '\\'])
    }

    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    fn compile(expression: &str) -> Option<Self> {
        let regex = RegexBuilder::new(&format!(r"\A(?s:{expression})\z"))
            .size_limit(MAX_COMPILED)
            .build()
            .ok()?;
        Some(Glob { regex })
    }
}

fn group_expression(pattern: &str) -> Option<String> {
    let mut expression = String::new();
    let mut chars = pattern.chars().peekable();
    let mut depth = 0_usize;
    while let Some(c) = chars.next() {
        match c {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            '\\' => expression.extend(chars.next().map(literal)),
            '[' => expression.push_str(&group_class(&mut chars)?),
            '{' => {
                depth += 1;
                expression.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                expression.push(')');
            }
            ',' if depth > 0 => expression.push('|'),
            other => expression.push_str(&literal(other)),
        }
    }
    expression.push_str(&")".repeat(depth));
    Some(expression)
}

/// The rest of a group's bracket after `[`: one range such as `a-c`, or else characters, among which `-` is nothing special.
fn group_class(chars: &mut Chars<'_>) -> Option<String> {
    let mut expression = String::from("[");
    if chars.next_if_eq(&'!').is_some() {
        expression.push('^');
    }
    let mut members = Vec::new();
    loop {
        match chars.next()? {
            ']' => break,
            '\\' => members.push(chars.next()?),
            other => members.push(other),
        }
    }
    match members[..] {
        [] => return None,
        [low, '-', high] if high < low => return None,
        [low, '-', high] => {
            expression.push_str(&format!("{}-{}", literal(low), literal(high)));
        }
        _ => expression.extend(members.into_iter().map(literal)),
    }
    expression.push(']');
    Some(expression)
}

fn path_expression(pattern: &str) -> Option<String> {
    let mut expression = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '\\' => expression.push_str(&literal(chars.next()?)),
            '[' => expression.push_str(&path_class(&mut chars)?),
            other => expression.push_str(&literal(other)),
        }
    }
    Some(expression)
}

/// The rest of a bracket of `path.Match` after `[`: characters and ranges, at least one.
fn path_class(chars: &mut Chars<'_>) -> Option<String> {
    let mut expression = String::from("[");
    if chars.next_if_eq(&'^').is_some() {
        expression.push('^');
    }
    let mut empty = true;
    while empty || chars.next_if_eq(&']').is_none() {
        let low = path_class_member(chars)?;
        expression.push_str(&literal(low));
        empty = false;
        if chars.next_if_eq(&'-').is_some() {
            let high = path_class_member(chars).filter(|high| *high >= low)?;
            expression.push('-');
            expression.push_str(&literal(high));
        }
    }
    expression.push(']');
    Some(expression)
}

fn path_class_member(chars: &mut Chars<'_>) -> Option<char> {
    match chars.next()? {
        ']' | '-' => None,
        '\\' => chars.next(),
        other => Some(other),
    }
}

fn literal(c: char) -> String {
    regex::escape(c.encode_utf8(&mut [0; 4]))
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

#[cfg(test)]
mod tests;
