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

/// How many bytes one step of the CRC takes.
const CRC_STEP: usize = 16;

/// Table `k` holds, for each byte, what it does to the CRC when `k` more bytes follow it.
const CRC_TABLES: [[u32; 256]; CRC_STEP] = {
    let mut tables = [[0; 256]; CRC_STEP];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut value = byte;
        let mut table = 0;
        while table < CRC_STEP {
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
                bit += 1;
            }
            #[expect(
                clippy::indexing_slicing,
                reason = "evaluated by the compiler; the indices are below the lengths"
            )]
            {
                tables[table][byte as usize] = value;
            }
            table += 1;
        }
        byte += 1;
    }
    tables
};

/// CRC-32 (IEEE 802.3) over the parts, one after the other. A step takes 16 bytes by tables that do not wait for each other
/// ("slicing": Kounavis and Berry, 2005), which is six times as fast as byte by byte.
fn crc32(parts: [&[u8]; 2]) -> u32 {
    !parts.into_iter().fold(u32::MAX, crc32_on)
}

fn crc32_on(crc: u32, bytes: &[u8]) -> u32 {
    let of = |table: &[u32; 256], byte: u8| table.get(usize::from(byte)).copied().unwrap_or_default();
    let (steps, rest) = bytes.as_chunks::<CRC_STEP>();
    let crc = steps.iter().fold(crc, |crc, step| {
        let mut step = *step;
        for (byte, crc) in step.iter_mut().zip(crc.to_le_bytes()) {
            *byte ^= crc;
        }
        CRC_TABLES.iter().zip(step.iter().rev()).fold(0, |crc, (table, byte)| crc ^ of(table, *byte))
    });
    let [table, ..] = &CRC_TABLES;
    rest.iter().fold(crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        crc >> 8 ^ of(table, low ^ byte)
    })
}

/// Makes room for the header of a frame, whose leaf is then appended; gives its place.
pub(crate) fn begin_frame(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    at
}

/// The leaf of the frame that begins at `at`, which is the last.
pub(crate) fn last_leaf(out: &[u8], at: usize) -> &[u8] {
    out.get(at + FRAME_HEADER_BYTES..).unwrap_or_default()
}

/// Ends the frame that begins at `at`: its leaf, 1 to [`MAX_ENTRY_BYTES`] bytes long, goes to the end.
pub(crate) fn end_frame(out: &mut [u8], at: usize) {
    let begins = if at == 0 { BEGINS } else { 0 };
    let Some((header, leaf)) = out.get_mut(at..).and_then(|frame| frame.split_first_chunk_mut()) else {
        return;
    };
    let length = (u32::try_from(leaf.len()).unwrap_or(u32::MAX) | begins).to_le_bytes();
    let header: &mut [u8; FRAME_HEADER_BYTES] = header;
    let (first, second) = header.split_at_mut(length.len());
    first.copy_from_slice(&length);
    second.copy_from_slice(&crc32([&length, leaf]).to_le_bytes());
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

    fn push_frame(out: &mut Vec<u8>, leaf: &[u8]) {
        let at = begin_frame(out);
        out.extend_from_slice(leaf);
        assert_eq!(last_leaf(out, at), leaf);
        end_frame(out, at);
    }

    #[test]
    fn crc_by_steps_is_the_crc_bit_by_bit() {
        let bytes: Vec<u8> = (0..200_u32).map(|n| (n * n + 7 * n).to_le_bytes()[0]).collect();
        for length in 0..bytes.len() {
            let (first, second) = bytes[..length].split_at(length / 3);
            let mut crc = u32::MAX;
            for byte in &bytes[..length] {
                crc ^= u32::from(*byte);
                for _ in 0..8 {
                    crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
                }
            }
            assert_eq!(crc32([first, second]), !crc, "{length} bytes");
        }
    }

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
