//! Durations as Concourse writes them: `1h30m`, `250ms`, `1.5h`.

use std::time::Duration;

use anyhow::bail;

/// Parses a sequence of decimal numbers, each with a unit (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), or a bare `0`.
/// Negative durations are refused: nothing here can wait for one.
pub(crate) fn parse(text: &str) -> anyhow::Result<Duration> {
    if text == "0" || text == "+0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() || rest.starts_with('-') {
        bail!("invalid duration {text:?}: give one like 60s, 90m or 1h30m");
    }
    let mut total = 0_u128;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let Some(part) = unit_nanos(unit).and_then(|nanos| scaled(number, nanos)) else {
            bail!("invalid duration {text:?}: give one like 60s, 90m or 1h30m");
        };
        total = total.saturating_add(part);
        rest = after;
    }
    match u64::try_from(total) {
        Ok(nanos) => Ok(Duration::from_nanos(nanos)),
        Err(_) => {
            bail!("invalid duration {text:?}: it is longer than {} years", u64::MAX / NANOS_A_YEAR)
        }
    }
}

const NANOS_A_YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    })
}

/// `number * nanos`, where `number` is decimal digits with at most one point.
fn scaled(number: &str, nanos: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = &fraction[..fraction.len().min(18)];
    let fraction: u128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let scale = 10_u128.pow(digits.len() as u32);
    Some(whole * u128::from(nanos) + fraction * u128::from(nanos) / scale)
}

#[cfg(test)]
mod tests;
