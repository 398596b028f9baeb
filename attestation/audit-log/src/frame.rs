//! How leaves lie in a segment file: length and CRC-32, each 4 bytes little-endian, then the leaf. The highest bit of the length says
//! that the leaf is the first of those that were written together.
//!
//! The tree is what shows a change. The CRC only finds where a write was torn. A write that is torn may leave any of its sectors behind,
//! so whole leaves may follow torn ones of the same write; but no write begins before the one before it is durable, so after a leaf that
//! begins a write nothing before it can be torn.

use crate::entry::MAX_ENTRY_BYTES;

/// The length of the header in bytes.
pub(crate) const FRAME_HEADER_BYTES: usize = 8;
/// In the length of a leaf that begins a write.
const BEGINS: u32 = 1 << 31;

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut value = byte;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler; the index is below 256")]
        {
            table[byte as usize] = value;
        }
        byte += 1;
    }
    table
};

/// CRC-32 (IEEE 802.3) over the parts, one after the other.
fn crc32(parts: [&[u8]; 2]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.into_iter().flatten() {
        let [low, ..] = crc.to_le_bytes();
        let entry = CRC_TABLE.get(usize::from(low ^ byte)).copied().unwrap_or_default();
        crc = crc >> 8 ^ entry;
    }
    !crc
}

/// Appends the frame of `leaf` to what is written together. The leaf is 1 to [`MAX_ENTRY_BYTES`] bytes long.
pub(crate) fn push_frame(out: &mut Vec<u8>, leaf: &[u8]) {
    let begins = if out.is_empty() { BEGINS } else { 0 };
    let length = (u32::try_from(leaf.len()).unwrap_or(u32::MAX) | begins).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&crc32([&length, leaf]).to_le_bytes());
    out.extend_from_slice(leaf);
}

/// A frame's header.
pub(crate) struct FrameHeader {
    pub(crate) leaf_bytes: usize,
    /// Whether it is the first of a write.
    pub(crate) begins: bool,
    length: [u8; 4],
    crc: u32,
}

impl FrameHeader {
    /// The header, unless its length is that of no leaf: zeros are no frame.
    pub(crate) fn parse(header: [u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let [a, b, c, d, crc @ ..] = header;
        let length = [a, b, c, d];
        let word = u32::from_le_bytes(length);
        let leaf_bytes = usize::try_from(word & !BEGINS).ok()?;
        let begins = word & BEGINS != 0;
        let fits = (1..=MAX_ENTRY_BYTES).contains(&leaf_bytes);
        fits.then_some(Self { leaf_bytes, begins, length, crc: u32::from_le_bytes(crc) })
    }

    /// Whether this is the leaf that was framed.
    pub(crate) fn fits(&self, leaf: &[u8]) -> bool {
        leaf.len() == self.leaf_bytes && crc32([&self.length, leaf]) == self.crc
    }
}

/// The leaf at the start of `bytes`, if a whole frame stands there.
pub(crate) fn read_frame(bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_first_chunk()?;
    let header = FrameHeader::parse(*header)?;
    rest.get(..header.leaf_bytes).filter(|leaf| header.fits(leaf))
}

/// Whether a whole frame that begins a write stands at the start of `bytes`.
pub(crate) fn begins_write(bytes: &[u8]) -> bool {
    let header = bytes.first_chunk().and_then(|header| FrameHeader::parse(*header));
    header.is_some_and(|header| header.begins) && read_frame(bytes).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_that_of_the_standard_check_value() {
        assert_eq!(crc32([b"12345", b"6789"]), 0xcbf4_3926);
    }

    #[test]
    fn a_frame_reads_back_and_any_flipped_bit_or_cut_is_seen() {
        let mut frame = Vec::new();
        push_frame(&mut frame, b"{\"act\":1}");
        assert_eq!(read_frame(&frame), Some(b"{\"act\":1}".as_slice()));
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_frame(&changed), None, "bit {bit}");
        }
        for length in 0..frame.len() {
            assert_eq!(read_frame(&frame[..length]), None, "cut at {length}");
        }
        assert_eq!(read_frame(&[0; 64]), None);
    }

    #[test]
    fn the_first_frame_of_a_write_says_so() {
        let mut frames = Vec::new();
        push_frame(&mut frames, b"{\"act\":1}");
        let first = frames.len();
        push_frame(&mut frames, b"{\"act\":2}");
        assert!(begins_write(&frames));
        assert!(!begins_write(&frames[first..]));
        assert_eq!(read_frame(&frames[first..]), Some(b"{\"act\":2}".as_slice()));
        frames[12] ^= 1;
        assert!(!begins_write(&frames));
    }
}
