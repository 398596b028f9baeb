//! When the gateway is told how much there is to do.

use anchorhold_engine::{Load, Moment};
use std::time::Duration;

/// The time between two reports, in milliseconds.
const EVERY: u64 = 1000;

/// What was told, and when the next report may leave.
#[derive(Debug)]
pub(crate) struct Reports {
    /// `None` before the first.
    told: Option<Load>,
    next: Moment,
}

impl Reports {
    pub(crate) fn new() -> Self {
        Self { told: None, next: Moment(0) }
    }

    /// How long until `load` is to be told; `None` when it is known already.
    pub(crate) fn due(&self, load: Load, now: Moment) -> Option<Duration> {
        let left = Duration::from_millis(self.next.0.saturating_sub(now.0));
        (self.told != Some(load)).then_some(left)
    }

    /// Notes that `load` is told at `now`.
    pub(crate) fn tell(&mut self, load: Load, now: Moment) {
        *self = Self { told: Some(load), next: Moment(now.0.saturating_add(EVERY)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_told_once_in_a_second_at_most() {
        let mut reports = Reports::new();
        let (idle, busy) = (Load::default(), Load { running: 1, ..Load::default() });
        assert_eq!(reports.due(idle, Moment(7)), Some(Duration::ZERO), "the first at once");
        reports.tell(idle, Moment(7));
        assert_eq!(reports.due(idle, Moment(5000)), None, "nothing is told twice");
        assert_eq!(reports.due(busy, Moment(8)), Some(Duration::from_millis(999)));
        assert_eq!(reports.due(busy, Moment(1007)), Some(Duration::ZERO));
        reports.tell(busy, Moment(1007));
        assert_eq!(reports.due(idle, Moment(1007)), Some(Duration::from_secs(1)));
    }
}
