//! Times in UTC as text, to the millisecond.

use anchorhold_rats::Timestamp;

/// Nanoseconds since 1970 as `YYYY-MM-DDTHH:MM:SS.mmmZ`.
#[must_use]
pub fn utc(wall_ns: i64) -> String {
    let ms = wall_ns.div_euclid(1_000_000);
    let text = Timestamp::from_unix_seconds(ms.div_euclid(1000)).to_string();
    format!("{}.{:03}Z", text.trim_end_matches('Z'), ms.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(utc(1_764_427_564_123_999_999), "2025-11-29T14:46:04.123Z");
    }
}
