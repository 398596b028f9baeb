//! Changes of single bytes. An offset outside changes nothing, which the suite's own test then shows.

/// Sets one byte.
pub(super) fn put(bytes: &mut [u8], offset: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(offset) {
        *byte = value;
    }
}

/// Flips the lowest bit of one byte.
pub(super) fn flip(bytes: &mut [u8], offset: usize) {
    if let Some(byte) = bytes.get_mut(offset) {
        *byte ^= 1;
    }
}
