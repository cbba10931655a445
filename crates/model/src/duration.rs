//! Durations as Go writes them (`1h30m`, `1.5s`, `250ms`, `-2m`), which is how pipelines and plans spell time.

use std::time::Duration;

/// A signed number of nanoseconds, Go's duration; about 292 years either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration {
    pub nanoseconds: i64,
}

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration. The error is the text in Go's wording, e.g. `time: missing unit in duration "5"`.
pub fn parse_duration(text: &str) -> Result<GoDuration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(GoDuration::default());
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    // One more than i64::MAX is allowed when the sign makes it i64::MIN.
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let whole_length = digits(rest);
        let whole = &rest[..whole_length];
        rest = &rest[whole_length..];
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            let length = digits(after);
            fraction = &after[..length];
            rest = &after[length..];
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_length = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, after) = rest.split_at(unit_length);
        rest = after;
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some(&(_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let part = part_nanoseconds(whole, fraction, scale).ok_or_else(invalid)?;
        total = total.checked_add(part).filter(|sum| *sum <= 1 << 63).ok_or_else(invalid)?;
    }
    let nanoseconds = match (negative, i64::try_from(total)) {
        (false, Ok(value)) => value,
        (true, Ok(value)) => -value,
        (true, Err(_)) => i64::MIN,
        (false, Err(_)) => return Err(invalid()),
    };
    Ok(GoDuration { nanoseconds })
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn part_nanoseconds(whole: &str, fraction: &str, scale: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = whole.checked_mul(scale)?;
    // Eighteen digits are finer than any unit here can show.
    let shown = &fraction[..fraction.len().min(18)];
    if !shown.is_empty() {
        let numerator: u128 = shown.parse().ok()?;
        let denominator = 10_u128.checked_pow(u32::try_from(shown.len()).ok()?)?;
        let nanoseconds = numerator * u128::from(scale) / denominator;
        value = value.checked_add(u64::try_from(nanoseconds).ok()?)?;
    }
    Some(value)
}

impl GoDuration {
    /// The length of time, unless it is negative.
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.nanoseconds).ok().map(Duration::from_nanos)
    }

    /// From a length of time, at most Go's longest.
    pub fn from_std(duration: Duration) -> Self {
        GoDuration { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
    }
}

impl std::fmt::Display for GoDuration {
    /// Go's notation: `0s`, `1.5µs`, `10m0s`, `1h0m0.5s`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SECOND: u64 = 1_000_000_000;
        let value = self.nanoseconds.unsigned_abs();
        if self.nanoseconds < 0 {
            f.write_str("-")?;
        }
        match value {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{value}ns"),
            1_000..1_000_000 => write_decimal(f, value, 1_000, "µs"),
            1_000_000..SECOND => write_decimal(f, value, 1_000_000, "ms"),
            _ => {
                let seconds = value / SECOND;
                let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write_decimal(f, value % (60 * SECOND), SECOND, "s")
            }
        }
    }
}

fn write_decimal(
    f: &mut std::fmt::Formatter<'_>,
    value: u64,
    scale: u64,
    unit: &str,
) -> std::fmt::Result {
    write!(f, "{}", value / scale)?;
    let fraction = value % scale;
    if fraction > 0 {
        let width = scale.ilog10() as usize;
        let text = format!("{fraction:0width$}");
        write!(f, ".{}", text.trim_end_matches('0'))?;
    }
    f.write_str(unit)
}

/// Reads a length of time. Negative ones become zero: a time limit that has passed has passed.
///
/// # Errors
/// As [`parse_duration`].
pub fn parse(text: &str) -> Result<Duration, String> {
    parse_duration(text).map(|duration| duration.to_std().unwrap_or_default())
}

/// Writes a length of time as Go prints it: `1m30s`, `250ms`, `0s`.
pub fn format(duration: Duration) -> String {
    GoDuration::from_std(duration).to_string()
}

#[cfg(test)]
mod tests;
