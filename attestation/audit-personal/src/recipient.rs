//! The privacy recipient: who may read the keyring. The public half is in the guest's settings, the private one with the data protection officer.

use anchorhold_hpke::PrivateKey;
use anchorhold_rats::{Kem, Secret, WrappingKey};
use std::fmt;
use zeroize::Zeroizing;

/// The largest file with a recipient's private key, in bytes.
pub const MAX_RECIPIENT_BYTES: usize = 256;
const LABEL: &str = "anchorhold-privacy-key";

/// Why a file is no recipient's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// Not the text of a key.
    #[error("not a privacy recipient's key: expected `{LABEL} KEM SEED`, the seed in 64 hex digits")]
    Malformed,
    /// The system's random generator gave nothing.
    #[error("the system's random generator gave nothing")]
    Random,
}

/// The private half: a KEM, the seed of its key, and the key.
pub struct RecipientKey {
    kem: Kem,
    seed: Secret<32>,
    private: PrivateKey,
}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecipientKey({})", self.kem)
    }
}

impl RecipientKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`RecipientError::Random`].
    pub fn generate(kem: Kem) -> Result<Self, RecipientError> {
        Ok(Self::of(kem, Secret::random().map_err(|_| RecipientError::Random)?))
    }

    fn of(kem: Kem, seed: Secret<32>) -> Self {
        let private = PrivateKey::from_seed(kem, &seed);
        Self { kem, seed, private }
    }

    /// The key in a file's text.
    ///
    /// # Errors
    /// [`RecipientError::Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, RecipientError> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_RECIPIENT_BYTES);
        let words = text.and_then(|text| text.strip_suffix('\n')).and_then(|text| text.strip_prefix(LABEL));
        let (kem, seed) = words
            .and_then(|words| words.strip_prefix(' '))
            .and_then(|words| words.split_once(' '))
            .ok_or(RecipientError::Malformed)?;
        let kem = Kem::named(kem).ok_or(RecipientError::Malformed)?;
        let mut bytes = Zeroizing::new([0_u8; 32]);
        if seed.len() != 64 {
            return Err(RecipientError::Malformed);
        }
        for (byte, pair) in bytes.iter_mut().zip(seed.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| RecipientError::Malformed)?;
            let is_hex = pair.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
            let value = u8::from_str_radix(pair, 16).ok().filter(|_| is_hex);
            *byte = value.ok_or(RecipientError::Malformed)?;
        }
        Ok(Self::of(kem, Secret::take(&mut bytes)))
    }

    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(MAX_RECIPIENT_BYTES));
        text.push_str(&format!("{LABEL} {} ", self.kem));
        for byte in self.seed.expose() {
            let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
            text.push(digit(byte >> 4));
            text.push(digit(byte & 15));
        }
        text.push('\n');
        text
    }

    /// What opens the keyring.
    pub(crate) const fn private_key(&self) -> &PrivateKey {
        &self.private
    }

    /// What a guest's settings name.
    #[must_use]
    pub const fn public_key(&self) -> &WrappingKey {
        self.private.public_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_nothing_else_is() {
        for kem in Kem::ALL {
            let key = RecipientKey::generate(kem).unwrap();
            let text = key.to_text();
            let again = RecipientKey::parse(text.as_bytes()).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            let upper = text.to_uppercase();
            for wrong in
                [text.trim_end(), &text[1..], &text[..text.len() - 3], &format!("{}x", *text), &upper, ""]
            {
                assert_eq!(
                    RecipientKey::parse(wrong.as_bytes()).err(),
                    Some(RecipientError::Malformed),
                    "{wrong}"
                );
            }
            assert!(!format!("{key:?}").contains(&text[text.len() - 20..text.len() - 1]));
        }
    }
}
