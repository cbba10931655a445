//! Durations as Go writes them (`1h30m`, `1.5s`, `300ms`), which is how pipelines and plans spell time.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDuration(pub String);

impl std::fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid duration {:?}, want a number with a unit, such as 1h30m or 45s", self.0)
    }
}

impl std::error::Error for InvalidDuration {}

/// Reads a Go duration. Negative ones become zero: a time limit that has passed has passed.
///
/// # Errors
/// When the text is empty, has no unit, an unknown unit, or does not fit 64-bit nanoseconds.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (part, after) = component(rest).ok_or_else(invalid)?;
        nanos = nanos.saturating_add(part);
        rest = after;
    }
    let nanos = u64::try_from(nanos).ok().filter(|n| i64::try_from(*n).is_ok());
    let nanos = nanos.ok_or_else(invalid)?;
    Ok(if negative { Duration::ZERO } else { Duration::from_nanos(nanos) })
}

/// One `number unit` at the head of the text, in nanoseconds, and what follows it.
fn component(text: &str) -> Option<(u128, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    // 19 digits are more than any duration needs; longer ones would overflow the sums below.
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 {
        return None;
    }
    let unit_len = rest.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
    let (unit, rest) = rest.split_at(unit_len);
    let scale: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let mut nanos = if whole.is_empty() { 0 } else { whole.parse::<u128>().ok()? * scale };
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        nanos += u128::from(digit - b'0') * place;
    }
    Some((nanos, rest))
}

/// Writes a duration as Go prints it: `1m30s`, `250ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    for (below, scale, unit) in
        [(1_000, 1, "ns"), (1_000_000, 1_000, "µs"), (1_000_000_000, 1_000_000, "ms")]
    {
        if nanos < below {
            return format!("{}{unit}", decimal(nanos, scale));
        }
    }
    let minute: u128 = 60_000_000_000;
    let (minutes, rest) = (nanos / minute, nanos % minute);
    let seconds = decimal(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / scale` with as many decimals as it needs.
fn decimal(value: u128, scale: u128) -> String {
    let (whole, mut rest) = (value / scale, value % scale);
    let mut text = whole.to_string();
    let mut place = scale / 10;
    if rest > 0 {
        text.push('.');
    }
    while rest > 0 && place > 0 {
        text.push(char::from(b'0' + u8::try_from(rest / place).unwrap_or(0)));
        rest %= place;
        place /= 10;
    }
    text
}

#[cfg(test)]
mod tests;
