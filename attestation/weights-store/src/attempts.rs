//! When the same thing is asked for again, and after which wait.

use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::error::{Error, Fault};
use crate::limits::Limits;

/// The attempts at one thing since it last made progress.
pub(crate) struct Attempts<'a> {
    limits: &'a Limits,
    failed: u32,
}

impl<'a> Attempts<'a> {
    pub(crate) const fn new(limits: &'a Limits) -> Self {
        Self { limits, failed: 0 }
    }

    /// Something came, so the store works.
    pub(crate) const fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits after a fault, or gives up for it.
    pub(crate) async fn again(&mut self, file: &str, fault: Fault) -> Result<(), Error> {
        self.failed += 1;
        match self.limits.wait(self.failed, &fault, spread()) {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            None => Err(Error::Store { file: file.to_owned(), fault, attempts: self.failed }),
        }
    }
}

/// By chance, so that many guests that lost the same store do not come back together. Without randomness the longest wait.
fn spread() -> u16 {
    let mut bytes = [0; 2];
    SystemRandom::new().fill(&mut bytes).map_or(u16::MAX, |()| u16::from_be_bytes(bytes))
}

impl Limits {
    /// How long to wait after attempt `failed` (from 1) failed; `None` to give up. `random` spreads the wait between half and
    /// the whole.
    fn wait(&self, failed: u32, fault: &Fault, random: u16) -> Option<Duration> {
        if failed >= self.attempts || !fault.may_pass() {
            return None;
        }
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let whole = self.first_wait.saturating_mul(doubled).min(self.longest_wait);
        let half = whole / 2;
        let spread = half + half.saturating_mul(u32::from(random)) / u32::from(u16::MAX);
        let asked = match fault {
            Fault::Unavailable { retry_after_s: Some(seconds), .. } => Duration::from_secs(*seconds),
            _ => Duration::ZERO,
        };
        (asked <= self.longest_wait).then_some(spread.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_sealed_weights as sealed;

    fn limits() -> Limits {
        let (first_wait, longest_wait) = (Duration::from_millis(500), Duration::from_millis(1500));
        Limits { attempts: 4, first_wait, longest_wait, ..Limits::default() }
    }

    fn unavailable(retry_after_s: Option<u64>) -> Fault {
        Fault::Unavailable { status: 503, code: None, retry_after_s }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_attempts() {
        let waits = |random| [1, 2, 3, 4].map(|failed| limits().wait(failed, &unavailable(None), random));
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(waits(u16::MAX), [millis(500), millis(1000), millis(1500), None]);
        assert_eq!(waits(0), [millis(250), millis(500), millis(750), None]);
        let endless = Limits { attempts: u32::MAX, longest_wait: Duration::MAX, ..limits() };
        assert!(endless.wait(u32::MAX - 1, &unavailable(None), u16::MAX).is_some());
    }

    #[test]
    fn waits_as_asked_but_not_longer_than_the_longest() {
        assert_eq!(limits().wait(1, &unavailable(Some(1)), 0), Some(Duration::from_secs(1)));
        assert_eq!(limits().wait(1, &unavailable(Some(2)), 0), None);
        assert_eq!(limits().wait(1, &unavailable(Some(u64::MAX)), 0), None);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let within = Duration::ZERO;
        for fault in [
            unavailable(None),
            Fault::Connect(String::new()),
            Fault::Broken(String::new()),
            Fault::Short { wanted: 2, observed: 1 },
            Fault::Timeout { what: "", within },
            Fault::Slow { observed: 0, wanted: 1, within },
            Fault::Content(sealed::Error::WrongKey),
        ] {
            assert!(limits().wait(1, &fault, 0).is_some(), "{fault}");
        }
        for fault in [
            Fault::Tls(String::new()),
            Fault::Redirect { status: 302 },
            Fault::Absent { status: 404 },
            Fault::Denied { status: 403, code: None },
            Fault::Status { status: 400, code: None },
            Fault::Changed,
            Fault::NotPartial,
            Fault::Range { wanted: String::new(), observed: String::new() },
            Fault::Encoding,
            Fault::TooLong { limit: 1 },
        ] {
            assert_eq!(limits().wait(1, &fault, 0), None, "{fault}");
        }
    }
}
