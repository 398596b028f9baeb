//! Signed notes (c2sp.org/signed-note v1): text, a blank line, and one line per signature.
//!
//! Signature type 0x01, plain Ed25519, is made and verified here; 0x04, cosignatures, in
//! [`cosignature`](crate::cosignature). Signatures by keys that the caller does not know, of whatever type, are ignored,
//! as the specification demands.

use crate::id::Origin;
use crate::{Hash, PublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::fmt;

/// The longest note that is read, in bytes: room for 16 signatures of 5 kB each, which the specification
/// asks for, and some text.
pub const MAX_NOTE_BYTES: usize = 128 * 1024;
/// The most signatures that are read.
pub const MAX_NOTE_SIGNATURES: usize = 64;
/// Ed25519 as the specification numbers it.
const SIGNATURE_TYPE_ED25519: u8 = 1;
pub(crate) const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Why a note was not read or proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteError {
    /// Over [`MAX_NOTE_BYTES`].
    TooLong,
    /// Not UTF-8, or with a control character other than the line feed.
    Encoding,
    /// No blank line, text that does not end its line, or no signature line after it.
    Shape,
    /// More than [`MAX_NOTE_SIGNATURES`] signatures.
    TooManySignatures,
    /// A line that is not a signature line with canonical base64.
    SignatureLine,
    /// A key name that is empty or has white space, a control character or a plus sign.
    KeyName,
    /// A verifier key whose parts do not fit together.
    VerifierKey,
    /// A signature by a known key does not verify.
    BadSignature,
    /// No known key signed.
    NotSigned,
    /// The text to be signed is empty, does not end with a line feed, or cannot stand in a note.
    Text,
    /// The system gives no randomness.
    Random,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "note is over {MAX_NOTE_BYTES} bytes"),
            Self::Encoding => f.write_str("note is not UTF-8 without control characters"),
            Self::Shape => f.write_str("note is not text, a blank line and signature lines"),
            Self::TooManySignatures => write!(f, "note has more than {MAX_NOTE_SIGNATURES} signatures"),
            Self::SignatureLine => f.write_str("malformed signature line"),
            Self::KeyName => f.write_str("key name is empty or has white space or a plus sign"),
            Self::VerifierKey => f.write_str("malformed verifier key"),
            Self::BadSignature => f.write_str("a signature by a known key does not verify"),
            Self::NotSigned => f.write_str("no known key signed the note"),
            Self::Text => f.write_str("text cannot stand in a note"),
            Self::Random => f.write_str("the system gives no randomness"),
        }
    }
}

impl std::error::Error for NoteError {}

fn check_key_name(name: &str) -> Result<(), NoteError> {
    let bad = |c: char| c.is_whitespace() || c < ' ' || c == '+';
    if name.is_empty() || name.contains(bad) { Err(NoteError::KeyName) } else { Ok(()) }
}

/// A named public key of a signature type, and its id: the first 4 bytes of SHA-256 over name, type and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedKey {
    pub(crate) name: String,
    pub(crate) id: [u8; 4],
    pub(crate) public_key: PublicKey,
}

impl NamedKey {
    pub(crate) fn new(name: &str, kind: u8, public_key: PublicKey) -> Result<Self, NoteError> {
        check_key_name(name)?;
        let typed = [name.as_bytes(), b"\n", &[kind], public_key.as_bytes()].concat();
        let [a, b, c, d, ..] = *Hash::of(&typed).as_bytes();
        Ok(Self { name: name.to_owned(), id: [a, b, c, d], public_key })
    }

    /// Reads `name+id+base64` of this type, in its one spelling.
    pub(crate) fn parse(text: &str, kind: u8) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::VerifierKey);
        };
        let key = BASE64.decode(key).map_err(|_| NoteError::VerifierKey)?;
        let (found, key) = key.split_first().ok_or(NoteError::VerifierKey)?;
        let key = PublicKey::try_from(key).map_err(|_| NoteError::VerifierKey)?;
        let parsed = Self::new(name, kind, key).map_err(|_| NoteError::VerifierKey)?;
        let fits = *found == kind && crate::Hex::new(parsed.id).to_string() == id;
        if fits { Ok(parsed) } else { Err(NoteError::VerifierKey) }
    }

    pub(crate) fn to_text(&self, kind: u8) -> String {
        let typed = [&[kind], self.public_key.as_bytes().as_slice()].concat();
        format!("{}+{}+{}", self.name, crate::Hex::new(self.id), BASE64.encode(typed))
    }

    /// The line with which this key's `signature` stands in a note.
    pub(crate) fn line(&self, signature: &[u8]) -> String {
        format!("{SIGNATURE_PREFIX}{} {}\n", self.name, BASE64.encode([&self.id, signature].concat()))
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), NoteError> {
        UnparsedPublicKey::new(&ED25519, self.public_key.as_bytes())
            .verify(message, signature)
            .map_err(|_| NoteError::BadSignature)
    }
}

/// A public key under the name by which notes call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey(NamedKey);

impl VerifierKey {
    /// The key `public_key` under `name`.
    ///
    /// # Errors
    /// [`NoteError::KeyName`].
    pub fn new(name: &str, public_key: PublicKey) -> Result<Self, NoteError> {
        NamedKey::new(name, SIGNATURE_TYPE_ED25519, public_key).map(Self)
    }

    /// Reads the text form: `name+id+base64(type and key)`, in its one spelling.
    ///
    /// # Errors
    /// [`NoteError::VerifierKey`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        NamedKey::parse(text, SIGNATURE_TYPE_ED25519).map(Self)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The id in signature lines.
    #[must_use]
    pub const fn id(&self) -> [u8; 4] {
        self.0.id
    }

