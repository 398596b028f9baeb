//! A key-encryption key in this process's memory.

use super::{Backend, BackendError, Context, Destroy, Sealed};
use anchorhold_rats::Secret;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::fmt;
use zeroize::Zeroizing;

/// A key in memory has one version.
const VERSION: u32 = 1;

/// An AES-256-GCM key. What it wraps is a random 12-byte nonce, then ciphertext and tag. Random nonces are safe for 2^32
/// secrets (NIST SP 800-38D, section 8.3), far more than a broker ever wraps.
pub struct LocalKey(LessSafeKey);

impl LocalKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(secret: &Secret<32>) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, secret.expose()).expect("32 bytes are an AES-256 key");
        Self(LessSafeKey::new(key))
    }
}

impl Backend for LocalKey {
    fn wrap(&self, context: &Context, plain: &[u8]) -> Result<Sealed, BackendError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| BackendError::Random)?;
        let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(plain);
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut *body,
            )
            .map_err(|_| BackendError::Garbage { wanted: "AES-256-GCM of a short secret" })?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&body);
        Ok(Sealed { version: VERSION, bytes })
    }

    fn unwrap(&self, context: &Context, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        if sealed.version != VERSION {
            return Err(BackendError::Version { observed: sealed.version });
        }
        let (nonce, body) = sealed.bytes.split_first_chunk::<NONCE_LEN>().ok_or(BackendError::Open)?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(context.as_bytes());
        let length = self.0.open_in_place(nonce, aad, &mut body).map_err(|_| BackendError::Open)?.len();
        body.truncate(length);
        Ok(body)
    }

    fn version(&self) -> Result<u32, BackendError> {
        Ok(VERSION)
    }

    /// A key in memory ends with its process.
    fn destroy(&self, _: Destroy) -> Result<(), BackendError> {
        Err(BackendError::Unsupported { what: "anything to destroy" })
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> LocalKey {
        LocalKey::new(&Secret::take(&mut [byte; 32]))
    }

    #[test]
    fn a_secret_opens_only_under_its_key_in_its_context_and_whole() {
        let context = Context([1; 32]);
        let sealed = key(1).wrap(&context, b"secret").unwrap();
        assert_eq!(key(1).unwrap(&context, &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(key(2).unwrap(&context, &sealed), Err(BackendError::Open));
        assert_eq!(key(1).unwrap(&Context([2; 32]), &sealed), Err(BackendError::Open));
        for end in 0..sealed.bytes.len() {
            let short = Sealed { version: 1, bytes: sealed.bytes[..end].to_vec() };
            assert_eq!(key(1).unwrap(&context, &short), Err(BackendError::Open));
        }
        assert!(!sealed.bytes.windows(6).any(|part| part == b"secret"));
    }

    #[test]
    fn refuses_a_version_that_it_never_had() {
        let context = Context([1; 32]);
        let sealed = Sealed { version: 2, ..key(1).wrap(&context, b"secret").unwrap() };
        assert_eq!(key(1).unwrap(&context, &sealed), Err(BackendError::Version { observed: 2 }));
    }

    #[test]
    fn two_wrappings_of_one_secret_differ() {
        let context = Context([1; 32]);
        assert_ne!(key(1).wrap(&context, b"secret"), key(1).wrap(&context, b"secret"));
    }
}
