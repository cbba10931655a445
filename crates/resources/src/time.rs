//! `time`: a version per interval, within chosen hours and days.

mod clock_text;
mod schedule;

use std::path::Path;

use anyhow::{Context as _, bail};
use jb_model::script::Fields;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use serde_json::{Value, json};

use crate::invocation::Action;
use crate::log::Log;
use crate::payload::Payload;
use crate::time::schedule::Schedule;

pub(crate) fn run(action: &Action, payload: &Payload, log: &Log) -> anyhow::Result<Value> {
    let source = payload.source()?;
    log.ignored_keys(&source.unknown(SOURCE_KEYS));
    let (schedule, initial) = parse_source(&source)?;
    let now = Timestamp::now().to_zoned(schedule.zone.clone());
    let given = payload.version()?.string("time")?;
    match action {
        Action::Check => Ok(Value::Array(check(&schedule, initial, given.as_deref(), &now)?)),
        Action::In(dir) => fetch(payload, given.as_deref(), dir),
        Action::Out(_) => Ok(json!({"version": {"time": rfc3339(&now)}, "metadata": []})),
    }
}

const SOURCE_KEYS: &[&str] =
    &["initial_version", "interval", "start", "stop", "days", "location", "start_after"];

fn parse_source(source: &Fields<'_>) -> anyhow::Result<(Schedule, bool)> {
    let at = |key: &str| source.path_of(key);
    let parsed = |key: &str| -> anyhow::Result<Option<jiff::civil::Time>> {
        let text = source.string(key)?;
        text.map(|text| clock_text::time_of_day(&text)).transpose().with_context(|| at(key))
    };
    let (start, stop) = match (parsed("start")?, parsed("stop")?) {
        (Some(_), None) => bail!("must configure 'stop' if 'start' is set"),
        (None, Some(_)) => bail!("must configure 'start' if 'stop' is set"),
        (start, stop) => (start.unwrap_or_default(), stop.unwrap_or_default()),
    };
    let interval = source.string("interval")?;
    let interval = interval
        .map(|text| jb_model::duration::parse(&text).map_err(anyhow::Error::msg))
        .transpose()
        .with_context(|| at("interval"))?;
    let days =
        source.texts("days")?.iter().map(|day| clock_text::weekday(day)).collect::<Result<_, _>>();
    let start_after = source.string("start_after")?;
    let start_after = start_after.map(|text| clock_text::date_time(&text)).transpose();
    let schedule = Schedule {
        zone: zone(source.string("location")?.as_deref()).with_context(|| at("location"))?,
        start,
        stop,
        interval,
        days: days.with_context(|| at("days"))?,
        start_after: start_after.with_context(|| at("start_after"))?,
    };
    Ok((schedule, source.flag("initial_version", false)?))
}

fn zone(location: Option<&str>) -> anyhow::Result<TimeZone> {
    match location {
        None | Some("" | "UTC") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).with_context(|| {
            if jiff::tz::db().is_definitively_empty() {
                format!("cannot use {name:?}: no time zone database (install tzdata, or set TZDIR)")
            } else {
                format!("unknown time zone {name:?}")
            }
        }),
    }
}

/// The given version and, when due, a new one; oldest first.
fn check(
    schedule: &Schedule,
    initial: bool,
    given: Option<&str>,
    now: &Zoned,
) -> anyhow::Result<Vec<Value>> {
    let previous = given.map(parse_version).transpose()?.flatten();
    let mut versions = Vec::new();
    if let (Some(_), Some(text)) = (previous, given) {
        versions.push(json!({"time": text}));
    }
    if previous.is_none() && initial || schedule.due(previous, now) {
        versions.push(json!({"time": rfc3339(now)}));
    }
    Ok(versions)
}

/// None for the zero time, which stands for no version.
fn parse_version(text: &str) -> anyhow::Result<Option<Timestamp>> {
    let time: Timestamp = text.parse().with_context(|| {
        format!("version.time: {text:?} is not a time like 2006-01-02T15:04:05Z")
    })?;
    Ok(Some(time).filter(|_| !text.starts_with("0001-01-01T00:00:00")))
}

fn fetch(payload: &Payload, given: Option<&str>, dest: &Path) -> anyhow::Result<Value> {
    let previous = given.map(parse_version).transpose()?.flatten();
    let (text, time) = match (given, previous) {
        (Some(text), Some(_)) => (text.to_owned(), with_offset(text)?),
        _ => {
            let now = Timestamp::now().to_zoned(TimeZone::UTC);
            (rfc3339(&now), now)
        }
    };
    std::fs::create_dir_all(dest)
        .with_context(|| format!("failed to create {}", dest.display()))?;
    let write = |name: &str, content: String| {
        let path = dest.join(name);
        std::fs::write(&path, content)
            .with_context(|| format!("failed to write {}", path.display()))
    };
    write("input", format!("{}\n", payload.root))?;
    write("timestamp", long_form(&time))?;
    write("epoch", time.timestamp().as_second().to_string())?;
    Ok(json!({"version": {"time": text}, "metadata": []}))
}

/// The time in the offset it is written in.
fn with_offset(text: &str) -> anyhow::Result<Zoned> {
    let timestamp: Timestamp = text.parse().context("version.time")?;
    let pieces = jiff::fmt::temporal::Pieces::parse(text).context("version.time")?;
    let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
    Ok(timestamp.to_zoned(offset.to_time_zone()))
}

/// `2006-01-02T15:04:05.999999999Z`, with the offset in place of `Z` where it is not zero.
fn rfc3339(time: &Zoned) -> String {
    let seconds = time.strftime("%Y-%m-%dT%H:%M:%S%.f");
    if time.offset() == Offset::UTC {
        format!("{seconds}Z")
    } else {
        format!("{seconds}{}", time.strftime("%:z"))
    }
}

/// `2006-01-02 15:04:05.999999999 +0000 UTC`; a zone that is not UTC has no name here, only its offset twice.
fn long_form(time: &Zoned) -> String {
    let seconds = time.strftime("%Y-%m-%d %H:%M:%S%.f");
    let offset = time.strftime("%z");
    if time.offset() == Offset::UTC {
        format!("{seconds} +0000 UTC")
    } else {
        format!("{seconds} {offset} {offset}")
    }
}

#[cfg(test)]
mod tests;
