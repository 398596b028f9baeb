//! The only place of this program that reads a clock.

use anchorhold_audit_log::Stamp;
use anchorhold_rats::Timestamp;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Time since the keeper started, and the wall clock that the host sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Milliseconds since the keeper started.
    pub(crate) fn millis(self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3
    }

    pub(crate) fn stamp(self) -> Stamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp {
            wall_ns: i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX),
            mono_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Seconds of the wall clock: a claim, used only where the software attester dates its certificates.
    pub(crate) fn wall(self) -> Timestamp {
        Timestamp::from_unix_seconds(self.stamp().wall_ns / 1_000_000_000)
    }
}
