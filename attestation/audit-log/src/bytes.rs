//! Byte strings of a fixed length, written as lower-case hex.

use std::fmt;

/// `N` bytes whose one written form is `2 * N` lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hex<const N: usize>([u8; N]);

/// A SHA-256 value: a leaf, node or root hash, a digest of a public thing, or an HMAC.
pub type Hash = Hex<32>;
/// A launch measurement (SHA-384).
pub type Measurement = Hex<48>;
/// The random name of one boot.
pub type BootId = Hex<16>;
/// The identity of a GPU or switch (PDI), as its certificate names it.
pub type DeviceId = Hex<8>;
/// An Ed25519 public key (RFC 8032).
pub type PublicKey = Hex<32>;

/// How many bytes are turned into digits at once.
const PIECE_BYTES: usize = 32;

/// Text that is not the lower-case hex of exactly the wanted number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HexError {
    /// How many bytes were wanted.
    pub wanted_bytes: usize,
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {} bytes of lower-case hex", self.wanted_bytes)
    }
}

impl std::error::Error for HexError {}

impl<const N: usize> Hex<N> {
    /// The value with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl Hash {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_digest(&ring::digest::digest(&ring::digest::SHA256, bytes))
    }

    pub(crate) fn from_digest(digest: &ring::digest::Digest) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        Self(out)
    }
}

impl<const N: usize> From<[u8; N]> for Hex<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> TryFrom<&[u8]> for Hex<N> {
    type Error = HexError;

    fn try_from(bytes: &[u8]) -> Result<Self, HexError> {
        bytes.try_into().map(Self).map_err(|_| HexError { wanted_bytes: N })
    }
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

impl<const N: usize> std::str::FromStr for Hex<N> {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let wrong = HexError { wanted_bytes: N };
        if text.len() != 2 * N {
            return Err(wrong);
        }
        let mut out = [0; N];
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else { return Err(wrong) };
            *byte = digit(*high).ok_or(wrong)? << 4 | digit(*low).ok_or(wrong)?;
        }
        Ok(Self(out))
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'?');
        // By pieces, so that no allocation is needed.
        for piece in self.0.chunks(PIECE_BYTES) {
            let mut text = [0; 2 * PIECE_BYTES];
            let (pairs, _) = text.as_chunks_mut::<2>();
            for (pair, byte) in pairs.iter_mut().zip(piece) {
                *pair = [digit(byte >> 4), digit(byte & 15)];
            }
            let text = text.get(..2 * piece.len()).and_then(|text| std::str::from_utf8(text).ok());
            f.write_str(text.unwrap_or_default())?;
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> serde::Serialize for Hex<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> serde::Deserialize<'de> for Hex<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_has_one_form() {
        let digest = Hash::of(b"abc");
        let text = digest.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(Hex::new([0xa5; 70]).to_string(), "a5".repeat(70));
        for bad in [text.to_uppercase(), text[2..].into(), format!("{text}00"), "é".repeat(32)] {
            assert!(bad.parse::<Hash>().is_err(), "{bad}");
        }
    }
}
