//! Resources on their way to a guest: JSON web encryption in its flattened form (RFC 7516, section 7.2.2).
//!
//! The content is under a fresh AES-256-GCM key, which is wrapped to the guest's key. The order and spacing of the
//! protected header are those of Trustee, because guest-components computes the additional data from a header that it
//! wrote again.

use crate::jwk::{Curve, ECDH_ES_A256KW, EcPublicKey, RSA_OAEP_256};
use crate::{RsaPublicKey, TeeKey, TeePublicKey};
use anchorhold_rats::Secret;
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// The longest resource, in bytes.
pub const MAX_RESOURCE_BYTES: usize = 256 * 1024;
/// The longest encrypted resource that is read, in bytes: base64 of the longest resource, and the rest.
pub const MAX_JWE_BYTES: usize = MAX_RESOURCE_BYTES.div_ceil(3) * 4 + 4 * 1024;
const A256GCM: &str = "A256GCM";
const EC: &str = "EC";
const KEY_BYTES: usize = 32;
const WRAPPED_KEY_BYTES: usize = KEY_BYTES + 8;
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Why a resource was not encrypted, or not opened. No error quotes either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JweError {
    /// Over [`MAX_RESOURCE_BYTES`], or [`MAX_JWE_BYTES`] encrypted.
    TooLong,
    /// Not the flattened JSON with the members of the protocol and no others.
    Malformed,
    /// Another algorithm, curve or header member than the protocol has for this key.
    Unsupported,
    /// It is not for this key, or was changed.
    Open,
    /// The guest's key is none, or there is no randomness.
    Seal,
}

impl fmt::Display for JweError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the resource is over the limit of {MAX_RESOURCE_BYTES} bytes"),
            Self::Malformed => f.write_str("not a flattened JWE of the documented members"),
            Self::Unsupported => f.write_str("the JWE's header asks for what this key is not for"),
            Self::Open => f.write_str("the JWE is not for this key, or was changed"),
            Self::Seal => f.write_str("nothing can be encrypted to the guest's key"),
        }
    }
}

impl std::error::Error for JweError {}

/// Members in the order in which Trustee writes them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flattened {
    protected: String,
    encrypted_key: String,
    iv: String,
    ciphertext: String,
    tag: String,
}

/// Members in the order in which Trustee writes them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    enc: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epk: Option<EphemeralKey>,
}

/// Members in the order of the alphabet, as Trustee writes them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EphemeralKey {
    crv: String,
    kty: String,
    x: String,
    y: String,
}

/// Encrypts `resource` to `key`.
///
/// Presumes that authentic, acceptable evidence names `key`: whoever holds its private half reads the resource.
///
/// # Errors
/// [`JweError::TooLong`], or [`JweError::Seal`].
pub fn seal(resource: &[u8], key: &TeePublicKey) -> Result<Vec<u8>, JweError> {
    if resource.len() > MAX_RESOURCE_BYTES {
        return Err(JweError::TooLong);
    }
    let content_key: Secret<KEY_BYTES> = Secret::random().map_err(|_| JweError::Seal)?;
    let (header, encrypted_key) = match key {
        TeePublicKey::Ec(key) => wrap_by_agreement(&content_key, key)?,
        TeePublicKey::Rsa(key) => wrap_by_rsa(&content_key, key)?,
    };
    let header = serde_json::to_vec(&header).expect("texts are JSON");
    let protected = URL_SAFE_NO_PAD.encode(header);
    let iv: Secret<IV_BYTES> = Secret::random().map_err(|_| JweError::Seal)?;
    let mut content = Zeroizing::new(resource.to_vec());
    let tag = content_cipher(&content_key)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(*iv.expose()),
            Aad::from(protected.as_bytes()),
            &mut content,
        )
        .map_err(|_| JweError::Seal)?;
    let flattened = Flattened {
        encrypted_key: URL_SAFE_NO_PAD.encode(encrypted_key),
        iv: URL_SAFE_NO_PAD.encode(iv.expose()),
        ciphertext: URL_SAFE_NO_PAD.encode(content.as_slice()),
        tag: URL_SAFE_NO_PAD.encode(tag.as_ref()),
        protected,
    };
    Ok(serde_json::to_vec(&flattened).expect("texts are JSON"))
}

