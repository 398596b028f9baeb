//! HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, one message per key.

use anchorhold_rats::{Secret, X25519PublicKey};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _,
    aead::AesGcm256,
    kdf::HkdfSha256,
    kem::X25519HkdfSha256,
    rand_core::{TryCryptoRng, TryRng},
};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::{convert::Infallible, fmt};
use zeroize::Zeroizing;

type EncappedKey = <X25519HkdfSha256 as hpke::Kem>::EncappedKey;

/// Why wrapping or unwrapping ended. It says no more on purpose: which part of a ciphertext is wrong is
/// nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrapError {
    /// The public key is no usable X25519 point.
    PublicKey,
    /// The ciphertext was not made for this key and this context.
    Open,
    /// The system's random generator gave nothing.
    Random,
}

impl fmt::Display for WrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PublicKey => "not a usable X25519 public key",
            Self::Open => "the ciphertext was not made for this key and context",
            Self::Random => "the system's random generator gave nothing",
        })
    }
}

impl std::error::Error for WrapError {}

/// ring's generator as HPKE wants it. `hpke` takes a generator that cannot fail; a failure is kept here and
/// looked at before anything that was made with it is used.
struct Generator {
    failed: bool,
}

impl TryRng for Generator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.failed |= SystemRandom::new().fill(out).is_err();
        Ok(())
    }
}

impl TryCryptoRng for Generator {}

/// An encapsulated key and the ciphertext made with it.
pub(crate) struct Wrapped {
    pub(crate) enc: [u8; 32],
    pub(crate) ciphertext: Vec<u8>,
}

/// Encrypts `plaintext` so that only the holder of `recipient`'s private half can read it, and only together
/// with the same `info`.
pub(crate) fn wrap(recipient: &X25519PublicKey, info: &[u8], plaintext: &[u8]) -> Result<Wrapped, WrapError> {
    let key = <X25519HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(recipient.as_bytes())
        .map_err(|_| WrapError::PublicKey)?;
    let mut generator = Generator { failed: false };
    let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &key,
        info,
        plaintext,
        &[],
        &mut generator,
    )
    .map_err(|_| WrapError::PublicKey)?;
    if generator.failed {
        return Err(WrapError::Random);
    }
    Ok(Wrapped { enc: enc.to_bytes().into(), ciphertext })
}

/// The private half of an HPKE key: a guest's release key, or a broker's import key. Wiped on drop.
pub struct ReleaseKey {
    private: <X25519HkdfSha256 as hpke::Kem>::PrivateKey,
    public: X25519PublicKey,
}

impl ReleaseKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`WrapError::Random`] when the system gives no randomness.
    pub fn generate() -> Result<Self, WrapError> {
        Ok(Self::from_seed(&Secret::random().map_err(|_| WrapError::Random)?))
    }

    /// The key that belongs to `seed` (RFC 9180, section 7.1.3, DeriveKeyPair).
    #[must_use]
    pub fn from_seed(seed: &Secret<32>) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(seed.expose());
        Self { private, public: X25519PublicKey::new(public.to_bytes().into()) }
    }

    /// The public half, which evidence names.
    #[must_use]
    pub fn public_key(&self) -> X25519PublicKey {
        self.public
    }

    /// Decrypts what [`wrap`] made for this key and `info`.
    pub(crate) fn unwrap(
        &self,
        info: &[u8],
        enc: &[u8; 32],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let enc = EncappedKey::from_bytes(enc).map_err(|_| WrapError::Open)?;
        hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &enc,
            info,
            ciphertext,
            &[],
        )
        .map(Zeroizing::new)
        .map_err(|_| WrapError::Open)
    }
}

impl fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseKey({})", self.public)
    }
}

/// SHA-256 over `items`, every one preceded by its length as 8 bytes big-endian.
pub(crate) fn digest_of_items(items: &[&[u8]]) -> anchorhold_rats::Sha256Digest {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for item in items {
        context.update(&(item.len() as u64).to_be_bytes());
        context.update(item);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    anchorhold_rats::Sha256Digest::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_and_context_open() {
        let (key, other) = (ReleaseKey::generate().unwrap(), ReleaseKey::generate().unwrap());
        let mut wrapped = wrap(&key.public_key(), b"context", b"plain").unwrap();
        let open = |key: &ReleaseKey, info: &[u8], w: &Wrapped| key.unwrap(info, &w.enc, &w.ciphertext);
        assert_eq!(open(&key, b"context", &wrapped).unwrap().as_slice(), b"plain");
        assert_eq!(open(&other, b"context", &wrapped), Err(WrapError::Open));
        assert_eq!(open(&key, b"contexT", &wrapped), Err(WrapError::Open));
        wrapped.ciphertext[0] ^= 1;
        assert_eq!(open(&key, b"context", &wrapped), Err(WrapError::Open));
    }

    #[test]
    fn refuses_the_point_at_which_every_secret_is_zero() {
        let zero = X25519PublicKey::new([0; 32]);
        assert_eq!(wrap(&zero, b"", b"plain").map(|_| ()), Err(WrapError::PublicKey));
    }
}
