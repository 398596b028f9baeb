//! `[limits]`: how much the gateway takes.

use super::{ConfigError, wrong};
use anchorhold_api::MAX_BODY_BYTES;
use serde::Deserialize;
use std::time::Duration;

/// The most requests at one time that can be set.
pub(super) const MAX_IN_FLIGHT: usize = 512;

/// How much the gateway takes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Requests running at once; one more is answered 503.
    pub max_in_flight: usize,
    /// Requests running at once for one tenant that has no `concurrency` of its own; one more is answered 429.
    pub max_in_flight_per_tenant: usize,
    /// The longest request body, in bytes.
    pub body_bytes: usize,
    /// How long running requests may go on once the gateway drains.
    pub drain: Duration,
    /// The longest wait for the next word of a worker.
    pub answer: Duration,
    /// The longest time for a request at its worker, waiting included.
    pub request: Duration,
    /// How long the reader of a stream may take nothing before the stream is cancelled.
    pub stalled: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenLimits {
    max_in_flight: usize,
    max_in_flight_per_tenant: usize,
    body_bytes: usize,
    drain_seconds: u64,
    answer_seconds: u64,
    request_seconds: u64,
    stalled_seconds: u64,
}

impl Default for WrittenLimits {
    fn default() -> Self {
        Self {
            max_in_flight: 64,
            max_in_flight_per_tenant: 32,
            body_bytes: MAX_BODY_BYTES,
            drain_seconds: 30,
            answer_seconds: 120,
            request_seconds: 600,
            stalled_seconds: 60,
        }
    }
}

/// `value`, which must be from 1 to `most`.
pub(super) fn within<N: Copy + PartialOrd + From<u8> + std::fmt::Display>(
    key: &'static str,
    (value, most): (N, N),
    faults: &mut Vec<ConfigError>,
) -> N {
    if value < N::from(1) || value > most {
        faults.push(wrong(key, format!("expected 1 to {most}, got {value}")));
    }
    value
}

impl WrittenLimits {
    /// What is wrong goes to `faults`.
    pub(super) fn check(&self, faults: &mut Vec<ConfigError>) -> Limits {
        let mut seconds = |key: &'static str, value: u64, most: u64| {
            Duration::from_secs(within(key, (value, most), faults))
        };
        let drain = seconds("limits.drain_seconds", self.drain_seconds, 600);
        let answer = seconds("limits.answer_seconds", self.answer_seconds, 3600);
        let request = seconds("limits.request_seconds", self.request_seconds, 86_400);
        let stalled = seconds("limits.stalled_seconds", self.stalled_seconds, 3600);
        let mut count = |key: &'static str, value: usize, most: usize| within(key, (value, most), faults);
        let each = self.max_in_flight_per_tenant;
        Limits {
            max_in_flight: count("limits.max_in_flight", self.max_in_flight, MAX_IN_FLIGHT),
            max_in_flight_per_tenant: count("limits.max_in_flight_per_tenant", each, MAX_IN_FLIGHT),
            body_bytes: count("limits.body_bytes", self.body_bytes, MAX_BODY_BYTES),
            drain,
            answer,
            request,
            stalled,
        }
    }
}
