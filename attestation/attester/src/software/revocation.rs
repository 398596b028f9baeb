//! Revocation lists of the simulated hierarchies (RFC 5280, section 5).

use super::certificate::{Extension, pss_sha384};
use super::{Error, SigningKey};
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
        let signed = self.encode(&algorithm, &[], &[]);
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &signed, &mut signature)
            .map_err(|_| Error::Signature("revocation list"))?;
        Ok(der::sequence(&[&signed, &algorithm, &der::bit_string(&signature)]))
    }

    /// The list, DER, as Intel writes it: every entry with the reason keyCompromise, these extensions of the list, and
    /// signed by `key` with ECDSA and the hash of its curve.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign_ecdsa(&self, key: &SigningKey, extensions: &[Extension]) -> Result<Vec<u8>, Error> {
        let reason = Extension::standard(0x15, false, der::enumerated(KEY_COMPROMISE));
        let algorithm = key.curve().signature_algorithm();
        let extensions: Vec<u8> = extensions.iter().flat_map(Extension::encode).collect();
        let extensions = der::value(0xa0, &der::sequence(&[&extensions]));
        let signed = self.encode(&algorithm, &der::sequence(&[&reason.encode()]), &extensions);
        let signature = key.sign_der(&signed, "revocation list")?;
        Ok(der::sequence(&[&signed, &algorithm, &der::bit_string(&signature)]))
    }

    /// The signed part, DER, with these extensions of every entry and of the list.
    fn encode(&self, algorithm: &[u8], of_entries: &[u8], of_list: &[u8]) -> Vec<u8> {
        let time = der::time(self.this_update);
        let entries: Vec<u8> = self
            .revoked
            .iter()
            .flat_map(|serial| der::sequence(&[&der::unsigned_integer(serial), &time, of_entries]))
            .collect();
        // RFC 5280 wants the list left out when it is empty.
        let entries = if entries.is_empty() { entries } else { der::sequence(&[&entries]) };
        der::sequence(&[
            &der::unsigned_integer(&[1]),
            algorithm,
            &self.issuer,
            &time,
            &der::time(self.next_update),
            &entries,
            of_list,
        ])
    }
}

/// CRLReason of RFC 5280, section 5.3.1.
const KEY_COMPROMISE: u8 = 1;
