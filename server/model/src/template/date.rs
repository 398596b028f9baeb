//! A date as text, as Python's `strftime` writes it in the C locale. The time is UTC: a guest has no other.

use minijinja::{Error, ErrorKind};
use std::fmt::Write as _;

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const SECONDS_OF_DAY: u64 = 86_400;

/// A second of the calendar.
struct Date {
    year: u64,
    /// From one on.
    month: u64,
    /// From one on.
    day: u64,
    /// From one on.
    day_of_year: u64,
    /// Monday is zero.
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Date {
    /// The date of a second since 1970. Later ones than the year 9999 are its last.
    fn at(seconds: u64) -> Self {
        let (mut days, second) = ((seconds / SECONDS_OF_DAY).min(2_932_896), seconds % SECONDS_OF_DAY);
        // 1970 began with a Thursday.
        let weekday = (days + 3) % 7;
        let mut year = 1970;
        while days >= 365 + u64::from(is_leap(year)) {
            days -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let (day_of_year, mut month) = (days + 1, 1);
        while days >= days_of_month(year, month) {
            days -= days_of_month(year, month);
            month += 1;
        }
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        Self { year, month, day: days + 1, day_of_year, weekday, hour, minute, second }
    }

    fn weekday(&self) -> &'static str {
        usize::try_from(self.weekday).ok().and_then(|at| DAYS.get(at)).copied().unwrap_or_default()
    }

    fn month(&self) -> &'static str {
        usize::try_from(self.month - 1).ok().and_then(|at| MONTHS.get(at)).copied().unwrap_or_default()
    }
}

/// The second `seconds` since 1970 in the form that `format` says.
///
/// # Errors
/// A code that is not known.
pub(super) fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let date = Date::at(seconds);
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let code = rest.next();
        // A minus leaves out leading zeros.
        let (code, is_short) = if code == Some('-') { (rest.next(), true) } else { (code, false) };
        let hour = if date.hour.is_multiple_of(12) { 12 } else { date.hour % 12 };
        let mut number = |value: u64, width: usize| {
            let width = if is_short { 0 } else { width };
            // Writing to a string does not fail.
            let _ = write!(out, "{value:0width$}");
        };
        match code {
            Some('Y') => number(date.year, 4),
            Some('y') => number(date.year % 100, 2),
            Some('m') => number(date.month, 2),
            Some('d') => number(date.day, 2),
            Some('j') => number(date.day_of_year, 3),
            Some('H') => number(date.hour, 2),
            Some('I') => number(hour, 2),
            Some('M') => number(date.minute, 2),
            Some('S') => number(date.second, 2),
            Some('A') => out.push_str(date.weekday()),
            Some('a') => out.push_str(date.weekday().get(..3).unwrap_or_default()),
            Some('B') => out.push_str(date.month()),
            Some('b') => out.push_str(date.month().get(..3).unwrap_or_default()),
            Some('p') => out.push_str(if date.hour < 12 { "AM" } else { "PM" }),
            Some('%') => out.push('%'),
            _ => return Err(Error::new(ErrorKind::InvalidOperation, "format of a date is not known")),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_equal_those_of_python() {
        let text = |seconds| strftime("%A %Y-%m-%d %H:%M:%S %I%p %j", seconds).unwrap();
        assert_eq!(text(0), "Thursday 1970-01-01 00:00:00 12AM 001");
        assert_eq!(text(951_782_399), "Monday 2000-02-28 23:59:59 11PM 059");
        assert_eq!(text(951_782_400), "Tuesday 2000-02-29 00:00:00 12AM 060");
        assert_eq!(text(1_735_689_599), "Tuesday 2024-12-31 23:59:59 11PM 366");
        assert_eq!(text(4_107_542_400), "Monday 2100-03-01 00:00:00 12AM 060");
        assert!(text(u64::MAX).starts_with("Friday 9999-12-31 "));
        assert_eq!(strftime("%-d %b %-m %y %%", 0).unwrap(), "1 Jan 1 70 %");
        for format in ["%Q", "%", "%-", "%é"] {
            assert!(strftime(format, 0).is_err(), "{format}");
        }
    }
}
