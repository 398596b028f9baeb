//! What a guest's log says of time: whether it was silent, and whether its clocks agree.
//!
//! Both clocks are claims of the guest; entries are ordered by index. A finding here is for a person to weigh and fails nothing.

use crate::entry::Entry;
use crate::report::{Check, Finding, Status, Verdict};

const NS_PER_S: u64 = 1_000_000_000;
/// How much later than announced an entry may come: a machine that is paused for so long is not silent.
const GRACE_S: u64 = 15;
/// By how much the wall clock and the time since boot may part from one entry to the next.
const MAX_STEP_NS: u64 = 5 * NS_PER_S;

/// The times of the entries that came by; what is found is the first of its kind.
#[derive(Debug, Default)]
pub(super) struct Times {
    beat_s: Option<u32>,
    last: Option<(i64, u64)>,
    silence: Option<Finding>,
    step: Option<Finding>,
}

impl Times {
    pub(super) fn take(&mut self, index: u64, entry: &Entry) {
        if index == 0 {
            self.beat_s = entry.log.as_ref().and_then(|state| state.beat_s);
        }
        let last = self.last.replace((entry.t, entry.mono));
        let (Some((last_wall, last_mono)), Some(beat_s)) = (last, self.beat_s) else { return };
        let passed_s = entry.mono.saturating_sub(last_mono) / NS_PER_S;
        if passed_s > u64::from(beat_s) + GRACE_S {
            self.silence.get_or_insert(Finding::Silent { index, seconds: passed_s });
        }
        // Threads take their times before they queue, so that neighbours may be out of order by a little.
        let passed_ns = i128::from(entry.mono) - i128::from(last_mono);
        let ahead_ns = i128::from(entry.t) - i128::from(last_wall) - passed_ns;
        let limit_ns = i128::from(MAX_STEP_NS);
        if ahead_ns.abs() > limit_ns || passed_ns < -limit_ns {
            let seconds = i64::try_from(ahead_ns / i128::from(NS_PER_S)).unwrap_or(i64::MAX);
            self.step.get_or_insert(Finding::ClockStepped { index, seconds });
        }
    }

    /// Whether there was an entry as often as the log announced; only a log that is read from its start says how often that is.
    pub(super) fn silence(&self) -> Verdict {
        self.verdict(Check::Silence, self.silence)
    }

    /// Whether the wall clock went as fast as the time since boot.
    pub(super) fn clock(&self) -> Verdict {
        self.verdict(Check::Clock, self.step)
    }

    fn verdict(&self, check: Check, found: Option<Finding>) -> Verdict {
        let (status, finding) = match (self.beat_s, found) {
            (None, _) => (Status::NotApplicable, Finding::NotAnnounced),
            (_, Some(found)) => (Status::Noted, found),
            _ => (Status::Passed, Finding::AsExpected),
        };
        Verdict { check, status, finding }
    }
}
