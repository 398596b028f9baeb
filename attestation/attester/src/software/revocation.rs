//! Revocation lists of the simulated hierarchy (RFC 5280, section 5).

use super::Error;
use super::certificate::pss_sha384;
use crate::der;
use anchorhold_rats::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PSS_SHA384, RsaKeyPair};

/// What is signed in a revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationTemplate {
    /// DER of the issuer's name.
    pub issuer: Vec<u8>,
    /// When the list is issued; also the time of each revocation.
    pub this_update: Timestamp,
    /// When the next one is due.
    pub next_update: Timestamp,
    /// Revoked serial numbers, unsigned big-endian.
    pub revoked: Vec<Vec<u8>>,
}

impl RevocationTemplate {
    /// The list, DER, signed by `key` with RSASSA-PSS, SHA-384 and salt 48.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign(&self, key: &RsaKeyPair) -> Result<Vec<u8>, Error> {
        let algorithm = pss_sha384(48);
        let time = der::time(self.this_update);
        let entries: Vec<u8> = self
            .revoked
            .iter()
            .flat_map(|serial| der::sequence(&[&der::unsigned_integer(serial), &time]))
            .collect();
        // RFC 5280 wants the list left out when it is empty.
        let entries = if entries.is_empty() { entries } else { der::sequence(&[&entries]) };
        let signed = der::sequence(&[
            &der::unsigned_integer(&[1]),
            &algorithm,
            &self.issuer,
            &time,
            &der::time(self.next_update),
            &entries,
        ]);
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &signed, &mut signature)
            .map_err(|_| Error::Signature("revocation list"))?;
        Ok(der::sequence(&[&signed, &algorithm, &der::bit_string(&signature)]))
    }
}
