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
