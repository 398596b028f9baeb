//! What the audit log is told: keyed commitments instead of text, and a bound on refused callers.

use crate::words::{hex, random};
use ring::hmac;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Entries about refused callers in one second; the others are only counted.
const MAX_FAILURES_PER_SECOND: u32 = 10;

/// Commitments to one request and its response: HMAC-SHA-256 of the body bytes of each, under a random key that only
/// the caller is told. The log can later be held against the caller's copy; without the key it says nothing, not even
/// about a short or guessable text.
pub(crate) struct Receipt {
    header: String,
    key: hmac::Key,
    request: Option<[u8; 32]>,
    response: hmac::Context,
}

impl Receipt {
    /// `None` when the system gives no randomness.
    pub(crate) fn new() -> Option<Self> {
        let bytes = random::<32>()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let response = hmac::Context::with_key(&key);
        Some(Self { header: hex(&bytes), key, request: None, response })
    }

    /// The key in hex, for the caller.
    pub(crate) fn header(&self) -> &str {
        &self.header
    }

    pub(crate) fn request(&mut self, body: &[u8]) {
        self.request = Some(tag(&hmac::sign(&self.key, body)));
    }

    /// Takes the next bytes of the response.
    pub(crate) fn response(&mut self, bytes: &[u8]) {
        self.response.update(bytes);
    }

    /// Of request and response so far; `None` when the request's body was not read.
    pub(crate) fn commitments(&self) -> Option<([u8; 32], [u8; 32])> {
        Some((self.request?, tag(&self.response.clone().sign())))
    }
}

fn tag(tag: &hmac::Tag) -> [u8; 32] {
    // HMAC-SHA-256 has 32 bytes.
    tag.as_ref().try_into().unwrap_or_default()
}

/// How many refused callers were told to the log in this second.
#[derive(Debug, Default)]
pub(crate) struct FailureRate(Mutex<Option<(Instant, u32)>>);

impl FailureRate {
    /// Whether one more may be told.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        // The lock is held for this function only; a panic cannot leave it half written.
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, count) = match *window {
            Some((begun, count)) if now.saturating_duration_since(begun) < Duration::from_secs(1) => {
                (begun, count)
            }
            _ => (now, 0),
        };
        *window = Some((begun, count.saturating_add(1)));
        count < MAX_FAILURES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_to_both_bodies_under_the_key_it_tells() {
        let mut receipt = Receipt::new().unwrap();
        assert_eq!(receipt.commitments(), None);
        receipt.request(b"question");
        receipt.response(b"ans");
        receipt.response(b"wer");
        let bytes: Vec<u8> = (0..32)
            .map(|at| u8::from_str_radix(&receipt.header()[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let (request, response) = receipt.commitments().unwrap();
        hmac::verify(&key, b"question", &request).unwrap();
        hmac::verify(&key, b"answer", &response).unwrap();
        assert_ne!(Receipt::new().unwrap().header(), receipt.header());
    }

    #[test]
    fn tells_of_a_bounded_number_of_refused_callers_each_second() {
        let rate = FailureRate::default();
        let now = Instant::now();
        let told = (0..100).filter(|_| rate.admits(now)).count();
        assert_eq!(told, MAX_FAILURES_PER_SECOND as usize);
        assert!(rate.admits(now + Duration::from_secs(1)));
    }
}
