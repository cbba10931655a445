//! When a new version is due: a pure decision over the schedule, the last version and the clock.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// What the source asks for; `start` equal to `stop` is the whole day.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) zone: TimeZone,
    pub(super) start: Time,
    pub(super) stop: Time,
    /// Without one, a version per day (and range) is made.
    pub(super) interval: Option<Duration>,
    /// Empty is every day.
    pub(super) days: Vec<Weekday>,
    /// No version before this local time.
    pub(super) start_after: Option<DateTime>,
}

impl Schedule {
    /// Whether a new version is due at `now` after the one made at `previous`.
    pub(super) fn due(&self, previous: Option<Timestamp>, now: &Zoned) -> bool {
        let local = now.with_time_zone(self.zone.clone());
        if !self.days.is_empty() && !self.days.contains(&local.weekday()) {
            return false;
        }
        if self
            .start_after
            .and_then(|after| self.instant(after))
            .is_some_and(|after| now.timestamp() <= after)
        {
            return false;
        }
        let Some((start, stop)) = self.latest_range(&local) else { return false };
        if now.timestamp() < start || now.timestamp() >= stop {
            return false;
        }
        match (previous, self.interval) {
            (None, _) => true,
            (Some(previous), Some(interval)) => {
                let elapsed = now.timestamp().as_nanosecond() - previous.as_nanosecond();
                elapsed >= i128::try_from(interval.as_nanos()).unwrap_or(i128::MAX)
            }
            (Some(previous), None) => previous < start,
        }
    }

    /// The last range of hours that began at or before `local`; it may have ended. Days are counted on the
    /// calendar, so a range keeps its wall-clock hours over a change of daylight saving time.
    fn latest_range(&self, local: &Zoned) -> Option<(Timestamp, Timestamp)> {
        let mut day: Date = local.date();
        let mut start = self.instant(day.to_datetime(self.start))?;
        if start > local.timestamp() {
            day = day.yesterday().ok()?;
            start = self.instant(day.to_datetime(self.start))?;
        }
        let mut stop = self.instant(day.to_datetime(self.stop))?;
        if stop <= start {
            stop = self.instant(day.tomorrow().ok()?.to_datetime(self.stop))?;
        }
        Some((start, stop))
    }

    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        self.zone.to_timestamp(local).ok()
    }
}

#[cfg(test)]
mod tests;
