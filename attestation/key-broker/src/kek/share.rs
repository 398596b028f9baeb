//! Shares of a key-encryption key, for people to keep: any `threshold` of `total` recover the key, fewer tell nothing.
//!
//! A share is a short text that can be printed and typed in again. Its check value finds slips of the pen; a share that
//! was altered on purpose is found when the key that comes out does not fit its commitment, which every share carries.

use super::{KekId, Place, commitment, shamir};
use anchorhold_rats::Secret;
use ring::digest;
use std::fmt::{self, Write as _};
use std::str::FromStr;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The longest text of a share that is read, in bytes.
pub const MAX_SHARE_BYTES: usize = 512;
const TITLE: &str = "anchorhold kek share v1";
const CHECK_BYTES: usize = 8;

/// How a key is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    threshold: u8,
    total: u8,
}

impl Scheme {
    /// The most shares of one key.
    pub const MAX_SHARES: u8 = 32;

    /// Any `threshold` of `total` shares recover the key. At least two: one share alone must not be the key.
    ///
    /// # Errors
    /// [`ShareError::Scheme`].
    pub const fn new(threshold: u8, total: u8) -> Result<Self, ShareError> {
        if threshold < 2 || threshold > total || total > Self::MAX_SHARES {
            return Err(ShareError::Scheme);
        }
        Ok(Self { threshold, total })
    }

    /// How many shares recover the key.
    #[must_use]
    pub const fn threshold(self) -> u8 {
        self.threshold
    }

    /// How many shares there are.
    #[must_use]
    pub const fn total(self) -> u8 {
        self.total
    }
}

impl FromStr for Scheme {
    type Err = ShareError;

    /// Reads `3-of-5`.
    fn from_str(text: &str) -> Result<Self, ShareError> {
        let (threshold, total) = text.split_once("-of-").ok_or(ShareError::Scheme)?;
        let number = |text: &str| number(text).ok_or(ShareError::Scheme);
        Self::new(number(threshold)?, number(total)?)
    }
}

/// Why shares were not made, not read, or do not recover a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareError {
    /// There is no such scheme.
    Scheme,
    /// The text is not one of a share.
    Text,
    /// The text was not copied faithfully: its check value is another.
    Check,
    /// Shares of different keys, or of different sharings of one key.
    Mixed {
        /// In what they differ.
        what: &'static str,
    },
    /// One share was given twice.
    Duplicate {
        /// Which.
        index: u8,
    },
    /// Not enough shares.
    TooFew {
        /// How many are needed.
        wanted: u8,
        /// How many were given.
        observed: usize,
    },
    /// What the shares give is not the key that was shared: at least one was altered.
    Altered,
    /// The system's random generator gave nothing.
    Random,
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => write!(
                f,
                "not a way to share a key: wanted K-of-N with 2 <= K <= N <= {}",
                Scheme::MAX_SHARES
            ),
            Self::Text => f.write_str("not the text of a share"),
            Self::Check => f.write_str("the share was not copied faithfully: its check value is another"),
            Self::Mixed { what } => write!(f, "the shares are of different sharings: not one {what}"),
            Self::Duplicate { index } => write!(f, "share {index} was given twice"),
            Self::TooFew { wanted, observed } => {
                write!(f, "{wanted} shares are needed, {observed} were given")
            }
            Self::Altered => f.write_str("the shares do not give the key that was shared: one was altered"),
            Self::Random => f.write_str("the system's random generator gave nothing"),
        }
    }
}

impl std::error::Error for ShareError {}

/// One share of a key-encryption key. It is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Share {
    kek: KekId,
    /// One random value for all shares that were made together.
    set: [u8; 8],
    scheme: Scheme,
    index: u8,
    commitment: [u8; 32],
    value: Secret<32>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({}, {} of {})", self.kek, self.index, self.scheme.total)
    }
}

pub(super) fn key_place(kek: &KekId) -> Place<'_> {
    Place { kind: "key-encryption key", name: kek.as_str().as_bytes() }
}

/// Shares `key`.
///
/// # Errors
/// [`ShareError::Random`].
pub fn split(kek: &KekId, key: &Secret<32>, scheme: Scheme) -> Result<Vec<Share>, ShareError> {
    let set: Secret<8> = Secret::random().map_err(|_| ShareError::Random)?;
    // Uniform, 0 included also for the highest: anything else tells something about the key.
    let mut coefficients = vec![key.clone()];
    for _ in 1..scheme.threshold {
        coefficients.push(Secret::random().map_err(|_| ShareError::Random)?);
    }
    let share = |index| Share {
        kek: kek.clone(),
        set: *set.expose(),
        scheme,
        index,
        commitment: commitment(key_place(kek), key.expose()),
        value: shamir::evaluate(&coefficients, index),
    };
    Ok((1..=scheme.total).map(share).collect())
}

