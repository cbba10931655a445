//! What a plain scalar means.
//!
//! The rules are those of the YAML library behind Concourse: YAML 1.1 booleans and octals, YAML 1.2's `0o`, no base 60,
//! and underscores in numbers.

use serde_json::Number;

use crate::error::ErrorKind;
use crate::node::NodeKind;

/// The value of an unquoted, untagged scalar.
pub(crate) fn resolve(text: &str) -> Result<NodeKind, ErrorKind> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeKind::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            NodeKind::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            NodeKind::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => return Err(ErrorKind::NotFinite(text.to_owned())),
        _ => match number(text) {
            Some(number) => NodeKind::Number(number),
            None => NodeKind::String(text.to_owned()),
        },
    })
}

/// The value of a scalar with one of the tags of YAML's core schema (`str`, `int`, …), given without its prefix.
pub(crate) fn resolve_tagged(suffix: &str, text: &str) -> Result<NodeKind, ErrorKind> {
    let kind = match suffix {
        "str" | "timestamp" => return Ok(NodeKind::String(text.to_owned())),
        "null" | "bool" | "int" | "float" => resolve(text)?,
        _ => return Err(bad_tag(suffix, text)),
    };
    match (suffix, &kind) {
        ("null", NodeKind::Null) | ("bool", NodeKind::Bool(_)) | ("float", NodeKind::Number(_)) => {
            Ok(kind)
        }
        ("int", NodeKind::Number(number)) if !number.is_f64() => Ok(kind),
        _ => Err(bad_tag(suffix, text)),
    }
}

fn bad_tag(suffix: &str, text: &str) -> ErrorKind {
    ErrorKind::BadTag { tag: format!("!!{suffix}"), text: text.chars().take(40).collect() }
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if first == b'.' {
        return is_float(text).then(|| float(text)).flatten();
    }
    if !(first.is_ascii_digit() || first == b'+' || first == b'-') {
        return None;
    }
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| is_float(&plain).then(|| float(&plain)).flatten())
}

/// An integer in the notation of Go: `0x`, `0b`, `0o` and a leading zero choose the base.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // The parsers of the standard library would accept a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    if negative {
        i64::from_str_radix(&format!("-{digits}"), radix).ok().map(Number::from)
    } else if let Ok(small) = i64::from_str_radix(digits, radix) {
        Some(Number::from(small))
    } else if text.starts_with('+') {
        None
    } else {
        u64::from_str_radix(digits, radix).ok().map(Number::from)
    }
}

/// Whether the text is `[sign] digits [. digits] [e [sign] digits]` with digits on one side of the point at least.
fn is_float(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = digits(rest);
    rest = &rest[whole..];
    if let Some(after) = rest.strip_prefix('.') {
        let fraction = digits(after);
        if whole + fraction == 0 {
            return false;
        }
        rest = &after[fraction..];
    } else if whole == 0 {
        return false;
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exponent) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// A float, as an integer when it is one: `1.0` and `1e3` reach a pipeline as `1` and `1000`.
fn float(text: &str) -> Option<Number> {
    /// 2^53, up to which every integer is a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

/// How a number reads where the pipeline wants text (a name, a map key): integers as they are, floats in Go's shortest
/// single-precision form, so `1.50` is `1.5` and two million is `2e+06`.
pub fn float_text(number: &Number) -> String {
    let Some(value) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    #[expect(clippy::cast_possible_truncation, reason = "the notation is single precision")]
    let single = value as f32;
    let scientific = format!("{single:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(power) if (-4..6).contains(&power) => format!("{single}"),
        Ok(power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", power.abs())
        }
        Err(_) => scientific,
    }
}
