//! JSON web tokens (RFC 7519) in compact form, signed with ES256 or EdDSA, and read with ES384 and RS256 too.

use super::jwks::{Jwks, VerifyingKey};
use super::{Ear, PROFILE};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde::{Deserialize, Serialize};

/// The longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 256 * 1024;

/// The signature algorithms (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ES384")]
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
}

/// Why a token was not made or not accepted. No error quotes the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key is no PKCS#8 of P-256 or Ed25519.
    #[error("the key is not a PKCS#8 private key of P-256 or Ed25519")]
    Key,
    /// ring did not sign.
    #[error("the token was not signed")]
    Sign,
    /// Not a token of the wanted form.
    #[error("not a signed token: {0}")]
    Malformed(&'static str),
    /// Over [`MAX_TOKEN_BYTES`].
    #[error("the token is over the limit of {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Signed with another algorithm than the caller named.
    #[error("the token's algorithm is not the one that was named")]
    Algorithm,
    /// The signature is not of the caller's key.
    #[error("the token's signature is not of this key")]
    Signature,
    /// The header asks for a processing that is not known here (RFC 7515, section 4.1.11).
    #[error("the token's header has critical members that are not known")]
    Critical,
    /// No key of the set has the key id that the header names.
    #[error("the token is signed with a key that is not in the set")]
    UnknownKey,
    /// The claims are of another profile.
    #[error("the token's profile is not {PROFILE}")]
    Profile,
    /// The claims are not to be relied on any more, or not yet.
    #[error("the token is not valid at this time")]
    Expired,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: Algorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    typ: &'a str,
}

/// What of a header is looked at. A key or a certificate in it is not: keys are the caller's.
#[derive(Deserialize)]
struct ReadHeader {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

impl Algorithm {
    /// The name in headers and keys.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

/// A key that signs results.
pub struct Signer(Key);

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads a private key of either kind, PKCS#8 DER.
    ///
    /// # Errors
    /// [`Error::Key`] when it is neither.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let p256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new());
        let key = match p256 {
            Ok(key) => Key::P256(key),
            Err(_) => Key::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| Error::Key)?),
        };
        Ok(Self(key))
    }

    /// The algorithm of this key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Key::P256(_) => Algorithm::Es256,
            Key::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// The public key: an uncompressed P-256 point of 65 bytes, or 32 bytes of Ed25519.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        match &self.0 {
            Key::P256(key) => key.public_key().as_ref(),
            Key::Ed25519(key) => key.public_key().as_ref(),
        }
    }

    /// The token in compact form.
    ///
    /// # Errors
    /// [`Error::Sign`] when ring does not sign.
    pub fn sign(&self, ear: &Ear) -> Result<String, Error> {
        self.sign_json(None, &serde_json::to_vec(ear).map_err(|_| Error::Sign)?)
    }

    /// A token with these claims, which are JSON, and with the id of this key where a reader looks keys up by it.
    ///
    /// # Errors
    /// [`Error::Sign`] when ring does not sign.
    pub fn sign_json(&self, kid: Option<&str>, claims: &[u8]) -> Result<String, Error> {
        let header = Header { alg: self.algorithm(), kid, typ: "JWT" };
        let part = |json: &[u8]| URL_SAFE_NO_PAD.encode(json);
        let header = serde_json::to_vec(&header).map_err(|_| Error::Sign)?;
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = match &self.0 {
            Key::P256(key) => {
                let made = key.sign(&SystemRandom::new(), signed.as_bytes());
                made.map_err(|_| Error::Sign)?.as_ref().to_vec()
            }
            Key::Ed25519(key) => key.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        Ok(format!("{signed}.{}", part(&signature)))
    }
}

/// The claims, JSON, of a token that one of `keys` signed.
///
/// Establishes that the holder of one of these keys made these claims. Presumes that the caller trusts every key of the
/// set for them. Nothing is said about profile, time or content.
///
/// # Errors
/// [`Error`]; the algorithm is that of the key and never the token's choice.
pub fn verify_json(token: &str, keys: &Jwks) -> Result<Vec<u8>, Error> {
    let parts = Parts::of(token)?;
    let named = keys.candidates(parts.header.kid.as_deref());
    let mut worst = Error::UnknownKey;
    for key in named {
        match parts.signed_by(key) {
            Ok(()) => return parts.claims(),
            // A signature of no key says more than an algorithm of no key.
            Err(Error::Signature) => worst = Error::Signature,
            Err(error) if worst == Error::UnknownKey => worst = error,
            Err(_) => {}
        }
    }
    Err(worst)
}

struct Parts<'a> {
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
    header: ReadHeader,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, Error> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Error::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Error::Malformed("parts"))?;
        let (header, claims) = signed.split_once('.').ok_or(Error::Malformed("parts"))?;
        let header: ReadHeader =
            serde_json::from_slice(&decode(header)?).map_err(|_| Error::Malformed("header"))?;
        if header.crit.is_some() {
            return Err(Error::Critical);
        }
        Ok(Self { signed, claims, signature: decode(signature)?, header })
    }

    fn signed_by(&self, key: &VerifyingKey) -> Result<(), Error> {
        if self.header.alg != key.algorithm().name() {
            return Err(Error::Algorithm);
        }
        let with: &'static dyn VerificationAlgorithm = match key.algorithm() {
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
            Algorithm::EdDsa => &ED25519,
            Algorithm::Rs256 => {
                let key = RsaPublicKeyComponents { n: key.public_key(), e: key.exponent() };
                let verified =
                    key.verify(&RSA_PKCS1_2048_8192_SHA256, self.signed.as_bytes(), &self.signature);
                return verified.map_err(|_| Error::Signature);
            }
        };
        UnparsedPublicKey::new(with, key.public_key())
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| Error::Signature)
    }

    fn claims(&self) -> Result<Vec<u8>, Error> {
        decode(self.claims)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Malformed("base64url"))
}

/// The claims of a token that `key` signed with `algorithm`, at a time `at` (seconds since the Unix epoch) at which they
/// may be relied on.
///
/// Establishes that the holder of that key made these claims. Presumes that the caller trusts that verifier; whether the
/// claims affirm anything is in [`Ear::is_affirming`].
///
/// # Errors
/// [`Error`]; the algorithm is the caller's choice and never the token's.
pub fn verify(token: &str, algorithm: Algorithm, key: &[u8], at: i64) -> Result<Ear, Error> {
    let parts = Parts::of(token)?;
    parts.signed_by(&VerifyingKey::new(algorithm, key.to_vec()))?;
    read_ear(&parts.claims()?, at)
}

/// The claims of a token that one of `keys` signed, at a time `at` (seconds since the Unix epoch) at which they may be
/// relied on. As [`verify`], for a set of keys.
///
/// # Errors
/// [`Error`].
pub fn verify_with_set(token: &str, keys: &Jwks, at: i64) -> Result<Ear, Error> {
    read_ear(&verify_json(token, keys)?, at)
}

fn read_ear(claims: &[u8], at: i64) -> Result<Ear, Error> {
    let ear: Ear = serde_json::from_slice(claims).map_err(|_| Error::Malformed("claims"))?;
    if ear.eat_profile != PROFILE {
        return Err(Error::Profile);
    }
    if ear.iat > at || ear.exp.is_some_and(|exp| at >= exp) {
        return Err(Error::Expired);
    }
    Ok(ear)
}
