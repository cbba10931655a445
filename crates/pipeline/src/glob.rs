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
    /// `None` when brackets or braces do not close.
    pub fn group(pattern: &str) -> Option<Self> {
        Glob::compile(&group_expression(pattern)?)
    }

    /// A pattern of `passed`, with the rules of Go's `path.Match`: `*` and `?` stop at `/`, `[^a-c]` negates. A malformed
    /// pattern matches nothing, so it is `None` too.
    pub fn passed(pattern: &str) -> Option<Self> {
        Glob::compile(&path_expression(pattern)?)
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
            '\\' => expression.push_str(&literal(chars.next()?)),
            '[' => expression.push_str(&class(&mut chars, '!', false)?),
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
    (depth == 0).then_some(expression)
}

fn path_expression(pattern: &str) -> Option<String> {
    let mut expression = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '\\' => expression.push_str(&literal(chars.next()?)),
            '[' => expression.push_str(&class(&mut chars, '^', true)?),
            other => expression.push_str(&literal(other)),
        }
    }
    Some(expression)
}

/// The rest of a bracket after `[`. It holds at least one character or range.
fn class(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    negation: char,
    escapes: bool,
) -> Option<String> {
    let mut expression = String::from("[");
    if chars.next_if_eq(&negation).is_some() {
        expression.push('^');
    }
    let mut empty = true;
    loop {
        let mut low = chars.next()?;
        if low == ']' && !empty {
            break;
        }
        if escapes && matches!(low, ']' | '-') {
            return None;
        }
        if low == '\\' {
            low = chars.next()?;
        }
        expression.push_str(&literal(low));
        empty = false;
        if chars.next_if_eq(&'-').is_some() {
            let mut high = chars.next()?;
            if high == '\\' {
                high = chars.next()?;
            } else if high == ']' {
                return None;
            }
            if high < low {
                return None;
            }
            expression.push('-');
            expression.push_str(&literal(high));
        }
    }
    expression.push(']');
    Some(expression)
}

fn literal(c: char) -> String {
    regex::escape(c.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests;
