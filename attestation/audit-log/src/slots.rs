//! Where a log's own checkpoint lies: one file of two slots of [`SLOT_BYTES`], written in turns and in place. A slot is overwritten only
//! when the other one is durable, so whatever a torn write leaves, the checkpoint before it is there. In place, because that takes one sync,
//! and a new file with a new name takes two.
//!
//! A slot: sequence number (8 bytes), length of the note (4) and CRC-32 over both and the note (4), little-endian, then the note, then zeros.
//! The checkpoint with an odd sequence number lies in the second slot. The CRC tells a torn write from a note that somebody else wrote; who
//! wrote it is told by the signature alone.

use crate::frame::crc32;
use crate::storage::CheckpointSlot;

/// A page, so that no medium writes a part of one slot together with a part of the other.
pub(crate) const SLOT_BYTES: usize = 4096;
const HEADER_BYTES: usize = 16;

/// Both slots are damaged, which no crash leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

impl CheckpointSlot {
    /// The slot of the checkpoint with this sequence number.
    pub(crate) const fn of(sequence: u64) -> Self {
        if sequence.is_multiple_of(2) { Self::First } else { Self::Second }
    }

    /// Where in the file it begins.
    pub(crate) const fn offset(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => SLOT_BYTES,
        }
    }
}

/// The content of a slot; `None` for a note that is too long for one.
pub(crate) fn encode(sequence: u64, note: &[u8]) -> Option<[u8; SLOT_BYTES]> {
    let mut slot = [0; SLOT_BYTES];
    let (header, body) = slot.split_first_chunk_mut::<HEADER_BYTES>()?;
    body.get_mut(..note.len())?.copy_from_slice(note);
    let (numbers, crc) = header.split_at_mut(HEADER_BYTES - 4);
    let (first, second) = numbers.split_at_mut(8);
    first.copy_from_slice(&sequence.to_le_bytes());
    second.copy_from_slice(&u32::try_from(note.len()).ok()?.to_le_bytes());
    crc.copy_from_slice(&crc32([numbers, note]).to_le_bytes());
    Some(slot)
}

/// What stands in one slot.
enum Found<'a> {
    /// Nothing was written.
    Nothing,
    /// Not what was written.
    Torn,
    /// A checkpoint with its sequence number.
    Note(u64, &'a [u8]),
}

fn decode(which: CheckpointSlot, slot: &[u8]) -> Found<'_> {
    if slot.iter().all(|byte| *byte == 0) {
        return Found::Nothing;
    }
    note(which, slot).map_or(Found::Torn, |(sequence, note)| Found::Note(sequence, note))
}

fn note(which: CheckpointSlot, slot: &[u8]) -> Option<(u64, &[u8])> {
    let (numbers, rest) = slot.split_first_chunk::<{ HEADER_BYTES - 4 }>()?;
    let (crc, body) = rest.split_first_chunk()?;
    let (sequence, length) = numbers.split_first_chunk()?;
    let sequence = u64::from_le_bytes(*sequence);
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (note, rest) = body.split_at_checked(length)?;
    let is_whole = crc32([numbers, note]) == u32::from_le_bytes(*crc) && rest.iter().all(|byte| *byte == 0);
    (is_whole && CheckpointSlot::of(sequence) == which).then_some((sequence, note))
}

/// The note of the latest checkpoint in the file; `None` when the process stopped before the first was written.
pub(crate) fn newest(file: &[u8]) -> Result<Option<&[u8]>, Damaged> {
    let (first, second) = file.split_at_checked(SLOT_BYTES).ok_or(Damaged)?;
    if second.len() != SLOT_BYTES {
        return Err(Damaged);
    }
    match (decode(CheckpointSlot::First, first), decode(CheckpointSlot::Second, second)) {
        (Found::Note(a, first), Found::Note(b, second)) => Ok(Some(if a > b { first } else { second })),
        (Found::Note(_, note), _) | (_, Found::Note(_, note)) => Ok(Some(note)),
        (Found::Torn, Found::Torn) => Err(Damaged),
        (Found::Nothing, _) | (_, Found::Nothing) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(slots: [&[u8]; 2]) -> Vec<u8> {
        slots.concat()
    }

    const EMPTY: [u8; SLOT_BYTES] = [0; SLOT_BYTES];
    const TORN: [u8; SLOT_BYTES] = [7; SLOT_BYTES];

    #[test]
    fn the_later_of_two_checkpoints_is_read_wherever_it_lies() {
        let slots = |first, second| {
            file([&encode(first, b"of the first").unwrap(), &encode(second, b"of the second").unwrap()])
        };
        assert_eq!(newest(&slots(2, 1)), Ok(Some(b"of the first".as_slice())));
        assert_eq!(newest(&slots(2, 3)), Ok(Some(b"of the second".as_slice())));
        assert_eq!(newest(&slots(u64::MAX - 1, u64::MAX)), Ok(Some(b"of the second".as_slice())));
    }

    #[test]
    fn a_torn_slot_leaves_the_other_and_two_are_damage() {
        let (first, second) = (encode(4, b"4").unwrap(), encode(5, b"5").unwrap());
        assert_eq!(newest(&file([&first, &TORN])), Ok(Some(b"4".as_slice())));
        assert_eq!(newest(&file([&TORN, &second])), Ok(Some(b"5".as_slice())));
        assert_eq!(newest(&file([&first, &EMPTY])), Ok(Some(b"4".as_slice())));
        assert_eq!(newest(&file([&EMPTY, &EMPTY])), Ok(None), "before the first");
        assert_eq!(newest(&file([&EMPTY, &TORN])), Ok(None), "the first was torn");
        assert_eq!(newest(&file([&TORN, &TORN])), Err(Damaged));
        // In each other's place: written by nobody who counts.
        assert_eq!(newest(&file([&second, &first])), Err(Damaged));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_of_a_slot_is_seen() {
        let slot = encode(1, b"a note\n").unwrap();
        for bit in 0..SLOT_BYTES * 8 {
            let mut changed = slot;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(newest(&file([&TORN, &changed])), Err(Damaged), "bit {bit}");
        }
        let whole = file([&EMPTY, &slot]);
        for length in (0..whole.len()).step_by(97) {
            assert_eq!(newest(&whole[..length]), Err(Damaged), "cut at {length}");
        }
        assert_eq!(newest(&[whole.as_slice(), &[0]].concat()), Err(Damaged), "longer");
        assert_eq!(newest(&whole), Ok(Some(b"a note\n".as_slice())));
    }

    #[test]
    fn a_note_as_long_as_a_slot_fits_and_no_longer_one() {
        let longest = vec![b'x'; SLOT_BYTES - HEADER_BYTES];
        let slot = encode(7, &longest).unwrap();
        assert_eq!(newest(&file([&EMPTY, &slot])), Ok(Some(longest.as_slice())));
        assert!(encode(7, &vec![b'x'; longest.len() + 1]).is_none());
    }
}
