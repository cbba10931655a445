//! The ways people write times of day, weekdays and dates in a source.

use anyhow::{Context as _, bail};
use jiff::civil::{Date, DateTime, Time, Weekday};

/// `3:04 PM`, `3PM`, `3 PM`, `15:04` or `1504`, each optionally followed by an offset such as ` -0700`, which is
/// taken off so that the result is in UTC.
pub(super) fn time_of_day(text: &str) -> anyhow::Result<Time> {
    let invalid = || format!("invalid time {text:?}: give one like 3:04 PM, 3PM, 15:04 or 1504");
    let (clock, offset) = match text.rsplit_once(' ') {
        Some((clock, offset)) if offset.starts_with(['+', '-']) => (clock, offset_minutes(offset)),
        _ => (text, Some(0)),
    };
    let minutes = clock_minutes(clock)
        .zip(offset)
        .map(|(clock, offset)| (clock - offset).rem_euclid(24 * 60));
    let minutes = minutes.with_context(invalid)?;
    Time::new((minutes / 60) as i8, (minutes % 60) as i8, 0, 0).with_context(invalid)
}

fn clock_minutes(clock: &str) -> Option<i32> {
    let upper = clock.to_ascii_uppercase();
    for (suffix, afternoon) in [("AM", 0), ("PM", 12)] {
        if let Some(rest) = upper.strip_suffix(suffix) {
            let rest = rest.strip_suffix(' ').unwrap_or(rest);
            let (hour, minute) = rest.split_once(':').unwrap_or((rest, "00"));
            let (hour, minute) = (number(hour, 1..=2, 12)?, number(minute, 2..=2, 59)?);
            return Some((hour % 12 + afternoon) * 60 + minute);
        }
    }
    let (hour, minute) = match clock.split_once(':') {
        Some(parts) => parts,
        None => clock.split_at_checked(clock.len().checked_sub(2)?)?,
    };
    Some(number(hour, 1..=2, 23)? * 60 + number(minute, 2..=2, 59)?)
}

fn offset_minutes(offset: &str) -> Option<i32> {
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = offset.get(1..)?.split_at_checked(2)?;
    Some(sign * (number(hours, 2..=2, 24)? * 60 + number(minutes, 2..=2, 59)?))
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>, most: i32) -> Option<i32> {
    if !digits.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| *number <= most)
}

/// `Monday` or `Mon`, in any case.
pub(super) fn weekday(text: &str) -> anyhow::Result<Weekday> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "sun" | "sunday" => Weekday::Sunday,
        "mon" | "monday" => Weekday::Monday,
        "tue" | "tuesday" => Weekday::Tuesday,
        "wed" | "wednesday" => Weekday::Wednesday,
        "thu" | "thursday" => Weekday::Thursday,
        "fri" | "friday" => Weekday::Friday,
        "sat" | "saturday" => Weekday::Saturday,
        _ => bail!("unknown weekday {text:?}"),
    })
}

/// `2006-01-02`, or that with ` 15:04:05` or `T15`, `T15:04`, `T15:04:05`.
pub(super) fn date_time(text: &str) -> anyhow::Result<DateTime> {
    let invalid =
        || format!("invalid date {text:?}: give one like 2006-01-02 or 2006-01-02T15:04:05");
    let (date, clock) = match text.split_once(['T', ' ']) {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let date = Date::strptime("%Y-%m-%d", date).with_context(invalid)?;
    let time = clock.map_or(Some(Time::midnight()), |clock| {
        let mut parts = clock.split(':').map(|part| number(part, 2..=2, 59));
        let (hour, minute, second) =
            (parts.next()??, parts.next().unwrap_or(Some(0))?, parts.next().unwrap_or(Some(0))?);
        if parts.next().is_some() {
            return None;
        }
        Time::new(hour as i8, minute as i8, second as i8, 0).ok()
    });
    Ok(date.to_datetime(time.with_context(invalid)?))
}

#[cfg(test)]
mod tests;
