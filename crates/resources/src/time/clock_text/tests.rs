#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn times_of_day_are_read_in_every_documented_form() {
    let read = |text: &str| time_of_day(text).unwrap().strftime("%H:%M").to_string();
    assert_eq!(read("8:05 PM"), "20:05");
    assert_eq!(read("12:00 AM"), "00:00");
    assert_eq!(read("12 PM"), "12:00");
    assert_eq!(read("3PM"), "15:00");
    assert_eq!(read("3 am"), "03:00");
    assert_eq!(read("15:04"), "15:04");
    assert_eq!(read("9:04"), "09:04");
    assert_eq!(read("1504"), "15:04");
    assert_eq!(read("904"), "09:04");
    assert_eq!(read("8:00 PM -0700"), "03:00");
    assert_eq!(read("1:00 +0230"), "22:30");
    for text in
        ["", "25:00", "12:60", "13PM", "noon", "1:2", "3:04 PM PST", "12345", "1504 -7", "PM"]
    {
        assert!(time_of_day(text).is_err(), "{text:?}");
    }
}

#[test]
fn dates_may_stop_at_any_precision() {
    let read = |text: &str| date_time(text).unwrap().to_string();
    assert_eq!(read("2023-10-01"), "2023-10-01T00:00:00");
    assert_eq!(read("2023-10-01T09"), "2023-10-01T09:00:00");
    assert_eq!(read("2023-10-01T09:30"), "2023-10-01T09:30:00");
    assert_eq!(read("2023-10-01 09:30:05"), "2023-10-01T09:30:05");
    for text in
        ["", "2023", "2023-13-01", "2023-10-01T24", "2023-10-01T9", "2023-10-01T09:30:05:01"]
    {
        assert!(date_time(text).is_err(), "{text:?}");
    }
}

#[test]
fn weekdays_are_names() {
    assert_eq!(weekday("MONDAY").unwrap(), Weekday::Monday);
    assert_eq!(weekday("sat").unwrap(), Weekday::Saturday);
    assert_eq!(weekday("someday").unwrap_err().to_string(), "unknown weekday \"someday\"");
}
