//! HPKE (RFC 9180), base mode, HKDF-SHA256, AES-256-GCM, one message per encapsulated key. The KEM is that of the
//! recipient's key: DHKEM(X25519, HKDF-SHA256), or X-Wing, the hybrid of X25519 and ML-KEM-768.

use anchorhold_rats::{Kem, Secret, WrappingKey};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _,
    aead::AesGcm256,
    kdf::HkdfSha256,
    kem::{X25519HkdfSha256, XWing},
    rand_core::{TryCryptoRng, TryRng},
};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::{convert::Infallible, fmt};
use zeroize::Zeroizing;

/// Why wrapping or unwrapping ended. It says no more on purpose: which part of a ciphertext is wrong is
/// nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrapError {
    /// The public key is no usable key of its KEM.
    PublicKey,
    /// The ciphertext was not made for this key and this context.
    Open,
    /// The system's random generator gave nothing.
    Random,
}

impl fmt::Display for WrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PublicKey => "not a usable public key to wrap to",
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
    pub(crate) enc: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
}

/// Encrypts `plaintext` so that only the holder of `recipient`'s private half can read it, and only together
/// with the same `info`.
pub(crate) fn wrap(recipient: &WrappingKey, info: &[u8], plaintext: &[u8]) -> Result<Wrapped, WrapError> {
    match recipient.kem() {
        Kem::X25519 => wrap_with::<X25519HkdfSha256>(recipient.as_bytes(), info, plaintext),
        Kem::XWing => wrap_with::<XWing>(recipient.as_bytes(), info, plaintext),
    }
}

fn wrap_with<K: hpke::Kem>(recipient: &[u8], info: &[u8], plaintext: &[u8]) -> Result<Wrapped, WrapError> {
    let key = K::PublicKey::from_bytes(recipient).map_err(|_| WrapError::PublicKey)?;
    let mut generator = Generator { failed: false };
    let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, K>(
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
    Ok(Wrapped { enc: enc.to_bytes().to_vec(), ciphertext })
}

fn unwrap_with<K: hpke::Kem>(
    key: &K::PrivateKey,
    info: &[u8],
    enc: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, WrapError> {
    let enc = K::EncappedKey::from_bytes(enc).map_err(|_| WrapError::Open)?;
    hpke::single_shot_open::<AesGcm256, HkdfSha256, K>(&OpModeR::Base, key, &enc, info, ciphertext, &[])
        .map(Zeroizing::new)
        .map_err(|_| WrapError::Open)
}

enum Private {
    X25519(<X25519HkdfSha256 as hpke::Kem>::PrivateKey),
    XWing(Box<<XWing as hpke::Kem>::PrivateKey>),
}

/// The private half of an HPKE key: a guest's release key, or a broker's import key. Wiped on drop.
pub struct ReleaseKey {
    private: Private,
    public: WrappingKey,
}

impl ReleaseKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`WrapError::Random`] when the system gives no randomness.
    pub fn generate(kem: Kem) -> Result<Self, WrapError> {
        Ok(Self::from_seed(kem, &Secret::random().map_err(|_| WrapError::Random)?))
    }

    /// The key that belongs to `seed` (RFC 9180, section 7.1.3, DeriveKeyPair).
    ///
    /// # Panics
    /// Never: a derived public key has the length of its KEM.
    #[must_use]
    pub fn from_seed(kem: Kem, seed: &Secret<32>) -> Self {
        let (private, public) = match kem {
            Kem::X25519 => {
                let (private, public) = X25519HkdfSha256::derive_keypair(seed.expose());
                (Private::X25519(private), public.to_bytes().to_vec())
            }
            Kem::XWing => {
                let (private, public) = XWing::derive_keypair(seed.expose());
                (Private::XWing(Box::new(private)), public.to_bytes().to_vec())
            }
        };
        let public = WrappingKey::new(kem, public).expect("a derived public key has its KEM's length");
        Self { private, public }
    }

    /// The public half, which evidence names.
    #[must_use]
    pub const fn public_key(&self) -> &WrappingKey {
        &self.public
    }

    /// Decrypts what [`wrap`] made for this key and `info`.
    pub(crate) fn unwrap(
        &self,
        info: &[u8],
        enc: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        match &self.private {
            Private::X25519(key) => unwrap_with::<X25519HkdfSha256>(key, info, enc, ciphertext),
            Private::XWing(key) => unwrap_with::<XWing>(key, info, enc, ciphertext),
        }
    }
}

