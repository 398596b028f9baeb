//! Memory for plaintext: aligned for devices, in huge pages and locked where the system allows, wiped when dropped.

use std::fmt;
use std::hint;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut, MmapOptions};

use crate::error::Error;

/// Every region begins at a multiple of this, so that whole huge pages can back it.
const HUGE_PAGE: usize = 2 << 20;

/// Private memory from the system, zeroed. Wiped when dropped.
pub(crate) struct Region {
    map: MmapMut,
    start: usize,
    len: usize,
    locked: bool,
}

impl Region {
    /// Takes `len` bytes of address space. Pages are taken when they are first written.
    ///
    /// # Errors
    /// [`Error::Io`] when the system has no such address space.
    pub(crate) fn new(len: usize) -> Result<Self, Error> {
        let room = if len < HUGE_PAGE { 0 } else { HUGE_PAGE };
        let map = MmapOptions::new().len(len.max(1).saturating_add(room)).map_anon();
        let map = map.map_err(Error::io("taking memory"))?;
        let start = if room == 0 { 0 } else { map.as_ptr().addr().wrapping_neg() % HUGE_PAGE };
        let region = Self { map, start, len, locked: false };
        if room > 0 {
            // A kernel without huge pages serves small ones; that costs time and nothing else.
            let _ = region.map.advise_range(Advice::HugePage, start, len);
        }
        // Core dumps are off in the guest; where they are not, this memory stays out of them if the kernel knows how.
        let _ = region.map.advise(Advice::DontDump);
        Ok(region)
    }

    /// Keeps the pages from being written to swap, if the limit on locked memory allows. Takes all pages at once.
    pub(crate) fn lock(&mut self) {
        self.locked = self.map.lock().is_ok();
    }

    /// Whether [`Region::lock`] was called and succeeded.
    pub(crate) const fn is_locked(&self) -> bool {
        self.locked
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

impl DerefMut for Region {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.map.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        wipe(&mut self.map);
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.len).field("locked", &self.locked).finish_non_exhaustive()
    }
}

/// Writes zeros at the speed of memory. `zeroize` writes byte by byte, which takes seconds for weights; here the
/// compiler must assume that the zeros are read.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    hint::black_box(bytes);
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _};

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn memory_is_zeroed_as_long_as_asked_and_aligned_for_huge_pages() {
        for len in [0, 1, 4096, HUGE_PAGE - 1, HUGE_PAGE, HUGE_PAGE + 1, 3 * HUGE_PAGE + 5] {
            let mut region = Region::new(len).unwrap();
            assert_eq!(region.len(), len);
            let aligned = if len < HUGE_PAGE { 4096 } else { HUGE_PAGE };
            assert_eq!(region.as_ptr().addr() % aligned, 0, "{len}");
            assert!(region.iter().all(|byte| *byte == 0));
            region.fill(7);
            assert!(region.iter().all(|byte| *byte == 7));
        }
        assert_eq!(Region::new(usize::MAX).unwrap_err().code(), "io");
    }

    #[test]
    fn says_whether_it_is_locked() {
        let mut region = Region::new(4096).unwrap();
        assert!(!region.is_locked());
        region.lock();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
        assert_eq!(region.is_locked(), limit.is_none_or(|limit| limit >= 8192));
        assert!(format!("{region:?}").starts_with("Region { len: 4096"));
    }

    /// The memory of a dropped region is gone, so it is put over a file that stays.
    #[test]
    #[expect(unsafe_code, reason = "a shared mapping shows what is left behind in memory")]
    fn a_dropped_region_leaves_zeros() {
        let mut file = File::from(memfd_create("region", MemfdFlags::CLOEXEC).unwrap());
        let len = 3 * 4096;
        file.set_len(len).unwrap();
        // SAFETY: nobody else has the file, and it is not cut while it is mapped.
        let map = unsafe { MmapOptions::new().map_mut(&file).unwrap() };
        let mut region = Region { map, start: 0, len: 3 * 4096, locked: false };
        region.fill(0x5a);
        let left = |file: &mut File| {
            let mut left = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut left).unwrap();
            left
        };
        assert_eq!(left(&mut file), vec![0x5a; 3 * 4096]);
        drop(region);
        assert_eq!(left(&mut file), vec![0; 3 * 4096]);
    }
}
