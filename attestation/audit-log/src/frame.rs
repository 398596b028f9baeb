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

/// Appends the frame of the leaf with this index to what is written together, encrypted where there is a key. The leaf is 1 to
/// [`MAX_ENTRY_BYTES`] bytes long.
pub(crate) fn push_frame(out: &mut Vec<u8>, index: u64, leaf: &[u8], key: Option<&StorageKey>) {
    let begins = if out.is_empty() { BEGINS } else { 0 };
    let (bytes, encrypted) = match key {
        Some(_) => (leaf.len() + TAG_BYTES, ENCRYPTED),
        None => (leaf.len(), 0),
    };
    let length = (u32::try_from(bytes).unwrap_or(u32::MAX) | begins | encrypted).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[0; 4]);
    let start = out.len();
    out.extend_from_slice(leaf);
    if let Some(key) = key {
        let tag = key.seal(index, length, out.split_at_mut(start).1);
        out.extend_from_slice(&tag);
    }
    let (head, body) = out.split_at_mut(start);
    if let Some(crc) = head.last_chunk_mut() {
        *crc = crc32([&length, body]).to_le_bytes();
    }
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
