//! Names that tell callers apart and say nobody's name.

use crate::subject::{SealError, Subject};
use anchorhold_audit_log::Hash;
use anchorhold_rats::Secret;
use ring::hmac;
use std::fmt;

/// The key of a tenant's pseudonyms for one boot and period. It is in memory alone; without it nobody finds out whose a pseudonym is.
pub struct PseudonymKey(Secret<32>);

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey")
    }
}

impl PseudonymKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn generate() -> Result<Self, SealError> {
        Secret::random().map(Self).map_err(|_| SealError::Random)
    }

    /// The pseudonym of one subject: HMAC-SHA-256 of its name.
    #[must_use]
    pub fn of(&self, subject: &Subject) -> Hash {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose());
        let tag = hmac::sign(&key, subject.to_string().as_bytes());
        // HMAC-SHA-256 has 32 bytes.
        Hash::try_from(tag.as_ref()).unwrap_or(Hash::new([0; 32]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_has_one_name_under_one_key() {
        let (key, other) = (PseudonymKey::generate().unwrap(), PseudonymKey::generate().unwrap());
        let [one, two] = ["clinic", "clinic/0123456789ab"].map(|text| text.parse::<Subject>().unwrap());
        assert_eq!(key.of(&one), key.of(&one));
        assert_ne!(key.of(&one), key.of(&two));
        assert_ne!(key.of(&one), other.of(&one));
    }
}
