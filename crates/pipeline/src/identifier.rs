//! What names may look like.

use std::sync::LazyLock;

use regex::Regex;

/// Why a name is no identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentifierProblem {
    /// An error everywhere. The text is the whole message.
    Empty(String),
    /// A warning nearly everywhere. The text is the whole message.
    Invalid(String),
}

#[expect(clippy::expect_used, reason = "the expression is constant")]
static LETTER_OR_DIGIT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\A[\p{Ll}\p{Lt}\p{Lm}\p{Lo}0-9]\z").expect("a valid expression"));

/// Checks a name: a lowercase (or caseless) letter or digit, then the same with `-`, `_` and `.`, not digits alone.
/// `context` is what stands before the name in messages; its last parts decide where vars are allowed in names.
pub fn check_identifier(name: &str, context: &[String]) -> Option<IdentifierProblem> {
    let place = context.concat();
    if name.is_empty() {
        let message = format!("{place}: identifier cannot be an empty string");
        return Some(IdentifierProblem::Empty(message));
    }
    if let [.., before, last] = context
        && before == ".across"
        && (last.contains("set_pipeline") || last.contains("task"))
    {
        return None;
    }
    let reason = problem(name)?;
    let message = format!("{place}: '{name}' is not a valid identifier: {reason}");
    Some(IdentifierProblem::Invalid(message))
}

fn problem(name: &str) -> Option<String> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some("cannot be just numbers".to_owned());
    }
    let mut chars = name.chars();
    if !chars.next().is_some_and(is_letter_or_digit) {
        return Some("must start with a lowercase letter or a number".to_owned());
    }
    chars
        .find(|&c| !is_letter_or_digit(c) && !matches!(c, '-' | '_' | '.'))
        .map(|c| format!("illegal character '{c}'"))
}

fn is_letter_or_digit(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    LETTER_OR_DIGIT.is_match(c.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests;
