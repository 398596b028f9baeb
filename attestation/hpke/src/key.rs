//! Private keys, and one message for each encapsulated key.

use crate::{Entropy, Error, Recipient, Sender};
use anchorhold_rats::{Kem, Secret, WrappingKey};
use hpke::{
    Kem as _, Serializable as _,
    kem::{X25519HkdfSha256, XWing},
};
use std::fmt;
use zeroize::Zeroizing;

/// An encapsulated key and the ciphertext made with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The encapsulated key, of the length of its KEM.
    pub enc: Vec<u8>,
    /// The plaintext's length and 16 bytes.
    pub ciphertext: Vec<u8>,
}

/// Encrypts `plaintext` so that only the holder of `recipient`'s private half can read it, and only together with the same `info`.
///
/// # Errors
/// [`Error::PublicKey`] when `recipient` is no usable key; [`Error::Random`] when the system gives no randomness.
pub fn seal(recipient: &WrappingKey, info: &[u8], plaintext: &[u8]) -> Result<Sealed, Error> {
    let mut sender = Sender::new(recipient, info, Entropy::random().map_err(|_| Error::Random)?)?;
    let ciphertext = sender.seal(plaintext)?;
    Ok(Sealed { enc: sender.enc().to_vec(), ciphertext })
}

enum Private {
    X25519(<X25519HkdfSha256 as hpke::Kem>::PrivateKey),
    XWing(Box<<XWing as hpke::Kem>::PrivateKey>),
}

/// The private half of an HPKE key, wiped on drop. One key serves one purpose: labels keep protocols apart, and types of their own
/// around this one keep code apart.
pub struct PrivateKey {
    private: Private,
    public: WrappingKey,
}

impl PrivateKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`Error::Random`] when the system gives no randomness.
    pub fn generate(kem: Kem) -> Result<Self, Error> {
        Ok(Self::from_seed(kem, &Secret::random().map_err(|_| Error::Random)?))
    }

    /// The key that belongs to `seed` (RFC 9180, section 7.1.3, `DeriveKeyPair`).
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

    /// The receiving end of the encapsulated key `enc`. It establishes nothing yet: any 32 bytes are an X25519 key. What was made
    /// with the context does, by being opened.
    ///
    /// # Errors
    /// [`Error::Open`] when `enc` is no encapsulated key of this KEM.
    ///
    /// # Panics
    /// When `info` is of 65,531 bytes or more; callers give labels and digests.
    pub fn receive(&self, info: &[u8], enc: &[u8]) -> Result<Recipient, Error> {
        match &self.private {
            Private::X25519(key) => Recipient::x25519(key, info, enc),
            Private::XWing(key) => Recipient::x_wing(key, info, enc),
        }
    }

    /// Decrypts what [`seal`] made for this key and `info`.
    ///
    /// # Errors
    /// [`Error::Open`] when it was made for another key or context, or altered.
    pub fn open(&self, info: &[u8], enc: &[u8], ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.receive(info, enc)?.open(ciphertext)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_and_context_open() {
        for kem in Kem::ALL {
            let (key, other) = (PrivateKey::generate(kem).unwrap(), PrivateKey::generate(kem).unwrap());
            let mut sealed = seal(key.public_key(), b"context", b"plain").unwrap();
            assert_eq!(sealed.enc.len(), kem.encapsulated_key_bytes());
            let open = |key: &PrivateKey, info: &[u8], s: &Sealed| key.open(info, &s.enc, &s.ciphertext);
            assert_eq!(open(&key, b"context", &sealed).unwrap().as_slice(), b"plain");
            assert_eq!(open(&other, b"context", &sealed), Err(Error::Open));
            assert_eq!(open(&key, b"contexT", &sealed), Err(Error::Open));
            sealed.ciphertext[0] ^= 1;
            assert_eq!(open(&key, b"context", &sealed), Err(Error::Open));
            sealed.ciphertext[0] ^= 1;
            sealed.enc[0] ^= 1;
            assert_eq!(open(&key, b"context", &sealed), Err(Error::Open));
        }
    }

    #[test]
    fn a_key_of_one_kem_does_not_open_what_was_sealed_for_another() {
        let seed = Secret::take(&mut [3; 32]);
        let keys = Kem::ALL.map(|kem| PrivateKey::from_seed(kem, &seed));
        for (key, other) in [(&keys[0], &keys[1]), (&keys[1], &keys[0])] {
            let sealed = seal(key.public_key(), b"", b"plain").unwrap();
            assert_eq!(other.open(b"", &sealed.enc, &sealed.ciphertext), Err(Error::Open));
        }
    }

    #[test]
    fn refuses_keys_that_are_none() {
        let zero = WrappingKey::new(Kem::X25519, vec![0; 32]).unwrap();
        assert_eq!(seal(&zero, b"", b"plain"), Err(Error::PublicKey));
        // The coefficients of an ML-KEM key are below 3329 (FIPS 203, section 7.2).
        let above = WrappingKey::new(Kem::XWing, vec![0xff; 1216]).unwrap();
        assert_eq!(seal(&above, b"", b"plain"), Err(Error::PublicKey));
        // The encapsulated key too: with all zeros both ends would share a secret that everyone knows (RFC 7748, section 6.1).
        let key = PrivateKey::generate(Kem::X25519).unwrap();
        assert!(matches!(key.receive(b"", &[0; 32]), Err(Error::Open)));
    }

    #[test]
    fn no_two_messages_are_the_same() {
        for kem in Kem::ALL {
            let key = PrivateKey::generate(kem).unwrap();
            let [one, two] = [0, 1].map(|_| seal(key.public_key(), b"context", b"plain").unwrap());
            assert!(one.enc != two.enc && one.ciphertext != two.ciphertext, "{kem}");
        }
    }

    #[test]
    fn a_key_is_shown_by_its_public_half() {
        let shown = format!("{:?}", PrivateKey::from_seed(Kem::X25519, &Secret::take(&mut [0xa7; 32])));
        assert!(shown.starts_with("PrivateKey(") && shown.contains("x25519"), "{shown}");
        assert!(!shown.contains("167") && !shown.contains(&"a7".repeat(8)), "{shown}");
        let texts = [Error::PublicKey, Error::Open, Error::Random].map(|error| error.to_string());
        assert!(
            texts[0].contains("public key") && texts[1].contains("ciphertext") && texts[2].contains("random")
        );
    }
}
