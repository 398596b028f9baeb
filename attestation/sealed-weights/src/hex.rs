//! Fixed-size byte strings written as lower-case hexadecimal, the only binary form inside the JSON of this format.

use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `N` bytes that read and write as exactly `2 N` lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hex<const N: usize>(pub(crate) [u8; N]);

/// The lower-case hexadecimal digits of `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes of exactly `2 N` lower-case digits.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0_u8; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(out)
}

fn digit(nibble: u8) -> char {
    char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 })
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits<const N: usize>;
        impl<const N: usize> Visitor<'_> for Digits<N> {
            type Value = Hex<N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} lower-case hexadecimal digits", 2 * N)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                decode(text).map(Hex).ok_or_else(|| E::custom("not the expected hexadecimal digits"))
            }
        }
        deserializer.deserialize_str(Digits::<N>).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_what_it_writes() {
        let hex = Hex([0x00, 0x9f, 0xa0, 0xff]);
        assert_eq!(hex.to_string(), "009fa0ff");
        assert_eq!(decode::<4>("009fa0ff"), Some(hex.0));
        for wrong in ["009fa0f", "009fa0fff", "009fa0fF", "009fa0f ", "", "009fa0ffff", "é9fa0ff"] {
            assert_eq!(decode::<4>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_is_shown_as_its_digits_and_wrong_text_is_told_what_was_wanted() {
        let hex = Hex([0x0a_u8, 0xf5]);
        assert_eq!((hex.to_string().as_str(), format!("{hex:?}").as_str()), ("0af5", "0af5"));
        let error = serde_json::from_str::<Hex<2>>("7").unwrap_err().to_string();
        assert!(error.contains("4 lower-case hexadecimal digits"), "{error}");
        let kid = crate::KeyId::from_prefix_of(&[7; 20]);
        assert_eq!(
            (kid.as_bytes(), kid.to_string(), format!("{kid:?}")),
            (&[7; 16], "07".repeat(16), "07".repeat(16))
        );
        let id: crate::ObjectId = serde_json::from_value("0a".repeat(16).into()).unwrap();
        assert_eq!(format!("{id:?}"), "0a".repeat(16));
    }
}
