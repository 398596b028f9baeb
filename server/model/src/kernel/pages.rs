//! How the system backs the memory of weights.

use rustix::mm::{Advice, madvise};
use std::mem::MaybeUninit;

/// What one entry of the processor's tables covers at best.
const HUGE_PAGE: usize = 2 << 20;
const PAGE: usize = 4096;

/// `len` times this value, in huge pages and kept out of core dumps where the system allows. A walk over weights in small pages waits for the
/// tables of the processor at every page.
pub(crate) fn filled<T: Clone>(len: usize, value: T) -> Vec<T> {
    let mut memory = Vec::with_capacity(len);
    // Before it is touched, since pages that are there stay small.
    advise(memory.spare_capacity_mut(), HUGE_PAGE, Advice::LinuxHugepage);
    advise(memory.spare_capacity_mut(), PAGE, Advice::LinuxDontDump);
    memory.resize(len, value);
    memory
}

/// Advises what lies inside of `memory` in whole pages of this size.
#[expect(unsafe_code, reason = "advice about memory is a system call")]
fn advise<T>(memory: &mut [MaybeUninit<T>], page: usize, advice: Advice) {
    let bytes = size_of_val(memory);
    let start = memory.as_mut_ptr().cast::<u8>();
    let skipped = start.addr().wrapping_neg() % page;
    let len = bytes.saturating_sub(skipped) / page * page;
    if len > 0 {
        // SAFETY: the range lies inside of `memory`, and both pieces of advice change only how it is backed. A system that takes neither
        // costs time and nothing else.
        let _ = unsafe { madvise(start.wrapping_add(skipped).cast(), len, advice) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_as_long_as_asked_and_filled() {
        for len in [0, 1, PAGE, 3 * HUGE_PAGE + 5] {
            let memory = filled(len, 7_u8);
            assert!(memory.len() == len && memory.iter().all(|byte| *byte == 7));
        }
    }
}
