//! When a request is sent again.

use crate::config::Retry;
use crate::error::Cause;
use crate::transport::{Answer, TransportError};
use http::header;
use std::time::Duration;

/// What the status of an answer means, if it is not a good one.
pub(crate) fn judge_status(answer: &Answer) -> Result<(), Cause> {
    let status = answer.status;
    Err(match status {
        200 => return Ok(()),
        300..=399 => Cause::Redirect { status },
        400 | 404 | 410 => Cause::Absent { status },
        429 | 500..=599 => Cause::Unavailable { status, retry_after_s: retry_after(answer) },
        _ => Cause::Refused { status },
    })
}

/// The seconds of `retry-after`. Its other form is a date, which needs a clock; then the usual wait is taken.
fn retry_after(answer: &Answer) -> Option<u64> {
    answer.headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

/// Whether the same request may have another outcome soon.
const fn may_pass(cause: &Cause) -> bool {
    match cause {
        Cause::Timeout { .. } | Cause::Unavailable { .. } => true,
        Cause::Transport(error) => !matches!(error, TransportError::TooLong { .. }),
        _ => false,
    }
}

impl Retry {
    /// How long to wait after attempt `attempt` (from 1) failed for `cause`; `None` to give up. `random` spreads the waits
    /// of many callers between half and the whole.
    pub(crate) fn wait(&self, attempt: u32, cause: &Cause, random: u16) -> Option<Duration> {
        if attempt >= self.attempts || !may_pass(cause) {
            return None;
        }
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let whole = self.first_wait.saturating_mul(doubled).min(self.longest_wait);
        let half = whole / 2;
        let spread = half + half.saturating_mul(u32::from(random)) / u32::from(u16::MAX);
        let asked = match cause {
            Cause::Unavailable { retry_after_s: Some(seconds), .. } => Duration::from_secs(*seconds),
            _ => Duration::ZERO,
        };
        (asked <= self.longest_wait).then_some(spread.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;

    const RETRY: Retry = Retry {
        attempts: 4,
        first_wait: Duration::from_millis(500),
        longest_wait: Duration::from_millis(1500),
    };

    fn unavailable(retry_after_s: Option<u64>) -> Cause {
        Cause::Unavailable { status: 503, retry_after_s }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_attempts() {
        let waits = |random| [1, 2, 3, 4].map(|n| RETRY.wait(n, &unavailable(None), random));
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(waits(u16::MAX), [millis(500), millis(1000), millis(1500), None]);
        assert_eq!(waits(0), [millis(250), millis(500), millis(750), None]);
        assert_eq!(RETRY.wait(u32::MAX, &unavailable(None), 0), None);
        let endless = Retry { attempts: u32::MAX, first_wait: Duration::MAX, longest_wait: Duration::MAX };
        assert!(endless.wait(u32::MAX - 1, &unavailable(None), u16::MAX).is_some());
    }

    #[test]
    fn waits_as_asked_but_not_longer_than_the_longest() {
        assert_eq!(RETRY.wait(1, &unavailable(Some(1)), 0), Some(Duration::from_secs(1)));
        assert_eq!(RETRY.wait(1, &unavailable(Some(2)), 0), None);
        assert_eq!(RETRY.wait(1, &unavailable(Some(u64::MAX)), 0), None);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let broken = Cause::Transport(TransportError::Broken(String::new()));
        let connect = Cause::Transport(TransportError::Connect(String::new()));
        for cause in [broken, connect, Cause::Timeout { within: Duration::ZERO }, unavailable(None)] {
            assert!(RETRY.wait(1, &cause, 0).is_some(), "{cause}");
        }
        for cause in [
            Cause::Transport(TransportError::TooLong { max_bytes: 1 }),
            Cause::Absent { status: 404 },
            Cause::Refused { status: 403 },
            Cause::Redirect { status: 302 },
            Cause::Content { wanted: "" },
            Cause::Url,
        ] {
            assert_eq!(RETRY.wait(1, &cause, 0), None, "{cause}");
        }
    }

    #[test]
    fn statuses_have_one_meaning_each() {
        let judged = |status, after: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, after.parse().unwrap());
            judge_status(&Answer { status, headers, body: Bytes::new() })
        };
        assert_eq!(judged(200, "1"), Ok(()));
        assert_eq!(judged(204, "1"), Err(Cause::Refused { status: 204 }));
        assert_eq!(judged(301, "1"), Err(Cause::Redirect { status: 301 }));
        assert_eq!(judged(404, "1"), Err(Cause::Absent { status: 404 }));
        assert_eq!(judged(403, "1"), Err(Cause::Refused { status: 403 }));
        assert_eq!(judged(429, "7"), Err(Cause::Unavailable { status: 429, retry_after_s: Some(7) }));
        let date = "Fri, 31 Dec 1999 23:59:59 GMT";
        assert_eq!(judged(503, date), Err(Cause::Unavailable { status: 503, retry_after_s: None }));
    }
}
