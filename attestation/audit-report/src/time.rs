//! Times in UTC as text, without a clock and without a time zone database.

use std::fmt;

/// Text that is not a date or a time in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeError;

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wanted YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ, between 1970 and 2261")
    }
}

impl std::error::Error for TimeError {}

const DAY_S: i64 = 86_400;

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that the leap day is the last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date that is so many days after 1970-01-01.
const fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

/// Nanoseconds since 1970 as `YYYY-MM-DDTHH:MM:SS.mmmZ`.
#[must_use]
pub fn utc(wall_ns: i64) -> String {
    let ms = wall_ns.div_euclid(1_000_000);
    let (seconds, ms) = (ms.div_euclid(1000), ms.rem_euclid(1000));
    let (year, month, day) = date(seconds.div_euclid(DAY_S));
    let of_day = seconds.rem_euclid(DAY_S);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Nanoseconds since 1970 of a date (its first moment) or a time to the second, both in UTC.
///
/// # Errors
/// [`TimeError`] for any other spelling, a date that the calendar does not have, and years before 1970 or after 2261.
pub fn parse_utc(text: &str) -> Result<i64, TimeError> {
    let (day, of_day) = match text.split_once('T') {
        None => (text, "00:00:00"),
        Some((day, rest)) => (day, rest.strip_suffix('Z').ok_or(TimeError)?),
    };
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(of_day, ':', [2, 2, 2])?;
    let at = days(year, month, day);
    let real = (1970..=2261).contains(&year)
        && (1..=12).contains(&month)
        && date(at) == (year, month, day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds = at * DAY_S + hour * 3600 + minute * 60 + second;
    if real { seconds.checked_mul(1_000_000_000).ok_or(TimeError) } else { Err(TimeError) }
}

fn numbers(text: &str, between: char, digits: [usize; 3]) -> Result<[i64; 3], TimeError> {
    let mut parts = text.split(between);
    let mut read = |wanted: usize| {
        let part = parts.next().filter(|part| part.len() == wanted).ok_or(TimeError)?;
        let plain = part.bytes().all(|c| c.is_ascii_digit());
        part.parse().ok().filter(|_| plain).ok_or(TimeError)
    };
    let [first, second, third] = digits;
    let all = [read(first)?, read(second)?, read(third)?];
    if parts.next().is_some() { Err(TimeError) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for text in
            ["1970-01-01T00:00:00Z", "2000-02-29T23:59:59Z", "2026-11-29T14:46:04Z", "2261-12-31T00:00:00Z"]
        {
            let at = parse_utc(text).unwrap();
            assert_eq!(utc(at), text.replace('Z', ".000Z"));
        }
        assert_eq!(parse_utc("1970-01-02"), Ok(86_400_000_000_000));
        assert_eq!(utc(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(utc(1_764_427_564_123_999_999), "2025-11-29T14:46:04.123Z");
    }

    #[test]
    fn every_day_of_a_calendar_is_the_one_after_the_other() {
        let mut last = date(-1);
        for day in 0..200_000 {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
            assert!((year, month, of_month) > last);
            last = (year, month, of_month);
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "2025-02-29",
            "2026-1-1",
            "2026-01-01T00:00:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "1969-12-31",
            "2262-01-01",
            "+026-01-01",
            "2026-01-01-01",
            "２０２６-01-01",
        ] {
            assert_eq!(parse_utc(text), Err(TimeError), "{text}");
        }
    }
}