    /// The key itself.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.0.public_key
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_text(SIGNATURE_TYPE_ED25519))
    }
}

/// A named Ed25519 key that signs the checkpoints of one log. It lives in memory only: when the process
/// ends, nobody can sign for that log again.
pub struct Signer {
    origin: Origin,
    key: VerifierKey,
    key_pair: Ed25519KeyPair,
}

impl Signer {
    /// Signs for `origin` with this key.
    ///
    /// # Errors
    /// [`NoteError::VerifierKey`] when the key pair gives no public key of 32 bytes.
    pub fn new(origin: Origin, key_pair: Ed25519KeyPair) -> Result<Self, NoteError> {
        let public_key =
            PublicKey::try_from(key_pair.public_key().as_ref()).map_err(|_| NoteError::VerifierKey)?;
        let key = VerifierKey::new(origin.as_str(), public_key)?;
        Ok(Self { origin, key, key_pair })
    }

    /// Signs for `origin` with the key of this seed (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// As [`Signer::new`].
    pub fn from_seed(origin: Origin, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let key_pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::VerifierKey)?;
        Self::new(origin, key_pair)
    }

    /// Signs for `origin` with the key in a PKCS #8 document, for a log that goes on longer than one process.
    ///
    /// # Errors
    /// As [`Signer::new`].
    pub fn from_pkcs8(origin: Origin, document: &[u8]) -> Result<Self, NoteError> {
        Self::new(origin, Ed25519KeyPair::from_pkcs8(document).map_err(|_| NoteError::VerifierKey)?)
    }

    /// Signs for `origin` with a fresh key.
    ///
    /// # Errors
    /// [`NoteError::Random`].
    pub fn generate(origin: Origin) -> Result<Self, NoteError> {
        let mut seed = [0; 32];
        crate::random::fill(&mut seed).map_err(|_| NoteError::Random)?;
        Self::from_seed(origin, &seed)
    }

    /// Under which name it signs.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What verifies its signatures.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The signature over bytes that are no note's text: the caller puts a type in front of them.
    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.key_pair.sign(bytes).as_ref());
        signature
    }

    /// The note with `text` and this key's signature.
    ///
    /// # Errors
    /// [`NoteError::Text`] when the text is empty, does not end with a line feed, has another control
    /// character, or makes the note too long.
    pub fn sign(&self, text: &str) -> Result<Vec<u8>, NoteError> {
        if !text.ends_with('\n') || text.contains(|c: char| c < ' ' && c != '\n') {
            return Err(NoteError::Text);
        }
        let line = self.key.0.line(self.key_pair.sign(text.as_bytes()).as_ref());
        let note = format!("{text}\n{line}").into_bytes();
        if note.len() > MAX_NOTE_BYTES { Err(NoteError::Text) } else { Ok(note) }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.key)
    }
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignatureLine {
    name: String,
    id: [u8; 4],
    pub(crate) signature: Vec<u8>,
}

impl SignatureLine {
    pub(crate) fn is_by(&self, key: &NamedKey) -> bool {
        self.name == key.name && self.id == key.id
    }
}

/// A note that was read and whose signatures were not yet looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

impl Note {
    /// Reads a note.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Encoding)?;
        if note.contains(|c: char| c < ' ' && c != '\n') {
            return Err(NoteError::Encoding);
        }
        let blank = note.rfind("\n\n").ok_or(NoteError::Shape)?;
        let (text, after) = note.split_at_checked(blank + 1).ok_or(NoteError::Shape)?;
        let lines = after.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let lines = lines.filter(|lines| !lines.is_empty()).ok_or(NoteError::Shape)?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_NOTE_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(parse_signature(line)?);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text when at least one of `keys` signed it and no signature by any of them is bad.
    ///
    /// Establishes that the holder of a known key signed exactly this text. A key that signed twice counts
    /// once; each of its signatures must verify.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] or [`NoteError::NotSigned`].
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Verified<'_>, NoteError> {
        let mut signers: Vec<VerifierKey> = Vec::new();
        for line in &self.signatures {
            let Some(key) = keys.iter().find(|key| line.is_by(&key.0)) else { continue };
            key.0.verify(self.text.as_bytes(), &line.signature)?;
            if !signers.contains(key) {
                signers.push(key.clone());
            }
        }
        if signers.is_empty() {
            Err(NoteError::NotSigned)
        } else {
            Ok(Verified { text: &self.text, signers })
        }
    }

    pub(crate) fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// The text, which nobody is shown to have signed.
    #[must_use]
    pub fn unverified_text(&self) -> &str {
        &self.text
    }
}

/// Text that a known key signed. Only [`Note::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<'a> {
    text: &'a str,
    signers: Vec<VerifierKey>,
}

impl<'a> Verified<'a> {
    /// The text.
    #[must_use]
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// The known keys that signed it, each once.
    #[must_use]
    pub fn signers(&self) -> &[VerifierKey] {
        &self.signers
    }
}

fn parse_signature(line: &str) -> Result<SignatureLine, NoteError> {
    let rest = line.strip_prefix(SIGNATURE_PREFIX).ok_or(NoteError::SignatureLine)?;
    let (name, encoded) = rest.split_once(' ').ok_or(NoteError::SignatureLine)?;
    check_key_name(name)?;
    // The engine refuses missing padding and non-zero trailing bits: one spelling for each signature.
    let bytes = BASE64.decode(encoded).map_err(|_| NoteError::SignatureLine)?;
    let (id, signature) = bytes.split_first_chunk::<4>().ok_or(NoteError::SignatureLine)?;
    if signature.is_empty() {
        return Err(NoteError::SignatureLine);
    }
    Ok(SignatureLine { name: name.to_owned(), id: *id, signature: signature.to_vec() })
}
