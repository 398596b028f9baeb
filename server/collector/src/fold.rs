//! Repeats of one thing become one report with a count, so that a process that tries the same for ever fills neither the line nor the log.

use anchorhold_ipc::{KernelEvent, KernelReport, WhyLost};
use std::collections::BTreeMap;

/// How many different things are told apart between two ticks.
pub const MAX_OPEN: usize = 256;

/// Holds back repeats until the next tick.
#[derive(Debug, Default)]
pub struct Folder {
    /// What was told since the last tick but one, and how often it came since the last.
    open: BTreeMap<KernelEvent, u64>,
    too_many: u64,
}

impl Folder {
    /// Takes what was read: the report if it is to be told now.
    #[must_use]
    pub fn take(&mut self, event: KernelEvent) -> Option<KernelReport> {
        if let Some(count) = self.open.get_mut(&event) {
            *count = count.saturating_add(1);
            return None;
        }
        if self.open.len() >= MAX_OPEN {
            self.too_many = self.too_many.saturating_add(1);
            return None;
        }
        self.open.insert(event.clone(), 0);
        Some(KernelReport { what: event, count: 1 })
    }

    /// What was held back since the last tick. What did not come again is told at once when it does.
    #[must_use]
    pub fn tick(&mut self) -> Vec<KernelReport> {
        let held = |(what, count): (&KernelEvent, &u64)| {
            (*count > 0).then(|| KernelReport { what: what.clone(), count: *count })
        };
        let mut reports: Vec<_> = self.open.iter().filter_map(held).collect();
        self.open.retain(|_, count| std::mem::take(count) > 0);
        let too_many = std::mem::take(&mut self.too_many);
        if too_many > 0 {
            reports.push(KernelReport { what: KernelEvent::Lost(WhyLost::TooMany), count: too_many });
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(pid: u32) -> KernelEvent {
        KernelEvent::Filtered { pid, source: None, syscall: 41, signal: 0 }
    }

    #[test]
    fn the_first_is_told_at_once_and_repeats_with_their_count() {
        let mut folder = Folder::default();
        assert_eq!(folder.take(event(1)), Some(KernelReport { what: event(1), count: 1 }));
        assert_eq!((folder.take(event(1)), folder.take(event(1))), (None, None));
        assert_eq!(folder.tick(), [KernelReport { what: event(1), count: 2 }]);
        assert_eq!(folder.take(event(1)), None);
        assert_eq!(folder.tick().len(), 1);
        assert_eq!(folder.tick(), []);
        assert!(folder.take(event(1)).is_some());
    }

    #[test]
    fn what_is_too_many_is_counted() {
        let mut folder = Folder::default();
        let told = (0..1000).filter_map(|pid| folder.take(event(pid))).count();
        assert_eq!(told, MAX_OPEN);
        let lost = KernelReport { what: KernelEvent::Lost(WhyLost::TooMany), count: 1000 - MAX_OPEN as u64 };
        assert_eq!(folder.tick(), [lost]);
    }

    proptest! {
        #[test]
        fn every_event_is_in_one_report(pids in proptest::collection::vec(0_u32..400, 0..2000), every in 1_usize..500) {
            let mut folder = Folder::default();
            let mut told = 0;
            for (at, pid) in pids.iter().enumerate() {
                told += folder.take(event(*pid)).map_or(0, |report| report.count);
                if at % every == 0 {
                    told += folder.tick().iter().map(|report| report.count).sum::<u64>();
                }
                prop_assert!(folder.open.len() <= MAX_OPEN);
            }
            told += folder.tick().iter().map(|report| report.count).sum::<u64>();
            prop_assert_eq!(told, pids.len() as u64);
        }
    }
}
