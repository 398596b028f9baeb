//! How leaves lie in a segment file: length and CRC-32, each 4 bytes little-endian, then the leaf, or its ciphertext and tag. The highest
//! bit of the length says that the leaf is the first of those that were written together, the second highest that it is encrypted. CRC and
//! tag cover the length too, the CRC over what lies on the disk: a torn write is found without a key.
//!
//! The tree is what shows a change. The CRC only finds where a write was torn. A write that is torn may leave any of its sectors behind,
//! so whole leaves may follow torn ones of the same write; but no write begins before the one before it is durable, so after a leaf that
//! begins a write nothing before it can be torn.

use crate::entry::MAX_ENTRY_BYTES;
use crate::storage_key::{ReadingKey, StorageKey, TAG_BYTES};

/// The length of the header in bytes.
pub(crate) const FRAME_HEADER_BYTES: usize = 8;
/// In the length of a leaf that begins a write.
const BEGINS: u32 = 1 << 31;
/// In the length of a leaf that is encrypted.
const ENCRYPTED: u32 = 1 << 30;

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
pub(crate) fn crc32(parts: [&[u8]; 2]) -> u32 {
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

/// The leaf of the frame that begins at `at`, which is the last and has not ended.
pub(crate) fn last_leaf(out: &[u8], at: usize) -> &[u8] {
    out.get(at + FRAME_HEADER_BYTES..).unwrap_or_default()
}

/// Ends the frame that begins at `at`, encrypted where there is a key: its leaf, which has this index and is 1 to [`MAX_ENTRY_BYTES`] bytes
/// long, goes to the end.
pub(crate) fn end_frame(out: &mut Vec<u8>, at: usize, index: u64, key: Option<&StorageKey>) {
    let leaf_bytes = last_leaf(out, at).len();
    let (bytes, encrypted) = match key {
        Some(_) => (leaf_bytes + TAG_BYTES, ENCRYPTED),
        None => (leaf_bytes, 0),
    };
    let begins = if at == 0 { BEGINS } else { 0 };
    let length = (u32::try_from(bytes).unwrap_or(u32::MAX) | begins | encrypted).to_le_bytes();
    if let Some(key) = key
        && let Some(leaf) = out.get_mut(at + FRAME_HEADER_BYTES..)
    {
        let tag = key.seal(index, length, leaf);
        out.extend_from_slice(&tag);
    }
    let Some((header, body)) = out.get_mut(at..).and_then(|frame| frame.split_first_chunk_mut()) else {
        return;
    };
    let header: &mut [u8; FRAME_HEADER_BYTES] = header;
    let (first, second) = header.split_at_mut(length.len());
    first.copy_from_slice(&length);
    second.copy_from_slice(&crc32([&length, body]).to_le_bytes());
}

/// A frame's header.
pub(crate) struct FrameHeader {
    /// The length of what follows it: of the leaf, or of its ciphertext and tag.
    pub(crate) body_bytes: usize,
    /// Whether it is the first of a write.
    pub(crate) begins: bool,
    /// Whether the leaf is encrypted.
    pub(crate) encrypted: bool,
    length: [u8; 4],
    crc: u32,
}

impl FrameHeader {
    /// The header, unless its length is that of no leaf: zeros are no frame.
    pub(crate) fn parse(header: [u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        let [a, b, c, d, crc @ ..] = header;
        let length = [a, b, c, d];
        let word = u32::from_le_bytes(length);
        let (begins, encrypted) = (word & BEGINS != 0, word & ENCRYPTED != 0);
        let body_bytes = usize::try_from(word & !(BEGINS | ENCRYPTED)).ok()?;
        let more = if encrypted { TAG_BYTES } else { 0 };
        let fits = (1 + more..=MAX_ENTRY_BYTES + more).contains(&body_bytes);
        fits.then_some(Self { body_bytes, begins, encrypted, length, crc: u32::from_le_bytes(crc) })
    }

    /// Whether this is what was framed.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.body_bytes && crc32([&self.length, body]) == self.crc
    }

    /// Decrypts the body in place; false when it is not what the writer encrypted for this index.
    pub(crate) fn open(&self, key: &ReadingKey, index: u64, body: &mut Vec<u8>) -> bool {
        key.open(index, self.length, body)
    }
}

/// Whether a whole frame stands at the start of `bytes`.
pub(crate) fn is_frame(bytes: &[u8]) -> bool {
    let Some((header, rest)) = bytes.split_first_chunk() else { return false };
    let header = FrameHeader::parse(*header);
    header.is_some_and(|header| rest.get(..header.body_bytes).is_some_and(|body| header.fits(body)))
}

/// Whether a whole frame that begins a write stands at the start of `bytes`.
pub(crate) fn begins_write(bytes: &[u8]) -> bool {
    let header = bytes.first_chunk().and_then(|header| FrameHeader::parse(*header));
    header.is_some_and(|header| header.begins) && is_frame(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_frame(out: &mut Vec<u8>, index: u64, leaf: &[u8], key: Option<&StorageKey>) {
        let at = begin_frame(out);
        out.extend_from_slice(leaf);
        assert_eq!(last_leaf(out, at), leaf);
        end_frame(out, at, index, key);
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

    /// The leaf with this index, if a whole frame of it stands there.
    fn read(bytes: &[u8], index: u64, key: Option<&ReadingKey>) -> Option<Vec<u8>> {
        let (header, rest) = bytes.split_first_chunk()?;
        let header = FrameHeader::parse(*header)?;
        let mut body = rest.get(..header.body_bytes).filter(|body| header.fits(body))?.to_vec();
        assert!(is_frame(bytes));
        match key {
            Some(key) => (header.encrypted && header.open(key, index, &mut body)).then_some(body),
            None => (!header.encrypted).then_some(body),
        }
    }

    fn keys() -> [(Option<StorageKey>, Option<ReadingKey>); 2] {
        let (key, bytes) = StorageKey::generate().unwrap();
        [(None, None), (Some(key), Some(ReadingKey::new(&bytes)))]
    }

    #[test]
    fn a_frame_reads_back_and_any_flipped_bit_or_cut_is_seen() {
        for (writing, reading) in keys() {
            let mut frame = Vec::new();
            push_frame(&mut frame, 5, b"{\"act\":1}", writing.as_ref());
            assert_eq!(read(&frame, 5, reading.as_ref()).as_deref(), Some(b"{\"act\":1}".as_slice()));
            for bit in 0..frame.len() * 8 {
                let mut changed = frame.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_frame(&changed), "bit {bit}");
                assert_eq!(read(&changed, 5, reading.as_ref()), None, "bit {bit}");
            }
            for length in 0..frame.len() {
                assert_eq!(read(&frame[..length], 5, reading.as_ref()), None, "cut at {length}");
            }
        }
        assert!(!is_frame(&[0; 64]));
    }

    #[test]
    fn any_flipped_bit_is_found_by_the_tag_where_the_crc_was_made_to_fit() {
        let [_, (writing, reading)] = keys();
        let mut frame = Vec::new();
        push_frame(&mut frame, 5, b"{\"act\":1}", writing.as_ref());
        for bit in (0..32).chain(64..frame.len() * 8) {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let crc = crc32([&changed[..4], &changed[8..]]).to_le_bytes();
            changed[4..8].copy_from_slice(&crc);
            assert_eq!(read(&changed, 5, reading.as_ref()), None, "bit {bit}");
        }
        assert_eq!(read(&frame, 6, reading.as_ref()), None, "at another place");
    }

    #[test]
    fn the_first_frame_of_a_write_says_so() {
        for (writing, reading) in keys() {
            let mut frames = Vec::new();
            push_frame(&mut frames, 0, b"{\"act\":1}", writing.as_ref());
            let first = frames.len();
            push_frame(&mut frames, 1, b"{\"act\":2}", writing.as_ref());
            assert!(begins_write(&frames));
            assert!(!begins_write(&frames[first..]));
            let second = read(&frames[first..], 1, reading.as_ref());
            assert_eq!(second.as_deref(), Some(b"{\"act\":2}".as_slice()));
            frames[12] ^= 1;
            assert!(!begins_write(&frames));
        }
    }

    #[test]
    fn the_longest_entry_has_a_frame_in_both_forms() {
        for (writing, reading) in keys() {
            let leaf = vec![b'x'; MAX_ENTRY_BYTES];
            let mut frame = Vec::new();
            push_frame(&mut frame, 0, &leaf, writing.as_ref());
            assert_eq!(read(&frame, 0, reading.as_ref()), Some(leaf));
        }
    }
}
