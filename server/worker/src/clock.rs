//! The worker's clock: milliseconds since it began to serve, which is all that the scheduler knows of time.

use anchorhold_engine::Moment;
use std::time::Instant;

/// Counts from when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Moment {
        Moment(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// So many milliseconds from now.
    pub(crate) fn after(self, milliseconds: u32) -> Moment {
        Moment(self.now().0.saturating_add(milliseconds.into()))
    }
}
