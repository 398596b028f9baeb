//! Times in UTC as text, to the millisecond.

use anchorhold_rats::Timestamp;

/// Nanoseconds since 1970 as `YYYY-MM-DDTHH:MM:SS.mmmZ`; a time before that, which only a wrong clock tells, is shown as its beginning.
#[must_use]
pub fn utc(wall_ns: i64) -> String {
    let ms = wall_ns.max(0) / 1_000_000;
    let text = Timestamp::from_unix_seconds(ms / 1000).to_string();
    format!("{}.{:03}Z", text.trim_end_matches('Z'), ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(-1), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(1_764_427_564_123_999_999), "2025-11-29T14:46:04.123Z");
    }
}
