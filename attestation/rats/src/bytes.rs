//! Newtypes for byte strings of a fixed length, written as lower-case hex everywhere a person reads them.

use std::fmt;

/// Text that is not the lower-case hex of exactly the wanted number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseHexError {
    /// How many bytes were wanted.
    pub wanted_bytes: usize,
}

impl fmt::Display for ParseHexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {} bytes of lower-case hex", self.wanted_bytes)
    }
}

impl std::error::Error for ParseHexError {}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N], ParseHexError> {
    let mut out = [0; N];
    decode_into(text, &mut out).map(|()| out)
}

/// Fills `out` with the bytes of exactly as many pairs of digits.
pub(crate) fn decode_into(text: &str, out: &mut [u8]) -> Result<(), ParseHexError> {
    let wrong = ParseHexError { wanted_bytes: out.len() };
    if text.len() != 2 * out.len() {
        return Err(wrong);
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return Err(wrong) };
        *byte = digit(*high).ok_or(wrong)? << 4 | digit(*low).ok_or(wrong)?;
    }
    Ok(())
}

/// Bytes of any number as lower-case hex, the form in which checks, texts and JSON show them.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 })).collect()
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The length in bytes.
            pub const LEN: usize = $len;

            /// The value with these bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseHexError;

            fn try_from(bytes: &[u8]) -> Result<Self, ParseHexError> {
                bytes.try_into().map(Self).map_err(|_| ParseHexError { wanted_bytes: $len })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseHexError;

            fn from_str(text: &str) -> Result<Self, ParseHexError> {
                decode(text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fixed_bytes!(
    /// A value that the relying party chose at random for one exchange; evidence that holds it is fresh.
    Nonce, 32
);
fixed_bytes!(
    /// A SHA-256 digest.
    Sha256Digest, 32
);
fixed_bytes!(
    /// The launch digest of a guest: MEASUREMENT of an SNP report (SHA-384, SEV-SNP firmware ABI, section 8.17).
    Measurement, 48
);
fixed_bytes!(
    /// The 64 bytes that a guest chooses and its report signs. See [`KeyBinding`](crate::KeyBinding).
    ReportData, 64
);
fixed_bytes!(
    /// An Ed25519 public key (RFC 8032): signs audit checkpoints, manifests or release decisions.
    Ed25519PublicKey, 32
);

impl Sha256Digest {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Self(out)
    }

    /// The SHA-256 digest of `items`, every one preceded by its length as 8 bytes big-endian, so that no two lists have
    /// one input.
    #[must_use]
    pub fn of_items(items: &[&[u8]]) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for item in items {
            context.update(&(item.len() as u64).to_be_bytes());
            context.update(item);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Self(out)
    }
}

impl Nonce {
    /// A fresh random nonce from the system's generator.
    ///
    /// # Errors
    /// [`RandomError`](crate::RandomError) when the system gives no randomness.
    pub fn random() -> Result<Self, crate::RandomError> {
        let mut out = [0; 32];
        crate::secret::fill_random(&mut out)?;
        Ok(Self(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lists_of_items_have_one_digest() {
        let lists: [&[&[u8]]; 5] =
            [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"abc", b""], &[b"", b"abc"]];
        let digests = lists.map(Sha256Digest::of_items);
        assert!((1..5).all(|at| !digests[..at].contains(&digests[at])));
        assert_eq!(digests[2], Sha256Digest::of(b"\0\0\0\0\0\0\0\x03abc"));
    }

    #[test]
    fn hex_round_trips_and_has_one_form() {
        let digest = Sha256Digest::of(b"abc");
        let text = digest.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(text.parse(), Ok(digest));
        assert!(text.to_uppercase().parse::<Sha256Digest>().is_err());
        assert!(text[2..].parse::<Sha256Digest>().is_err());
        assert!(format!("{text}00").parse::<Sha256Digest>().is_err());
        assert!("é".repeat(32).parse::<Sha256Digest>().is_err());
    }
}