/// Recovers a key. Establishes that it is the one that was shared.
///
/// # Errors
/// [`ShareError`]. More shares than needed are welcome; those beyond are only compared.
pub fn combine(shares: &[Share]) -> Result<(KekId, Secret<32>), ShareError> {
    let first = shares.first().ok_or(ShareError::TooFew { wanted: 2, observed: 0 })?;
    for (position, share) in shares.iter().enumerate() {
        let differs = [
            (share.kek != first.kek, "key"),
            (share.set != first.set, "set"),
            (share.scheme != first.scheme, "scheme"),
            (share.commitment != first.commitment, "commitment"),
        ];
        if let Some((_, what)) = differs.into_iter().find(|(differs, _)| *differs) {
            return Err(ShareError::Mixed { what });
        }
        if shares.iter().take(position).any(|other| other.index == share.index) {
            return Err(ShareError::Duplicate { index: share.index });
        }
    }
    let wanted = first.scheme.threshold;
    if shares.len() < usize::from(wanted) {
        return Err(ShareError::TooFew { wanted, observed: shares.len() });
    }
    let points: Vec<_> =
        shares.iter().take(usize::from(wanted)).map(|share| (share.index, &share.value)).collect();
    let key = shamir::interpolate(&points).ok_or(ShareError::Altered)?;
    let observed = commitment(key_place(&first.kek), key.expose());
    if observed.ct_eq(&first.commitment).into() {
        Ok((first.kek.clone(), key))
    } else {
        Err(ShareError::Altered)
    }
}

impl Share {
    /// The number of this share, from 1.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.index
    }

    /// Reads a share. What [`to_text`](Self::to_text) writes is read back the same, and nothing else is read.
    ///
    /// # Errors
    /// [`ShareError::Text`] and [`ShareError::Check`].
    pub fn from_text(text: &str) -> Result<Self, ShareError> {
        if text.len() > MAX_SHARE_BYTES {
            return Err(ShareError::Text);
        }
        Self::read(text).ok_or(ShareError::Text)?
    }

    fn read(text: &str) -> Option<Result<Self, ShareError>> {
        let (body, check) = text.split_at_checked(text.rfind("check ")?)?;
        let check: Secret<CHECK_BYTES> = hex(check.strip_prefix("check ")?.strip_suffix('\n')?)?;
        let mut lines = body.strip_suffix('\n')?.split('\n');
        let mut field = |name: &str| lines.next()?.strip_prefix(name);
        field(TITLE).filter(|rest| rest.is_empty())?;
        let kek = field("kek ")?.parse().ok()?;
        let set: Secret<8> = hex(field("set ")?)?;
        let (index, rest) = field("share ")?.split_once(" of ")?;
        let (total, threshold) = rest.split_once(", any ")?;
        let scheme = Scheme::new(number(threshold.strip_suffix(" recover")?)?, number(total)?).ok()?;
        let index = number(index).filter(|index| (1..=scheme.total).contains(index))?;
        let commitment: Secret<32> = hex(field("commitment ")?)?;
        let value = hex(field("value ")?)?;
        if lines.next().is_some() {
            return None;
        }
        if check != check_value(body) {
            return Some(Err(ShareError::Check));
        }
        Some(Ok(Self { kek, set: *set.expose(), scheme, index, commitment: *commitment.expose(), value }))
    }

    /// The text to print or to store.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        // Long enough that the text is never moved, which would leave a copy behind.
        let mut out = Zeroizing::new(String::with_capacity(MAX_SHARE_BYTES));
        let Scheme { threshold, total } = self.scheme;
        let _ = writeln!(out, "{TITLE}\nkek {}\nset {}", self.kek, Hex(&self.set));
        let _ = writeln!(out, "share {} of {total}, any {threshold} recover", self.index);
        let _ = writeln!(out, "commitment {}\nvalue {}", Hex(&self.commitment), Hex(self.value.expose()));
        let check = check_value(&out);
        let _ = writeln!(out, "check {}", Hex(check.expose()));
        out
    }
}

/// Finds a wrong character, not a forgery. It is of a secret text, so it is kept as one.
fn check_value(body: &str) -> Secret<CHECK_BYTES> {
    let digest = digest::digest(&digest::SHA256, body.as_bytes());
    let mut check = [0; CHECK_BYTES];
    for (to, from) in check.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    Secret::take(&mut check)
}

