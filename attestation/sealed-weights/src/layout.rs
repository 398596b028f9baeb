//! Where each segment of an object lies, in the ciphertext and in the plaintext.

use std::ops::Range;

use crate::floe::{HEADER_LEN, SEGMENT_OVERHEAD};

/// Plaintext bytes per segment. The encrypted segment is 32 bytes longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SegmentSize {
    /// 1 MiB.
    Mib1,
    /// 4 MiB.
    #[default]
    Mib4,
    /// 16 MiB.
    Mib16,
}

impl SegmentSize {
    /// Plaintext bytes of every segment but the last.
    #[must_use]
    pub const fn payload_len(self) -> u32 {
        match self {
            Self::Mib1 => 1 << 20,
            Self::Mib4 => 4 << 20,
            Self::Mib16 => 16 << 20,
        }
    }

    /// The size whose encrypted segments have `segment_len` bytes.
    pub(crate) fn from_segment_len(segment_len: u64) -> Option<Self> {
        [Self::Mib1, Self::Mib4, Self::Mib16]
            .into_iter()
            .find(|size| u64::from(size.segment_len()) == segment_len)
    }

    /// Encrypted bytes of every segment but the last, the `ENC_SEG_LEN` of the FLOE specification.
    pub(crate) const fn segment_len(self) -> u32 {
        const OVERHEAD: u32 = 32;
        const { assert!(OVERHEAD as usize == SEGMENT_OVERHEAD) };
        self.payload_len() + OVERHEAD
    }

    /// The segments of an object of `plaintext_len` bytes.
    pub(crate) fn layout(self, plaintext_len: u64) -> Layout {
        Layout { payload: u64::from(self.payload_len()), plaintext_len }
    }
}

/// The segments of one object of a given plaintext length. A plaintext that fills its last segment gets no empty
/// segment after it, so the layout follows from the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Plaintext bytes of every segment but the last; at least 1.
    payload: u64,
    plaintext_len: u64,
}

/// One segment's place in an object file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Offset of the encrypted segment in the object file.
    pub(crate) offset: u64,
    /// Bytes of the encrypted segment.
    pub(crate) len: usize,
    /// Whether this is the object's last segment.
    pub(crate) last: bool,
}

impl Span {
    /// Bytes of the segment's plaintext.
    pub(crate) const fn payload_len(&self) -> usize {
        self.len - SEGMENT_OVERHEAD
    }
}

/// A run of plaintext bytes inside one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The segment.
    pub(crate) segment: u64,
    /// Where the run begins in the segment's plaintext.
    pub(crate) start: usize,
    /// Bytes of the run, at least 1.
    pub(crate) len: usize,
}

impl Layout {
    pub(crate) fn segment_count(self) -> u64 {
        self.plaintext_len.div_ceil(self.payload).max(1)
    }

    /// Bytes of the whole object file, or `None` beyond what 64 bits count.
    pub(crate) fn ciphertext_len(self) -> Option<u64> {
        let overhead = self.segment_count().checked_mul(SEGMENT_OVERHEAD as u64)?;
        self.plaintext_len.checked_add(overhead)?.checked_add(HEADER_LEN as u64)
    }

    /// The place of segment `index`, or `None` when the object has no such segment or 64 bits do not count its end.
    pub(crate) fn span(self, index: u64) -> Option<Span> {
        let payload_len = self.payload_range(index)?;
        let payload_len = usize::try_from(payload_len.end - payload_len.start).ok()?;
        let len = payload_len.checked_add(SEGMENT_OVERHEAD)?;
        let step = self.payload.checked_add(SEGMENT_OVERHEAD as u64)?;
        let offset = index.checked_mul(step)?.checked_add(HEADER_LEN as u64)?;
        offset.checked_add(len as u64)?;
        Some(Span { offset, len, last: index.checked_add(1)? == self.segment_count() })
    }

    /// The plaintext bytes of segment `index`, or `None` when the object has no such segment.
    pub(crate) fn payload_range(self, index: u64) -> Option<Range<u64>> {
        if index >= self.segment_count() {
            return None;
        }
        let start = index.checked_mul(self.payload)?;
        Some(start..start.saturating_add(self.payload).min(self.plaintext_len))
    }

    /// The runs that `range` of the plaintext is cut into, in order. A range beyond the plaintext has none there.
    pub(crate) fn pieces(self, range: Range<u64>) -> impl Iterator<Item = Piece> {
        let end = range.end.min(self.plaintext_len);
        let mut at = range.start;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let start = at % self.payload;
            let len = (self.payload - start).min(end - at);
            let segment = at / self.payload;
            at += len;
            Some(Piece { segment, start: usize::try_from(start).ok()?, len: usize::try_from(len).ok()? })
        })
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
