//! Request ids, clocks and random numbers.

use anchorhold_rats::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Crockford's base32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

pub(crate) fn since_1970() -> Duration {
    // A clock before 1970 is wrong, and nothing here depends on it being right.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

pub(crate) fn unix_seconds() -> u64 {
    since_1970().as_secs()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(i64::try_from(unix_seconds()).unwrap_or(i64::MAX))
}

/// Random bytes; `None` when the system gives none.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok().map(|()| bytes)
}

/// A ULID: 48 bits of milliseconds, 80 random bits, as 26 characters. `None` without randomness.
pub(crate) fn ulid() -> Option<String> {
    let noise = random::<10>()?;
    let mut bits = since_1970().as_millis() << 80;
    for (at, byte) in noise.into_iter().enumerate() {
        bits |= u128::from(byte) << (8 * at);
    }
    Some(encode(bits))
}

/// The lower 128 bits as 26 digits, the first of which holds three bits.
fn encode(bits: u128) -> String {
    (0..26)
        .rev()
        .map(|digit| {
            let value = usize::try_from((bits >> (5 * digit)) & 31).unwrap_or(0);
            char::from(ALPHABET.get(value).copied().unwrap_or(b'0'))
        })
        .collect()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_26_digits_in_order_of_time() {
        assert_eq!(encode(u128::MAX), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert_eq!(encode(33), "00000000000000000000000011");
        assert!(encode(2 << 80) > encode((1 << 80) | 0xffff));
        let (one, two) = (ulid().unwrap(), ulid().unwrap());
        assert_eq!(one.len(), 26);
        assert_ne!(one, two);
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