/// A number without sign or leading zeros.
fn number(text: &str) -> Option<u8> {
    let value: u8 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

/// Lower-case hex, written without a copy on the way.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn hex<const N: usize>(text: &str) -> Option<Secret<N>> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = Zeroizing::new([0; N]);
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(Secret::take(&mut bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kek() -> KekId {
        "file-1".parse().unwrap()
    }

    fn key() -> Secret<32> {
        Secret::take(&mut [0x5a; 32])
    }

    fn shares(threshold: u8, total: u8) -> Vec<Share> {
        split(&kek(), &key(), Scheme::new(threshold, total).unwrap()).unwrap()
    }

    #[test]
    fn any_three_of_five_recover_the_key() {
        let shares = shares(3, 5);
        let mut tried = 0;
        for a in 0..5 {
            for b in 0..5 {
                for c in 0..5 {
                    if a != b && b != c && a != c {
                        let chosen = [shares[a].clone(), shares[b].clone(), shares[c].clone()];
                        assert_eq!(combine(&chosen), Ok((kek(), key())));
                        tried += 1;
                    }
                }
            }
        }
        assert_eq!(tried, 60);
        assert_eq!(combine(&shares), Ok((kek(), key())));
    }

    #[test]
    fn the_largest_scheme_works_and_none_beyond() {
        assert_eq!(combine(&shares(32, 32)), Ok((kek(), key())));
        for (threshold, total) in [(0, 0), (1, 1), (1, 5), (6, 5), (2, 33), (33, 33)] {
            assert_eq!(Scheme::new(threshold, total), Err(ShareError::Scheme), "{threshold} of {total}");
        }
        assert_eq!("3-of-5".parse(), Scheme::new(3, 5));
        for bad in ["", "3", "3-of-", "-of-5", "03-of-5", "3 of 5", "+3-of-5", "1-of-5", "3-of-256"] {
            assert_eq!(bad.parse::<Scheme>(), Err(ShareError::Scheme), "{bad}");
        }
    }

    #[test]
    fn refuses_too_few() {
        let shares = shares(3, 5);
        assert_eq!(combine(&shares[..2]), Err(ShareError::TooFew { wanted: 3, observed: 2 }));
        assert_eq!(combine(&[]), Err(ShareError::TooFew { wanted: 2, observed: 0 }));
    }

    #[test]
    fn refuses_one_share_twice() {
        let shares = shares(2, 3);
        let twice = [shares[1].clone(), shares[1].clone()];
        assert_eq!(combine(&twice), Err(ShareError::Duplicate { index: 2 }));
    }

    #[test]
    fn refuses_a_mixture_of_keys_sets_and_schemes() {
        let (ours, again) = (shares(2, 3), shares(2, 3));
        let mixed = |other: &Share| combine(&[ours[0].clone(), other.clone()]);
        assert_eq!(mixed(&again[1]), Err(ShareError::Mixed { what: "set" }));
        let other_kek = Share { kek: "file-2".parse().unwrap(), ..ours[1].clone() };
        assert_eq!(mixed(&other_kek), Err(ShareError::Mixed { what: "key" }));
        let other_scheme = Share { scheme: Scheme::new(3, 3).unwrap(), ..ours[1].clone() };
        assert_eq!(mixed(&other_scheme), Err(ShareError::Mixed { what: "scheme" }));
        let other_commitment = Share { commitment: [0; 32], ..ours[1].clone() };
        assert_eq!(mixed(&other_commitment), Err(ShareError::Mixed { what: "commitment" }));
    }

    #[test]
    fn refuses_an_altered_share() {
        let shares = shares(2, 3);
        let altered = Share { value: Secret::take(&mut [1; 32]), ..shares[1].clone() };
        assert_eq!(combine(&[shares[0].clone(), altered]), Err(ShareError::Altered));
        let moved = Share { index: 3, ..shares[1].clone() };
        assert_eq!(combine(&[shares[0].clone(), moved]), Err(ShareError::Altered));
    }

    #[test]
    fn a_share_is_read_back_as_it_was_written() {
        for share in shares(2, 3) {
            let text = share.to_text();
            assert_eq!(Share::from_text(&text), Ok(share.clone()));
            assert!(text.len() < MAX_SHARE_BYTES / 2, "{}", text.len());
        }
        let longest = split(&"k".repeat(32).parse().unwrap(), &key(), Scheme::new(32, 32).unwrap()).unwrap();
        assert!(longest[31].to_text().len() <= MAX_SHARE_BYTES);
    }

    #[test]
    fn refuses_every_wrong_character() {
        let text = shares(2, 3)[0].to_text();
        for at in 0..text.len() {
            for wrong in [b'0', b'1', b'f', b' ', b'\n', b'A'] {
                let mut bytes = text.as_bytes().to_vec();
                if bytes[at] == wrong {
                    continue;
                }
                bytes[at] = wrong;
                let read = Share::from_text(std::str::from_utf8(&bytes).unwrap());
                assert!(matches!(read, Err(ShareError::Text | ShareError::Check)), "{at} {wrong}");
            }
        }
    }

    #[test]
    fn refuses_text_beside_a_share() {
        let text = shares(2, 3)[0].to_text();
        for bad in [format!("{}\n", *text), format!(" {}", *text), text.trim_end().to_owned(), String::new()]
        {
            assert_eq!(Share::from_text(&bad), Err(ShareError::Text), "{bad:?}");
        }
        let body = text.replace("\nvalue", "\nextra\nvalue");
        assert_eq!(Share::from_text(&body), Err(ShareError::Text));
        assert_eq!(Share::from_text(&"x".repeat(MAX_SHARE_BYTES + 1)), Err(ShareError::Text));
    }

    #[test]
    fn shares_of_one_key_differ_each_time_and_print_no_value() {
        assert_ne!(shares(2, 3), shares(2, 3));
        assert_eq!(format!("{:?}", shares(2, 3)[0]), "Share(file-1, 1 of 3)");
    }
}
