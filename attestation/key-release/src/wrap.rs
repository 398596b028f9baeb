//! The key that weights keys are wrapped to.

use anchorhold_hpke::PrivateKey;
use anchorhold_rats::{Kem, Secret, WrappingKey};
use std::fmt;
use zeroize::Zeroizing;

pub use anchorhold_hpke::Error as WrapError;

/// The private half of an HPKE key: a guest's release key, or a broker's import key. Wiped on drop. A type of its own, so that no
/// key for anything else can stand in its place.
pub struct ReleaseKey(PrivateKey);

impl ReleaseKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`WrapError::Random`] when the system gives no randomness.
    pub fn generate(kem: Kem) -> Result<Self, WrapError> {
        PrivateKey::generate(kem).map(Self)
    }

    /// The key that belongs to `seed` (RFC 9180, section 7.1.3, `DeriveKeyPair`).
    #[must_use]
    pub fn from_seed(kem: Kem, seed: &Secret<32>) -> Self {
        Self(PrivateKey::from_seed(kem, seed))
    }

    /// The public half, which evidence names.
    #[must_use]
    pub const fn public_key(&self) -> &WrappingKey {
        self.0.public_key()
    }

    /// Decrypts what [`anchorhold_hpke::seal`] made for this key and `info`.
    pub(crate) fn unwrap(
        &self,
        info: &[u8],
        enc: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        self.0.open(info, enc, ciphertext)
    }
}

impl fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseKey({:?})", self.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_by_its_public_half() {
        let shown = format!("{:?}", ReleaseKey::from_seed(Kem::X25519, &Secret::take(&mut [0xa7; 32])));
        assert!(shown.starts_with("ReleaseKey(") && shown.contains("x25519"), "{shown}");
        assert!(!shown.contains("167") && !shown.contains(&"a7".repeat(8)), "{shown}");
    }
}
