//! One encapsulation and what both ends derive from it (RFC 9180, sections 5.1 to 5.3).

use crate::Error;
use anchorhold_rats::{Kem, Secret, WrappingKey};
use hpke::{
    Deserializable as _, OpModeR, OpModeS, Serializable as _,
    aead::{AeadCtxR, AeadCtxS, AesGcm256},
    kdf::HkdfSha256,
    kem::{X25519HkdfSha256, XWing},
    rand_core::{TryCryptoRng, TryRng},
    setup_receiver, setup_sender_with_rng,
};
use std::{convert::Infallible, fmt};
use zeroize::Zeroizing;

type SenderContext<K> = AeadCtxS<AesGcm256, HkdfSha256, K>;
type RecipientContext<K> = AeadCtxR<AesGcm256, HkdfSha256, K>;

/// The randomness of one encapsulation: 64 bytes, of which X25519 uses the first 32. Handed in, because a WebAssembly module has
/// no generator of its own and a vector needs a known one. Two encapsulations with the same bytes have the same secrets.
pub type Entropy = Secret<64>;

/// The given bytes as a generator. `hpke` takes one that cannot fail; running dry is remembered and looked at before anything that
/// was made with it is used.
struct Drawn<'a> {
    rest: &'a [u8],
    dry: bool,
}

impl TryRng for Drawn<'_> {
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
        match self.rest.split_at_checked(out.len()) {
            Some((taken, rest)) => {
                out.copy_from_slice(taken);
                self.rest = rest;
            }
            None => self.dry = true,
        }
        Ok(())
    }
}

impl TryCryptoRng for Drawn<'_> {}

enum Sending {
    X25519(Box<SenderContext<X25519HkdfSha256>>),
    XWing(Box<SenderContext<XWing>>),
}

/// The end that made the encapsulated key.
pub struct Sender {
    context: Sending,
    enc: Vec<u8>,
}

impl Sender {
    /// Encapsulates to `recipient`.
    ///
    /// # Errors
    /// [`Error::PublicKey`] when `recipient` is no usable key; [`Error::Random`] when the entropy did not suffice.
    ///
    /// # Panics
    /// When `info` is of 65,531 bytes or more; callers give labels and digests.
    pub fn new(recipient: &WrappingKey, info: &[u8], entropy: Entropy) -> Result<Self, Error> {
        match recipient.kem() {
            Kem::X25519 => {
                let (enc, context) = encapsulate(recipient, info, &entropy)?;
                Ok(Self { context: Sending::X25519(Box::new(context)), enc })
            }
            Kem::XWing => {
                let (enc, context) = encapsulate(recipient, info, &entropy)?;
                Ok(Self { context: Sending::XWing(Box::new(context)), enc })
            }
        }
    }

    /// The encapsulated key, which the other end needs.
    #[must_use]
    pub fn enc(&self) -> &[u8] {
        &self.enc
    }

