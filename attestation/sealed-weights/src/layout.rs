//! Where each segment of an object lies, in the ciphertext and in the plaintext.

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
}

/// The segments of one object of a given plaintext length. A plaintext that fills its last segment gets no empty
/// segment after it, so the layout follows from the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: SegmentSize,
    pub(crate) plaintext_len: u64,
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

impl Layout {
    pub(crate) fn segment_count(self) -> u64 {
        self.plaintext_len.div_ceil(u64::from(self.size.payload_len())).max(1)
    }

    /// Bytes of the whole object file, or `None` beyond what 64 bits count.
    pub(crate) fn ciphertext_len(self) -> Option<u64> {
        let overhead = self.segment_count().checked_mul(SEGMENT_OVERHEAD as u64)?;
        self.plaintext_len.checked_add(overhead)?.checked_add(HEADER_LEN as u64)
    }

    /// The place of segment `index`, or `None` when the object has no such segment.
    pub(crate) fn span(self, index: u64) -> Option<Span> {
        let count = self.segment_count();
        let last = index.checked_add(1)? == count;
        let payload = u64::from(self.size.payload_len());
        let plaintext = if last {
            self.plaintext_len - index * payload
        } else if index < count {
            payload
        } else {
            return None;
        };
        let len = usize::try_from(plaintext).ok()? + SEGMENT_OVERHEAD;
        Some(Span { offset: HEADER_LEN as u64 + index * u64::from(self.size.segment_len()), len, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_the_file_without_gap() {
        let payload = u64::from(SegmentSize::Mib1.payload_len());
        for plaintext_len in [1, payload - 1, payload, payload + 1, 3 * payload, 5 * payload + 7] {
            let layout = Layout { size: SegmentSize::Mib1, plaintext_len };
            let mut at = HEADER_LEN as u64;
            for index in 0..layout.segment_count() {
                let span = layout.span(index).unwrap();
                assert_eq!(span.offset, at);
                assert_eq!(span.last, index + 1 == layout.segment_count());
                at += span.len as u64;
            }
            assert_eq!(Some(at), layout.ciphertext_len());
            assert_eq!(layout.span(layout.segment_count()), None);
            assert_eq!(layout.span(u64::MAX), None);
        }
    }

    #[test]
    fn refuses_lengths_beyond_64_bits() {
        assert_eq!(Layout { size: SegmentSize::Mib1, plaintext_len: u64::MAX }.ciphertext_len(), None);
    }
}
