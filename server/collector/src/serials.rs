//! Which serial numbers of the kernel's records never came.
//!
//! What happens on two CPUs at once may be queued in another order than it was numbered, so a number is missing only after a whole tick.

use std::collections::BTreeSet;

/// The most numbers that are waited for; beyond, they are missing at once.
const MAX_AWAITED: u64 = 1024;

/// The numbers that came, as far as they matter.
#[derive(Debug, Default)]
pub struct Serials {
    highest: Option<u64>,
    awaited: BTreeSet<u64>,
    /// Those awaited since before the last tick.
    overdue: BTreeSet<u64>,
    missing: u64,
}

impl Serials {
    /// Takes the number of a record. The first one says where to begin: what was before it is the past.
    pub fn take(&mut self, serial: u64) {
        let Some(highest) = self.highest else {
            self.highest = Some(serial);
            return;
        };
        if serial <= highest {
            // Another record of something that is known, or one that was late.
            self.awaited.remove(&serial);
            self.overdue.remove(&serial);
            return;
        }
        let gap = serial - highest - 1;
        let room = MAX_AWAITED.saturating_sub((self.awaited.len() + self.overdue.len()) as u64);
        let awaited = gap.min(room);
        self.missing = self.missing.saturating_add(gap - awaited);
        self.awaited.extend(serial - awaited..serial);
        self.highest = Some(serial);
    }

    /// How many did not come within a tick.
    #[must_use]
    pub fn tick(&mut self) -> u64 {
        let missing = std::mem::take(&mut self.missing).saturating_add(self.overdue.len() as u64);
        self.overdue = std::mem::take(&mut self.awaited);
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_is_not_missing_and_what_never_comes_is() {
        let mut serials = Serials::default();
        for serial in [7, 7, 8, 10, 9, 11, 14] {
            serials.take(serial);
        }
        assert_eq!(serials.tick(), 0);
        serials.take(12);
        assert_eq!((serials.tick(), serials.tick()), (1, 0));
    }

    #[test]
    fn a_leap_is_counted_whole_and_held_in_little_memory() {
        let mut serials = Serials::default();
        serials.take(1);
        serials.take(1_000_002);
        serials.take(u64::MAX);
        assert!(serials.awaited.len() as u64 <= MAX_AWAITED);
        let missing = serials.tick() + serials.tick() + serials.tick();
        assert_eq!(missing, 1_000_000 + (u64::MAX - 1_000_003));
    }
}