    /// Encrypts the next message, with empty additional data.
    ///
    /// # Errors
    /// [`Error::Open`] when more messages were sealed than one context may.
    pub fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        match &mut self.context {
            Sending::X25519(context) => context.seal(plaintext, &[]),
            Sending::XWing(context) => context.seal(plaintext, &[]),
        }
        .map_err(|_| Error::Open)
    }

    /// The secret that both ends have under `label` (RFC 9180, section 5.3).
    ///
    /// # Panics
    /// When a secret of 8,160 bytes or more is asked for.
    #[must_use]
    pub fn export<const N: usize>(&self, label: &[u8]) -> Secret<N> {
        let mut out = [0; N];
        match &self.context {
            Sending::X25519(context) => context.export(label, &mut out),
            Sending::XWing(context) => context.export(label, &mut out),
        }
        .expect("HKDF gives up to 8,160 bytes");
        Secret::take(&mut out)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

fn encapsulate<K: hpke::Kem>(
    recipient: &WrappingKey,
    info: &[u8],
    entropy: &Entropy,
) -> Result<(Vec<u8>, SenderContext<K>), Error> {
    let key = K::PublicKey::from_bytes(recipient.as_bytes()).map_err(|_| Error::PublicKey)?;
    let mut drawn = Drawn { rest: entropy.expose(), dry: false };
    let (enc, context) =
        setup_sender_with_rng::<AesGcm256, HkdfSha256, K>(&OpModeS::Base, &key, info, &mut drawn)
            .map_err(|_| Error::PublicKey)?;
    if drawn.dry {
        return Err(Error::Random);
    }
    Ok((enc.to_bytes().to_vec(), context))
}

enum Receiving {
    X25519(Box<RecipientContext<X25519HkdfSha256>>),
    XWing(Box<RecipientContext<XWing>>),
}

/// The end that holds the private key.
pub struct Recipient(Receiving);

impl Recipient {
    pub(crate) fn x25519(
        key: &<X25519HkdfSha256 as hpke::Kem>::PrivateKey,
        info: &[u8],
        enc: &[u8],
    ) -> Result<Self, Error> {
        decapsulate(key, info, enc).map(|context| Self(Receiving::X25519(Box::new(context))))
    }

    pub(crate) fn x_wing(
        key: &<XWing as hpke::Kem>::PrivateKey,
        info: &[u8],
        enc: &[u8],
    ) -> Result<Self, Error> {
        decapsulate(key, info, enc).map(|context| Self(Receiving::XWing(Box::new(context))))
    }

    /// Decrypts the next message. After a refusal the context still waits for the same one.
    ///
    /// # Errors
    /// [`Error::Open`] when the message is not the next one of the sender.
    pub fn open(&mut self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        match &mut self.0 {
            Receiving::X25519(context) => context.open(ciphertext, &[]),
            Receiving::XWing(context) => context.open(ciphertext, &[]),
        }
        .map(Zeroizing::new)
        .map_err(|_| Error::Open)
    }

    /// The secret that both ends have under `label` (RFC 9180, section 5.3).
    ///
    /// # Panics
    /// When a secret of 8,160 bytes or more is asked for.
    #[must_use]
    pub fn export<const N: usize>(&self, label: &[u8]) -> Secret<N> {
        let mut out = [0; N];
        match &self.0 {
            Receiving::X25519(context) => context.export(label, &mut out),
            Receiving::XWing(context) => context.export(label, &mut out),
        }
        .expect("HKDF gives up to 8,160 bytes");
        Secret::take(&mut out)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient")
    }
}

fn decapsulate<K: hpke::Kem>(
    key: &K::PrivateKey,
    info: &[u8],
    enc: &[u8],
) -> Result<RecipientContext<K>, Error> {
    let enc = K::EncappedKey::from_bytes(enc).map_err(|_| Error::Open)?;
    setup_receiver(&OpModeR::Base, key, &enc, info).map_err(|_| Error::Open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;

    #[test]
    fn both_ends_share_messages_in_order_and_secrets_by_label() {
        for kem in Kem::ALL {
            let key = PrivateKey::generate(kem).unwrap();
            let mut sender = Sender::new(key.public_key(), b"info", Entropy::random().unwrap()).unwrap();
            assert_eq!(sender.enc().len(), kem.encapsulated_key_bytes());
            let mut recipient = key.receive(b"info", sender.enc()).unwrap();
            let messages = [b"one", b"two"].map(|text| sender.seal(text).unwrap());
            assert_eq!(recipient.open(&messages[1]), Err(Error::Open));
            assert_eq!(recipient.open(&messages[0]).unwrap().as_slice(), b"one");
            assert_eq!(recipient.open(&messages[0]), Err(Error::Open));
            assert_eq!(recipient.open(&messages[1]).unwrap().as_slice(), b"two");
            assert_eq!(sender.export::<44>(b"label"), recipient.export::<44>(b"label"));
            assert!(sender.export::<32>(b"label") != recipient.export::<32>(b"labeL"));
            let other = key.receive(b"infO", sender.enc()).unwrap();
            assert!(other.export::<32>(b"label") != sender.export::<32>(b"label"));
            assert!(matches!(key.receive(b"info", &[0; 31]), Err(Error::Open)));
            assert_eq!(format!("{sender:?} {recipient:?}"), "Sender Recipient");
        }
    }

    #[test]
    fn entropy_decides_everything() {
        for kem in Kem::ALL {
            let key = PrivateKey::from_seed(kem, &Secret::take(&mut [3; 32]));
            let sender = |byte| Sender::new(key.public_key(), b"", Entropy::take(&mut [byte; 64])).unwrap();
            assert_eq!(sender(1).enc(), sender(1).enc());
            assert_ne!(sender(1).enc(), sender(2).enc());
            assert_eq!(sender(1).export::<32>(b""), sender(1).export::<32>(b""));
        }
    }

    #[test]
    fn entropy_that_runs_dry_is_noticed() {
        let mut drawn = Drawn { rest: &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9], dry: false };
        assert_eq!((drawn.try_next_u32(), drawn.try_next_u64()), (Ok(1), Ok(2)));
        assert!(!drawn.dry);
        drawn.try_next_u32().unwrap();
        drawn.try_fill_bytes(&mut [0]).unwrap();
        assert!(drawn.dry);
    }
}
