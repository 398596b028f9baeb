//! How Intel writes bytes and lists in JSON.
//!
//! Texts are borrowed, so one with an escape is refused; Intel's words have none. Keys that are not named here are
//! ignored, since Intel adds some under one version; a named key that comes twice is refused.

use super::TcbStatus;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// `N` bytes as hex of either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hex<const N: usize>(pub(super) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&'de str>::deserialize(deserializer)?;
        decode(text).map(Self).ok_or_else(|| de::Error::custom("hex of another length"))
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// A list of at most `MAX` items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bounded<T, const MAX: usize>(pub(super) Vec<T>);

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    if list.len() == MAX {
                        return Err(de::Error::custom("too many items"));
                    }
                    list.push(item);
                }
                Ok(list)
            }
        }

        deserializer.deserialize_seq(Items::<T, MAX>(PhantomData)).map(Self)
    }
}

impl<'de> Deserialize<'de> for TcbStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = <&'de str>::deserialize(deserializer)?;
        Self::from_word(word).ok_or_else(|| de::Error::custom("unknown status"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hex_of_both_cases_and_one_length() {
        assert_eq!(serde_json::from_str::<Hex<2>>("\"aBcD\"").unwrap(), Hex([0xab, 0xcd]));
        for bad in ["\"abc\"", "\"abcdef\"", "\"abcg\"", "\"+bcd\"", "\"a\\u0062cd\"", "1", "\"éé\""] {
            assert!(serde_json::from_str::<Hex<2>>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn case_09_refuses_long_lists_and_unknown_words() {
        assert_eq!(serde_json::from_str::<Bounded<u8, 2>>("[1,2]").unwrap().0, [1, 2]);
        assert!(serde_json::from_str::<Bounded<u8, 2>>("[1,2,3]").is_err());
        assert_eq!(serde_json::from_str::<TcbStatus>("\"OutOfDate\"").unwrap(), TcbStatus::OutOfDate);
        assert!(serde_json::from_str::<TcbStatus>("\"Fine\"").is_err());
    }
}
