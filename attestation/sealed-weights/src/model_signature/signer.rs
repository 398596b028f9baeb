//! The public key of a model's signer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::error::Error;
use crate::hex;
use crate::merkle;
use crate::rules::ModelSignatureRule;

/// The DER of `SubjectPublicKeyInfo` before the key itself: RFC 5480 section 2 for the curves, RFC 8410 section 4 for
/// Ed25519. DER allows no other spelling.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P384_PREFIX: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Bytes of the keys behind the prefixes: uncompressed points, and 32 bytes.
const P256_LEN: usize = 65;
const P384_LEN: usize = 97;
const ED25519_LEN: usize = 32;

const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";
/// The longest PEM that is read, in bytes.
const MAX_PEM_LEN: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    P256,
    P384,
    Ed25519,
}

/// A public key for model signatures: ECDSA P-256 with SHA-256, P-384 with SHA-384, or Ed25519.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerKey {
    der: Vec<u8>,
    key: Vec<u8>,
    algorithm: Algorithm,
}

impl SignerKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`Error::ModelSignature`] when it is of no supported algorithm or not DER.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let kinds: [(&[u8], usize, Algorithm); 3] = [
            (&P256_PREFIX, P256_LEN, Algorithm::P256),
            (&P384_PREFIX, P384_LEN, Algorithm::P384),
            (&ED25519_PREFIX, ED25519_LEN, Algorithm::Ed25519),
        ];
        let found = kinds.iter().find_map(|(prefix, len, algorithm)| {
            let key = der.strip_prefix(*prefix).filter(|key| key.len() == *len)?;
            Some(Self { der: der.to_vec(), key: key.to_vec(), algorithm: *algorithm })
        });
        found.ok_or(ModelSignatureRule::SignerKey.into())
    }

    /// Reads the PEM of a `SubjectPublicKeyInfo` (RFC 7468 section 13): one block and nothing around it but white space.
    ///
    /// # Errors
    /// As [`SignerKey::from_der`].
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let refused = ModelSignatureRule::SignerKey;
        let text = Some(pem.trim()).filter(|text| text.len() <= MAX_PEM_LEN);
        let text = text.and_then(|text| text.strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END));
        let base64: String = text.ok_or(refused)?.split_ascii_whitespace().collect();
        Self::from_der(&STANDARD.decode(base64).map_err(|_| refused)?)
    }

    /// The DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// How a bundle names the key: SHA-256 of its PEM with lines of 64 characters, in hexadecimal.
    #[must_use]
    pub fn hint(&self) -> String {
        let base64 = STANDARD.encode(&self.der);
        let mut pem = format!("{PEM_BEGIN}\n");
        for line in base64.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str(PEM_END);
        pem.push('\n');
        hex::encode(&merkle::sha256(pem.as_bytes()))
    }

    /// Whether `signature` over `message` is this key's.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::P256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::P384 => &ECDSA_P384_SHA384_ASN1,
            Algorithm::Ed25519 => &ED25519,
        };
        UnparsedPublicKey::new(algorithm, &self.key).verify(message, signature).is_ok()
    }
}