/// Opens what was encrypted to `key`. Establishes only that: anybody can encrypt to a public key.
///
/// # Errors
/// [`JweError`]; nothing of the resource is given out then.
pub(crate) fn open(json: &[u8], key: &TeeKey) -> Result<Zeroizing<Vec<u8>>, JweError> {
    if json.len() > MAX_JWE_BYTES {
        return Err(JweError::TooLong);
    }
    let read: Flattened = serde_json::from_slice(json).map_err(|_| JweError::Malformed)?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| JweError::Malformed);
    let header: Header =
        serde_json::from_slice(&decode(&read.protected)?).map_err(|_| JweError::Unsupported)?;
    let epk = match header.epk {
        Some(epk) if header.alg == ECDH_ES_A256KW && header.enc == A256GCM && epk.kty == EC => epk,
        _ => return Err(JweError::Unsupported),
    };
    if Curve::named(&epk.crv) != Some(key.curve()) {
        return Err(JweError::Unsupported);
    }
    let epk = EcPublicKey::of_coordinates(key.curve(), &epk.x, &epk.y).map_err(|_| JweError::Malformed)?;
    let encrypted_key = decode(&read.encrypted_key)?;
    let iv: [u8; IV_BYTES] = decode(&read.iv)?.try_into().map_err(|_| JweError::Malformed)?;
    let tag = decode(&read.tag)?;
    let mut content = Zeroizing::new(decode(&read.ciphertext)?);
    if encrypted_key.len() != WRAPPED_KEY_BYTES || tag.len() != TAG_BYTES {
        return Err(JweError::Malformed);
    }
    let content_key = unwrap(&encrypted_key, &agreed_key(key.private(), &epk).ok_or(JweError::Open)?)?;
    content.extend_from_slice(&tag);
    let length = content_cipher(&content_key)?
        .open_in_place(
            Nonce::assume_unique_for_key(iv),
            Aad::from(read.protected.as_bytes()),
            content.as_mut_slice(),
        )
        .map_err(|_| JweError::Open)?
        .len();
    content.truncate(length);
    Ok(content)
}

fn content_cipher(key: &Secret<KEY_BYTES>) -> Result<LessSafeKey, JweError> {
    UnboundKey::new(&AES_256_GCM, key.expose()).map(LessSafeKey::new).map_err(|_| JweError::Seal)
}

fn wrap_by_agreement(
    content_key: &Secret<KEY_BYTES>,
    key: &EcPublicKey,
) -> Result<(Header, Vec<u8>), JweError> {
    let ours = PrivateKey::generate(key.curve().agreement()).map_err(|_| JweError::Seal)?;
    let point = ours.compute_public_key().map_err(|_| JweError::Seal)?.as_ref().to_vec();
    let (x, y) = EcPublicKey::new(key.curve(), point).map_err(|_| JweError::Seal)?.coordinates();
    let wrapping_key = agreed_key(&ours, key).ok_or(JweError::Seal)?;
    let mut wrapped = vec![0; WRAPPED_KEY_BYTES];
    wrapper(&wrapping_key)
        .and_then(|wrapper| wrapper.wrap(content_key.expose(), &mut wrapped).ok().map(|_| ()))
        .ok_or(JweError::Seal)?;
    let epk = EphemeralKey { crv: key.curve().name().to_owned(), kty: EC.to_owned(), x, y };
    Ok((Header { alg: ECDH_ES_A256KW.to_owned(), enc: A256GCM.to_owned(), epk: Some(epk) }, wrapped))
}

fn wrap_by_rsa(content_key: &Secret<KEY_BYTES>, key: &RsaPublicKey) -> Result<(Header, Vec<u8>), JweError> {
    let components = PublicKeyComponents { n: key.modulus(), e: &RsaPublicKey::EXPONENT };
    let public: PublicEncryptingKey = components.try_into().map_err(|_| JweError::Seal)?;
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| JweError::Seal)?;
    let mut wrapped = vec![0; public.ciphertext_size()];
    public
        .encrypt(&OAEP_SHA256_MGF1SHA256, content_key.expose(), &mut wrapped, None)
        .map_err(|_| JweError::Seal)?;
    Ok((Header { alg: RSA_OAEP_256.to_owned(), enc: A256GCM.to_owned(), epk: None }, wrapped))
}

fn wrapper(wrapping_key: &Secret<KEY_BYTES>) -> Option<AesKek> {
    AesKek::new(&AES_256, wrapping_key.expose()).ok()
}

fn unwrap(wrapped: &[u8], wrapping_key: &Secret<KEY_BYTES>) -> Result<Secret<KEY_BYTES>, JweError> {
    let mut out = Zeroizing::new([0; KEY_BYTES]);
    let wrapper = wrapper(wrapping_key).ok_or(JweError::Open)?;
    let length = wrapper.unwrap(wrapped, out.as_mut_slice()).map_err(|_| JweError::Open)?.len();
    if length == KEY_BYTES { Ok(Secret::take(&mut out)) } else { Err(JweError::Open) }
}

/// The wrapping key that both ends agree on: Concat KDF with SHA-256 (NIST SP 800-56A) as RFC 7518, section 4.6.2 uses
/// it, with empty party information.
fn agreed_key(ours: &PrivateKey, theirs: &EcPublicKey) -> Option<Secret<KEY_BYTES>> {
    let peer = UnparsedPublicKey::new(theirs.curve().agreement(), theirs.point());
    agree(ours, peer, (), |shared| Ok(concat_kdf(shared, ECDH_ES_A256KW.as_bytes()))).ok()
}

/// One round gives the 32 bytes that are asked for.
fn concat_kdf(shared: &[u8], algorithm: &[u8]) -> Secret<KEY_BYTES> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let key_bits = length(KEY_BYTES * 8);
    let mut context = digest::Context::new(&digest::SHA256);
    let round = 1_u32.to_be_bytes();
    let empty = length(0);
    for part in [&round[..], shared, &length(algorithm.len()), algorithm, &empty, &empty, &key_bits] {
        context.update(part);
    }
    let mut out = Zeroizing::new([0; KEY_BYTES]);
    out.copy_from_slice(context.finish().as_ref());
    Secret::take(&mut out)
}

#[cfg(test)]
mod tests;
