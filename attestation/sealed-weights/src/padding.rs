//! Hiding sizes: where files lie in a bundle, and to which length it and the card are filled up.

use serde::{Deserialize, Serialize};

/// How the number, the roles and the sizes of a package's files are hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// Not at all: one object for each file, as long as the file.
    #[default]
    None,
    /// One object for all files, at most 12 % longer than they are; its length has few significant bits.
    Padme,
    /// One object for all files, up to twice as long as they are; its length is a power of two.
    PowerOfTwo,
}

/// Each file of a bundle begins at a multiple of this.
const FILE_ALIGNMENT: u64 = 4096;
/// The shortest bundle, in bytes.
const MIN_BUNDLE_LEN: u64 = 1 << 20;
/// The shortest padded card, in bytes.
const MIN_CARD_LEN: u64 = 1 << 16;

impl Padding {
    /// The padding as the card writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Padme => "padme",
            Self::PowerOfTwo => "power-of-two",
        }
    }

    /// Whether all files lie in one object.
    pub(crate) const fn is_bundle(self) -> bool {
        !matches!(self, Self::None)
    }

    /// The offsets of files of these lengths in a bundle, and the bundle's length; `None` beyond 64 bits.
    pub(crate) fn bundle(self, lengths: impl IntoIterator<Item = u64>) -> Option<(Vec<u64>, u64)> {
        let mut offsets = Vec::new();
        let mut end = 0_u64;
        for len in lengths {
            let offset = end.checked_next_multiple_of(FILE_ALIGNMENT)?;
            offsets.push(offset);
            end = offset.checked_add(len)?;
        }
        Some((offsets, self.rounded(end)?.max(MIN_BUNDLE_LEN)))
    }

    /// The length to which a card of `len` bytes is filled up; `None` beyond 64 bits.
    pub(crate) fn card_len(self, len: u64) -> Option<u64> {
        match self {
            Self::None => Some(len),
            Self::Padme | Self::PowerOfTwo => Some(self.rounded(len)?.max(MIN_CARD_LEN)),
        }
    }

    fn rounded(self, len: u64) -> Option<u64> {
        match self {
            Self::None => Some(len),
            Self::Padme => padme(len),
            Self::PowerOfTwo => len.checked_next_power_of_two(),
        }
    }
}

/// Padmé of "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs" (PoPETs 2019-4), section 4.1: as
/// many low bits are zero as keep the number of significant bits of the length near the logarithm of its logarithm.
fn padme(len: u64) -> Option<u64> {
    let exponent = len.checked_ilog2()?;
    let significant = exponent.checked_ilog2().map_or(0, |log| log + 1);
    len.checked_next_multiple_of(1 << (exponent - significant.min(exponent)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The algorithm as the paper gives it.
    fn padme_of_the_paper(len: u64) -> u64 {
        let exponent = 63 - len.leading_zeros();
        let significant = f64::from(exponent).log2().floor() + 1.0;
        let last_bits = (0..64).find(|bits| f64::from(exponent - bits) == significant).unwrap();
        let mask = 2_u64.pow(last_bits) - 1;
        (len + mask) & !mask
    }

    #[test]
    fn padme_is_that_of_the_paper() {
        // The paper's own example, and every length where the exponent is at least 2, below which it pads nothing.
        assert_eq!(padme(9), Some(10));
        for len in 4..100_000 {
            assert_eq!(padme(len), Some(padme_of_the_paper(len)), "{len}");
        }
        assert_eq!(padme(16 << 30), Some(16 << 30));
        assert_eq!(padme((16 << 30) + 1), Some((16 << 30) + (1 << 28)));
        assert_eq!([1, 2, 3].map(padme), [Some(1), Some(2), Some(3)]);
        assert_eq!(padme(0), None);
        assert_eq!(padme(u64::MAX), None);
    }

    #[test]
    fn files_lie_apart_at_multiples_of_a_page() {
        let (offsets, len) = Padding::Padme.bundle([1, 4096, 4097, 5_000_000]).unwrap();
        assert_eq!(offsets, [0, 4096, 8192, 16_384]);
        assert_eq!(Some(len), padme(5_016_384));
        assert_eq!(Padding::Padme.bundle([7]), Some((vec![0], MIN_BUNDLE_LEN)));
        assert_eq!(Padding::PowerOfTwo.bundle([3 << 20]), Some((vec![0], 4 << 20)));
        assert_eq!(Padding::PowerOfTwo.bundle([u64::MAX, 1]), None);
        assert_eq!(Padding::PowerOfTwo.bundle([u64::MAX - 4096]), None);
    }

    #[test]
    fn cards_are_padded_only_with_the_rest() {
        assert_eq!(Padding::None.card_len(570), Some(570));
        assert_eq!(Padding::Padme.card_len(570), Some(MIN_CARD_LEN));
        assert_eq!(Padding::PowerOfTwo.card_len(MIN_CARD_LEN + 1), Some(2 * MIN_CARD_LEN));
        assert!(!Padding::None.is_bundle() && Padding::Padme.is_bundle() && Padding::PowerOfTwo.is_bundle());
    }

    #[test]
    fn names_are_the_serialised_ones() {
        for padding in [Padding::None, Padding::Padme, Padding::PowerOfTwo] {
            assert_eq!(serde_json::to_string(&padding).unwrap(), format!("\"{}\"", padding.as_str()));
        }
    }

    proptest! {
        #[test]
        fn padme_costs_at_most_an_eighth_and_keeps_the_order(len in 1_u64..1 << 62, more in 0_u64..1 << 40) {
            let padded = padme(len).unwrap();
            prop_assert!(padded >= len && padded - len <= len / 8);
            prop_assert!(padme(len + more).unwrap() >= padded);
            prop_assert_eq!(padme(padded), Some(padded), "a bucket is its own bucket");
        }
    }
}
