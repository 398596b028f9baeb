//! Which segments of an object were verified, as it is noted on disk.
//!
//! The note saves work and is trusted with nothing else: what it says of a package that cannot be loaded is checked again.

use ring::digest::{SHA256, digest};

const MAGIC: &[u8; 8] = b"AHSEGS1\n";
const DIGEST_LEN: usize = 32;
/// Magic, tree root, number of segments.
const HEAD_LEN: usize = 8 + 32 + 8;

/// Why a note is not used. It is then as if there were none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Not of the length that follows from the number of segments.
    #[error("segment map has another length")]
    Length,
    /// Torn or damaged.
    #[error("segment map is damaged")]
    Damaged,
    /// About another object.
    #[error("segment map is of another object")]
    Other,
}

/// A bit for each segment of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentMap {
    root: [u8; 32],
    count: u64,
    bits: Vec<u8>,
}

impl SegmentMap {
    /// No segment of `count` of the object with this tree root.
    #[must_use]
    pub fn new(root: [u8; 32], count: u64) -> Self {
        Self { root, count, bits: vec![0; byte_count(count)] }
    }

    /// Whether a segment was verified; false for one that the object does not have.
    #[must_use]
    pub fn has(&self, index: u64) -> bool {
        let (byte, bit) = place(index);
        index < self.count && self.bits.get(byte).is_some_and(|bits| bits & bit != 0)
    }

    /// Notes a verified segment.
    pub fn insert(&mut self, index: u64) {
        let (byte, bit) = place(index);
        if index < self.count
            && let Some(bits) = self.bits.get_mut(byte)
        {
            *bits |= bit;
        }
    }

    /// The number of segments of the object.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The number of verified segments.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.bits.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// Whether every segment was verified.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.verified() == self.count
    }

    /// The bytes for the disk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.root);
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.bits);
        // Not a signature: whoever can write the file can write this too. It tells a torn write.
        let sum = digest(&SHA256, &out);
        out.extend_from_slice(sum.as_ref());
        out
    }

    /// Reads a note about the object that `empty` is for.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn parse(bytes: &[u8], empty: &Self) -> Result<Self, MapError> {
        let (body, sum) = bytes.split_last_chunk::<DIGEST_LEN>().ok_or(MapError::Length)?;
        if Some(body.len()) != HEAD_LEN.checked_add(empty.bits.len()) {
            return Err(MapError::Length);
        }
        if digest(&SHA256, body).as_ref() != sum {
            return Err(MapError::Damaged);
        }
        let (head, bits) = body.split_at_checked(HEAD_LEN).ok_or(MapError::Length)?;
        let expected = empty.to_bytes();
        if expected.get(..HEAD_LEN) != Some(head) {
            return Err(MapError::Other);
        }
        let map = Self { bits: bits.to_vec(), ..empty.clone() };
        // Bits after the last segment would count as segments.
        let beyond = map.bits.last().copied().unwrap_or(0) & !last_mask(map.count);
        if beyond == 0 { Ok(map) } else { Err(MapError::Damaged) }
    }
}

fn byte_count(count: u64) -> usize {
    usize::try_from(count.div_ceil(8)).unwrap_or(usize::MAX)
}

fn place(index: u64) -> (usize, u8) {
    (usize::try_from(index / 8).unwrap_or(usize::MAX), 1 << (index % 8))
}

/// The bits of the last byte that are segments.
const fn last_mask(count: u64) -> u8 {
    match count % 8 {
        0 => u8::MAX,
        rest => (1 << rest) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(count: u64) -> SegmentMap {
        SegmentMap::new([1; 32], count)
    }

    #[test]
    fn reads_back_what_was_noted() {
        for count in 1..40 {
            let mut map = empty(count);
            (0..count).filter(|index| index % 3 == 0).for_each(|index| map.insert(index));
            let read = SegmentMap::parse(&map.to_bytes(), &empty(count)).unwrap();
            assert_eq!(read, map);
            assert_eq!(read.verified(), count.div_ceil(3));
            assert!((0..count).all(|index| read.has(index) == (index % 3 == 0)));
            (0..count).for_each(|index| map.insert(index));
            assert!(map.is_full() && SegmentMap::parse(&map.to_bytes(), &empty(count)).unwrap().is_full());
        }
    }

    #[test]
    fn a_segment_that_the_object_does_not_have_is_never_there() {
        let mut map = empty(5);
        for index in [5, 7, 8, u64::MAX] {
            map.insert(index);
            assert!(!map.has(index));
        }
        assert_eq!(map, empty(5));
    }

    #[test]
    fn refuses_a_note_that_is_torn_or_about_something_else() {
        let mut map = empty(9);
        map.insert(8);
        let good = map.to_bytes();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(SegmentMap::parse(&bad, &empty(9)).is_err(), "{at}");
            assert_eq!(SegmentMap::parse(&good[..at], &empty(9)), Err(MapError::Length));
        }
        assert_eq!(SegmentMap::parse(&[&good[..], &[0]].concat(), &empty(9)), Err(MapError::Length));
        assert_eq!(SegmentMap::parse(&good, &SegmentMap::new([3; 32], 9)), Err(MapError::Other));
        assert_eq!(SegmentMap::parse(&good, &empty(10)), Err(MapError::Other));
        assert_eq!(SegmentMap::parse(&good, &empty(17)), Err(MapError::Length));
    }

    #[test]
    fn refuses_bits_beyond_the_last_segment() {
        let mut map = empty(9);
        map.bits[1] = 0b10;
        assert_eq!(SegmentMap::parse(&map.to_bytes(), &empty(9)), Err(MapError::Damaged));
    }
}
