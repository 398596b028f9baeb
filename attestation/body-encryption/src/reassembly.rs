//! Frames out of a stream that is cut anywhere. Both profiles frame alike: four bytes big-endian that hold a length, then so many bytes.

use crate::Error;

pub(crate) const PREFIX_BYTES: usize = 4;

/// What came of the frame that is on its way; never more than one frame, however long it claims to be.
#[derive(Debug)]
pub(crate) struct Reassembly {
    pending: Vec<u8>,
    /// How many bytes of the body may still come, prefixes and tags included.
    left: u64,
}

impl Reassembly {
    pub(crate) const fn new(limit_bytes: u64) -> Self {
        Self { pending: Vec::new(), left: limit_bytes }
    }

    /// Whether the stream is between two frames.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes from the front of `bytes` what the current frame still lacks, and hands the frame to `whole` when it is complete: its
    /// prefix, and the rest. `length_of` reads the length out of a prefix. Returns whether a frame was completed; if not, all of `bytes`
    /// was taken.
    pub(crate) fn take(
        &mut self,
        bytes: &mut &[u8],
        length_of: impl Fn(u32) -> Result<usize, Error>,
        whole: impl FnOnce([u8; PREFIX_BYTES], &[u8]) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        if self.pending.is_empty()
            && let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>()
            && let Some((frame, rest)) = rest.split_at_checked(length_of(u32::from_be_bytes(*prefix))?)
        {
            // It is here as a whole, which spares a copy.
            self.spend(PREFIX_BYTES + frame.len())?;
            *bytes = rest;
            return whole(*prefix, frame).map(|()| true);
        }
        self.fill(bytes, PREFIX_BYTES)?;
        let Some(prefix) = self.pending.first_chunk::<PREFIX_BYTES>().copied() else { return Ok(false) };
        let wanted = PREFIX_BYTES.saturating_add(length_of(u32::from_be_bytes(prefix))?);
        // Refused at the prefix, before anything of the frame is kept.
        let missing = wanted.saturating_sub(self.pending.len());
        if u64::try_from(missing).map_or(true, |missing| missing > self.left) {
            return Err(Error::TooLong);
        }
        self.fill(bytes, wanted)?;
        if self.pending.len() < wanted {
            return Ok(false);
        }
        let outcome = whole(prefix, self.pending.get(PREFIX_BYTES..).unwrap_or_default());
        self.pending.clear();
        outcome.map(|()| true)
    }

    fn fill(&mut self, bytes: &mut &[u8], wanted: usize) -> Result<(), Error> {
        let missing = wanted.saturating_sub(self.pending.len()).min(bytes.len());
        self.spend(missing)?;
        let (taken, rest) = bytes.split_at(missing);
        self.pending.extend_from_slice(taken);
        *bytes = rest;
        Ok(())
    }

    fn spend(&mut self, count: usize) -> Result<(), Error> {
        let left = u64::try_from(count).ok().and_then(|count| self.left.checked_sub(count));
        self.left = left.ok_or(Error::TooLong)?;
        Ok(())
    }
}
