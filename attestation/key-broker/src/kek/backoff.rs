//! When something that failed is tried again.

use super::BackendError;
use std::time::{Duration, Instant};

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Waits that double with each failure. Between two tries the last failure is the answer, at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    wait: Option<Duration>,
    pause: Option<(Instant, BackendError)>,
}

impl Backoff {
    /// Whether it may be tried at `now`.
    pub(super) fn check(&self, now: Instant) -> Result<(), BackendError> {
        match &self.pause {
            Some((until, error)) if now < *until => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Notes a failure at `now`.
    pub(super) fn failed(&mut self, now: Instant, error: &BackendError) {
        let wait = self.wait.map_or(FIRST_WAIT, |wait| wait.saturating_mul(2).min(LONGEST_WAIT));
        self.wait = Some(wait);
        self.pause = now.checked_add(wait).map(|until| (until, error.clone()));
    }

    /// Notes that it worked.
    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_success() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        assert_eq!(backoff.check(now), Ok(()));
        for millis in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            backoff.failed(now, &BackendError::Locked);
            let wait = Duration::from_millis(millis);
            assert_eq!(backoff.check(now + wait - Duration::from_millis(1)), Err(BackendError::Locked));
            assert_eq!(backoff.check(now + wait), Ok(()));
            now += wait;
        }
        backoff.worked();
        assert_eq!(backoff.check(now), Ok(()));
        backoff.failed(now, &BackendError::Locked);
        assert_eq!(backoff.check(now + FIRST_WAIT), Ok(()));
    }
}
