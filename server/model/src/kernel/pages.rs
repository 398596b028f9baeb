//! Memory that holds secrets for long, and how the system backs it.

use rustix::mm::{Advice, madvise, mlock, munlock};
use std::hint;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

/// What one entry of the processor's tables covers at best.
const HUGE_PAGE: usize = 2 << 20;
const PAGE: usize = 4096;

/// Memory of weights, or of what is computed for callers: in huge pages, locked against swap and kept out of core dumps where the system
/// allows. Wiped when dropped.
pub(crate) struct Pages<T: Blank> {
    memory: Vec<T>,
    locked: bool,
}

/// What memory can be wiped with.
pub(crate) trait Blank: Copy {
    /// All bits of its numbers are zero.
    const ZERO: Self;
}

impl Blank for f32 {
    const ZERO: Self = 0.0;
}

/// How much memory there is, and how much of it is locked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes of it.
    pub bytes: u64,
    /// Those that the system does not write to swap.
    pub locked: u64,
}

impl Held {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, locked: self.locked + other.locked }
    }
}

impl<T: Blank> Pages<T> {
    /// `len` zeros. A walk over weights in small pages waits for the tables of the processor at every page.
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut memory = Vec::with_capacity(len);
        // Before it is touched, since pages that are there stay small. A lock touches them.
        advise(memory.spare_capacity_mut(), HUGE_PAGE, Advice::LinuxHugepage);
        advise(memory.spare_capacity_mut(), PAGE, Advice::LinuxDontDump);
        let locked = lock(memory.spare_capacity_mut());
        memory.resize(len, T::ZERO);
        Self { memory, locked }
    }

    /// A copy of these.
    pub(crate) fn copy_of(values: &[T]) -> Self {
        let mut pages = Self::zeroed(values.len());
        pages.copy_from_slice(values);
        pages
    }

    /// Overwrites it, in a way that the compiler does not leave out.
    pub(crate) fn wipe(&mut self) {
        self.memory.fill(T::ZERO);
        // The compiler must assume that it is read here.
        hint::black_box(&mut self.memory);
    }

    /// How much it is.
    pub(crate) fn held(&self) -> Held {
        let bytes = size_of_val(self.memory.as_slice()) as u64;
        Held { bytes, locked: if self.locked { bytes } else { 0 } }
    }
}

impl<T: Blank> Default for Pages<T> {
    fn default() -> Self {
        Self { memory: Vec::new(), locked: true }
    }
}

impl<T: Blank> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory
    }
}

impl<T: Blank> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory
    }
}

impl<T: Blank> Drop for Pages<T> {
    fn drop(&mut self) {
        self.wipe();
        if self.locked {
            self.memory.clear();
            unlock(self.memory.spare_capacity_mut());
        }
    }
}

/// Where the whole pages of this size lie inside of `memory`: the bytes before them, and theirs.
fn inside<T>(memory: &[MaybeUninit<T>], page: usize) -> (usize, usize) {
    let skipped = memory.as_ptr().addr().wrapping_neg() % page;
    (skipped, size_of_val(memory).saturating_sub(skipped) / page * page)
}

/// Advises what lies inside of `memory` in whole pages of this size.
#[expect(unsafe_code, reason = "advice about memory is a system call")]
fn advise<T>(memory: &mut [MaybeUninit<T>], page: usize, advice: Advice) {
    let (skipped, len) = inside(memory, page);
    if len > 0 {
        let start = memory.as_mut_ptr().cast::<u8>().wrapping_add(skipped);
        // SAFETY: the range lies inside of `memory`, and both pieces of advice change only how it is backed. A system that takes neither
        // costs time and nothing else.
        let _ = unsafe { madvise(start.cast(), len, advice) };
    }
}

/// Locks every page that has a byte of `memory`, and takes them all at once; false if the system does not allow it.
#[expect(unsafe_code, reason = "a lock of memory is a system call")]
fn lock<T>(memory: &mut [MaybeUninit<T>]) -> bool {
    let len = size_of_val(memory);
    // SAFETY: the range is `memory`, whose pages are there for as long as it is; a lock does not change what they hold.
    len == 0 || unsafe { mlock(memory.as_mut_ptr().cast(), len) }.is_ok()
}

/// Unlocks what lies inside of `memory` in whole pages. A page at its ends stays locked, since others may lie there that are, too.
#[expect(unsafe_code, reason = "a lock of memory is a system call")]
fn unlock<T>(memory: &mut [MaybeUninit<T>]) {
    let (skipped, len) = inside(memory, PAGE);
    if len > 0 {
        let start = memory.as_mut_ptr().cast::<u8>().wrapping_add(skipped);
        // SAFETY: the range lies inside of `memory`, and its pages hold the same afterwards. The system refuses no lock's end.
        let _ = unsafe { munlock(start.cast(), len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_as_long_as_asked_and_zero() {
        for len in [0, 1, PAGE, 3 * HUGE_PAGE + 5] {
            let mut memory = Pages::<f32>::zeroed(len);
            assert!(memory.len() == len && memory.iter().all(|number| *number == 0.0));
            memory.fill(7.0);
            let held = memory.held();
            assert_eq!(held.bytes, 4 * len as u64);
            assert!(held.locked == 0 || held.locked == held.bytes);
        }
        assert_eq!(Pages::copy_of(&[1.0_f32, 2.0])[..], [1.0, 2.0]);
    }
}
