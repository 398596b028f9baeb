//! Cosignatures (c2sp.org/tlog-cosignature, Ed25519, `cosignature/v1`): a witness's statement that a checkpoint
//! is the largest consistent one of its log that it has seen, and when.

use crate::PublicKey;
use crate::note::{NamedKey, Note, NoteError};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::fmt;

/// Ed25519 cosignatures as the specification numbers them.
const SIGNATURE_TYPE_COSIGNATURE: u8 = 4;
/// 8 bytes of time and an Ed25519 signature.
const COSIGNATURE_BYTES: usize = 8 + 64;

/// A witness's public key under the name by which notes call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey(NamedKey);

impl WitnessKey {
    /// The key `public_key` under `name`, best a URL without its scheme.
    ///
    /// # Errors
    /// [`NoteError::KeyName`].
    pub fn new(name: &str, public_key: PublicKey) -> Result<Self, NoteError> {
        NamedKey::new(name, SIGNATURE_TYPE_COSIGNATURE, public_key).map(Self)
    }

    /// Reads the text form: `name+id+base64(type and key)`, in its one spelling.
    ///
    /// # Errors
    /// [`NoteError::VerifierKey`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        NamedKey::parse(text, SIGNATURE_TYPE_COSIGNATURE).map(Self)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The key itself.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.0.public_key
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_text(SIGNATURE_TYPE_COSIGNATURE))
    }
}

/// A witness's signing key. The key must sign nothing but cosignatures under this name: the signed message does not
/// hold the name.
pub struct Cosigner {
    key: WitnessKey,
    pair: Ed25519KeyPair,
}

impl Cosigner {
    /// The key that RFC 8032 derives from `seed`, under `name`.
    ///
    /// # Errors
    /// [`NoteError::KeyName`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::VerifierKey)?;
        let public_key =
            PublicKey::try_from(pair.public_key().as_ref()).map_err(|_| NoteError::VerifierKey)?;
        Ok(Self { key: WitnessKey::new(name, public_key)?, pair })
    }

    /// The public half.
    #[must_use]
    pub const fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// The signature line over a checkpoint's text, at `time_s` seconds since 1970.
    ///
    /// Presumes that the checkpoint is the largest of its log that this witness has stored.
    #[must_use]
    pub fn cosign(&self, text: &str, time_s: u64) -> String {
        let signature = self.pair.sign(&message(text, time_s));
        self.key.0.line(&[time_s.to_be_bytes().as_slice(), signature.as_ref()].concat())
    }
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cosigner({})", self.key)
    }
}

/// One verified cosignature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// Whose it is.
    pub witness: WitnessKey,
    /// When the witness made it, in seconds since 1970.
    pub time_s: u64,
}

/// The cosignatures by `keys` in a note, one for each key at most, the latest of several.
///
/// Establishes that each of these witnesses signed exactly this text. Whether a time is near enough is the caller's
/// business.
///
/// # Errors
/// [`NoteError::BadSignature`] when one by a known key does not verify.
pub fn cosignatures(note: &Note, keys: &[WitnessKey]) -> Result<Vec<Cosignature>, NoteError> {
    let mut found: Vec<Cosignature> = Vec::new();
    for line in note.signatures() {
        let Some(key) = keys.iter().find(|key| line.is_by(&key.0)) else { continue };
        if line.signature.len() != COSIGNATURE_BYTES {
            return Err(NoteError::BadSignature);
        }
        let (time, signature) = line.signature.split_first_chunk::<8>().ok_or(NoteError::BadSignature)?;
        let time_s = u64::from_be_bytes(*time);
        // The specification's largest time.
        if i64::try_from(time_s).is_err() {
            return Err(NoteError::BadSignature);
        }
        key.0.verify(&message(note.unverified_text(), time_s), signature)?;
        match found.iter_mut().find(|other| other.witness == *key) {
            Some(other) => other.time_s = other.time_s.max(time_s),
            None => found.push(Cosignature { witness: key.clone(), time_s }),
        }
    }
    Ok(found)
}

fn message(text: &str, time_s: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_s}\n{text}").into_bytes()
}

/// How many of which witnesses must have cosigned a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    keys: Vec<WitnessKey>,
    needed: usize,
}

/// A quorum that nobody could reach, or that counts one witness twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumError;

impl fmt::Display for QuorumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quorum needs at most as many cosignatures as it names different witness keys")
    }
}

impl std::error::Error for QuorumError {}

impl Quorum {
    /// `needed` of `keys`.
    ///
    /// # Errors
    /// [`QuorumError`] when there are fewer keys, or two with the same public key.
    pub fn new(keys: Vec<WitnessKey>, needed: usize) -> Result<Self, QuorumError> {
        let twice = keys
            .iter()
            .enumerate()
            .any(|(at, key)| keys.iter().take(at).any(|other| other.public_key() == key.public_key()));
        if twice || needed > keys.len() { Err(QuorumError) } else { Ok(Self { keys, needed }) }
    }

    /// The witnesses.
    #[must_use]
    pub fn keys(&self) -> &[WitnessKey] {
        &self.keys
    }

    /// How many of them.
    #[must_use]
    pub const fn needed(&self) -> usize {
        self.needed
    }

    /// Whether enough of the witnesses cosigned `note`.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] when a cosignature by one of them does not verify.
    pub fn is_met_by(&self, note: &Note) -> Result<bool, NoteError> {
        Ok(cosignatures(note, &self.keys)?.len() >= self.needed)
    }
}