impl fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseKey({:?})", self.public)
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
        for kem in Kem::ALL {
            let (key, other) = (ReleaseKey::generate(kem).unwrap(), ReleaseKey::generate(kem).unwrap());
            let mut wrapped = wrap(key.public_key(), b"context", b"plain").unwrap();
            assert_eq!(wrapped.enc.len(), kem.encapsulated_key_bytes());
            let open = |key: &ReleaseKey, info: &[u8], w: &Wrapped| key.unwrap(info, &w.enc, &w.ciphertext);
            assert_eq!(open(&key, b"context", &wrapped).unwrap().as_slice(), b"plain");
            assert_eq!(open(&other, b"context", &wrapped), Err(WrapError::Open));
            assert_eq!(open(&key, b"contexT", &wrapped), Err(WrapError::Open));
            wrapped.ciphertext[0] ^= 1;
            assert_eq!(open(&key, b"context", &wrapped), Err(WrapError::Open));
            wrapped.ciphertext[0] ^= 1;
            wrapped.enc[0] ^= 1;
            assert_eq!(open(&key, b"context", &wrapped), Err(WrapError::Open));
        }
    }

    #[test]
    fn a_key_of_one_kem_does_not_open_what_was_wrapped_for_another() {
        let seed = Secret::take(&mut [3; 32]);
        let keys = Kem::ALL.map(|kem| ReleaseKey::from_seed(kem, &seed));
        for (key, other) in [(&keys[0], &keys[1]), (&keys[1], &keys[0])] {
            let wrapped = wrap(key.public_key(), b"", b"plain").unwrap();
            assert_eq!(other.unwrap(b"", &wrapped.enc, &wrapped.ciphertext), Err(WrapError::Open));
        }
    }

    #[test]
    fn refuses_keys_that_are_none() {
        let zero = WrappingKey::new(Kem::X25519, vec![0; 32]).unwrap();
        assert_eq!(wrap(&zero, b"", b"plain").map(|_| ()), Err(WrapError::PublicKey));
        // The coefficients of an ML-KEM key are below 3329 (FIPS 203, section 7.2).
        let above = WrappingKey::new(Kem::XWing, vec![0xff; 1216]).unwrap();
        assert_eq!(wrap(&above, b"", b"plain").map(|_| ()), Err(WrapError::PublicKey));
    }

    #[test]
    fn no_two_wrappings_are_the_same() {
        for kem in Kem::ALL {
            let key = ReleaseKey::generate(kem).unwrap();
            let [one, two] = [0, 1].map(|_| wrap(key.public_key(), b"context", b"plain").unwrap());
            assert!(one.enc != two.enc && one.ciphertext != two.ciphertext, "{kem}");
        }
        let mut generator = Generator { failed: false };
        let draw = |generator: &mut Generator| {
            let word = generator.try_next_u32().unwrap();
            (word, generator.try_next_u64().unwrap())
        };
        let drawn: Vec<_> = (0..4).map(|_| draw(&mut generator)).collect();
        assert!(drawn.iter().any(|other| other.0 != drawn[0].0) && drawn[0].0 > 1, "{drawn:?}");
        assert!(drawn.iter().any(|other| other.1 != drawn[0].1) && drawn[0].1 > 1, "{drawn:?}");
        assert!(!generator.failed);
        // A failure is never forgotten.
        let mut failed = Generator { failed: true };
        draw(&mut failed);
        assert!(failed.failed);
    }

    #[test]
    fn a_key_is_shown_by_its_public_half() {
        let seed = Secret::take(&mut [0xa7; 32]);
        let shown = format!("{:?}", ReleaseKey::from_seed(Kem::X25519, &seed));
        assert!(shown.starts_with("ReleaseKey(") && shown.contains("x25519"), "{shown}");
        assert!(!shown.contains("167") && !shown.contains(&"a7".repeat(8)), "{shown}");
        let texts = [WrapError::PublicKey, WrapError::Open, WrapError::Random].map(|error| error.to_string());
        assert!(
            texts[0].contains("public key") && texts[1].contains("ciphertext") && texts[2].contains("random")
        );
    }
}
