//! Exported authenticators (RFC 9261): after the handshake, the guest's attested key signs what only the two ends of
//! this very TLS connection can compute.
//!
//! Evidence that names the TLS key stops a relay that has another key. It does not stop one that has stolen the TLS
//! key, because evidence and handshake can then be passed on and played by different machines (CVE-2026-33697). An
//! authenticator does: its transcript starts from a secret exported from the connection (RFC 8446, section 7.5), so one
//! made for the connection between a guest and a relay is refused on the connection between the relay and a client. The key
//! that signs it is named in the attested document, is held by another process than the TLS key, and signs nothing else.
//!
//! The evidence itself is not repeated in the authenticator's Certificate message, as draft-fossati-seat-expat has
//! it: the document carries it once, and each later connection costs one signature instead of one report.
//!
//! The client sends [`Request::to_bytes`] to [`PATH`]. The server reads it with [`Request::parse`], begins the answer with
//! [`Unsigned::new`], has [`AuthenticatorKey::sign`] sign it, and sends [`Unsigned::finish`]. The client judges with [`verify`].

mod key;

pub use key::AuthenticatorKey;

use anchorhold_rats::{Ed25519PublicKey, Nonce};
use ring::{digest, hmac, signature};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use rustls::{CommonState, crypto::hash::HashAlgorithm};
use std::fmt;

/// Where an authenticator is asked for, by POST; needs no API key.
pub const PATH: &str = "/.well-known/anchorhold-authenticator";
/// The content type of request and answer.
pub const CONTENT_TYPE: &str = "application/octet-stream";
/// The longest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 512;
/// The longest authenticator, in bytes.
pub const MAX_AUTHENTICATOR_BYTES: usize = 8 * 1024;

const HANDSHAKE_CONTEXT: &[u8] = b"EXPORTER-server authenticator handshake context";
const FINISHED_KEY: &[u8] = b"EXPORTER-server authenticator finished key";
/// RFC 9261, section 5.2.2.
const CONTEXT_STRING: &[u8] = b"Exported Authenticator";
/// Handshake types: RFC 8446, section 4, and RFC 9261, section 4.1.
const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_CERTIFICATE_REQUEST: u8 = 17;
const FINISHED: u8 = 20;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ED25519: u16 = 0x0807;
/// The DER SubjectPublicKeyInfo of an Ed25519 key up to the key (RFC 8410, section 4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why there is no authenticator, or why it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The connection exports nothing, or is not TLS 1.3.
    #[error("the connection exports no secrets")]
    Export,
    /// The bytes are no request, or no authenticator.
    #[error("not the expected messages of RFC 9261")]
    Malformed,
    /// The other side does not take signatures by Ed25519 keys.
    #[error("signature algorithm is not ed25519")]
    Algorithm,
    /// The answer is for another request.
    #[error("the authenticator answers another request")]
    OtherRequest,
    /// The certificate holds another key than the attested one.
    #[error("the authenticator's key is not the attested one")]
    OtherKey,
    /// The signature does not cover this connection: the messages were made for another one.
    #[error("the authenticator was made for another connection")]
    OtherConnection,
}

/// What one connection exports to both of its ends for authenticators of the server.
#[derive(Clone)]
pub struct Exporters {
    hash: Hash,
    handshake_context: Vec<u8>,
    finished_key: hmac::Key,
}

impl fmt::Debug for Exporters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporters")
    }
}

/// The hash of the connection's cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
}

impl Hash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
        }
    }

    fn len(self) -> usize {
        self.digest().output_len()
    }
}

impl Exporters {
    /// What a connection exports whose handshake is complete. `state` is the connection, `export` its own
    /// `export_keying_material`.
    pub(crate) fn new(
        state: &CommonState,
        export: impl Fn(Vec<u8>, &[u8]) -> Result<Vec<u8>, rustls::Error>,
    ) -> Result<Self, Error> {
        let suite = state.negotiated_cipher_suite().and_then(|suite| suite.tls13()).ok_or(Error::Export)?;
        let hash = match suite.common.hash_provider.algorithm() {
            HashAlgorithm::SHA256 => Hash::Sha256,
            HashAlgorithm::SHA384 => Hash::Sha384,
            _ => return Err(Error::Export),
        };
        let exported = |label| export(vec![0; hash.len()], label).map_err(|_| Error::Export);
        let finished_key = hmac::Key::new(hash.hmac(), &exported(FINISHED_KEY)?);
        Ok(Self { hash, handshake_context: exported(HANDSHAKE_CONTEXT)?, finished_key })
    }

    /// A connection whose two ends share `secret`.
    #[cfg(any(test, fuzzing))]
    #[must_use]
    pub fn of_secret(secret: &[u8]) -> Self {
        Self {
            hash: Hash::Sha384,
            handshake_context: secret.to_vec(),
            finished_key: hmac::Key::new(hmac::HMAC_SHA384, secret),
        }
    }

    /// The hash over what this connection exports and `messages`.
    fn transcript(&self, messages: &[&[u8]]) -> digest::Digest {
        let mut context = digest::Context::new(self.hash.digest());
        context.update(&self.handshake_context);
        messages.iter().for_each(|message| context.update(message));
        context.finish()
    }
}

/// A client's request: a `ClientCertificateRequest` (RFC 9261, section 4.1) that takes Ed25519 alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    context: Vec<u8>,
    bytes: Vec<u8>,
}

impl Request {
    /// The request with this nonce as its context.
    #[must_use]
    pub fn new(nonce: &Nonce) -> Self {
        let mut algorithms = Vec::new();
        prefixed(&mut algorithms, 2, &ED25519.to_be_bytes());
        let mut extensions = SIGNATURE_ALGORITHMS.to_be_bytes().to_vec();
        prefixed(&mut extensions, 2, &algorithms);
        let mut body = Vec::new();
        prefixed(&mut body, 1, nonce.as_bytes());
        prefixed(&mut body, 2, &extensions);
        Self { context: nonce.as_bytes().to_vec(), bytes: message(CLIENT_CERTIFICATE_REQUEST, &body) }
    }

    /// Reads a request: extensions that it does not know are passed over, as RFC 9261 has it.
    ///
    /// # Errors
    /// [`Error::Malformed`], or [`Error::Algorithm`] when the client does not take Ed25519.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(Error::Malformed);
        }
        let mut reader = Reader(bytes);
        let mut body = reader.message(CLIENT_CERTIFICATE_REQUEST)?;
        reader.end()?;
        let context = body.vector(1)?.0.to_vec();
        let mut extensions = body.vector(2)?;
        body.end()?;
        let mut takes_ed25519 = false;
        while !extensions.0.is_empty() {
            let kind = extensions.number(2)?;
            let mut value = extensions.vector(2)?;
            if kind == usize::from(SIGNATURE_ALGORITHMS) {
                let mut list = value.vector(2)?;
                value.end()?;
                while !list.0.is_empty() {
                    takes_ed25519 |= list.number(2)? == usize::from(ED25519);
                }
            }
        }
        if takes_ed25519 { Ok(Self { context, bytes: bytes.to_vec() }) } else { Err(Error::Algorithm) }
    }

    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What an authenticator's key signs: the text of RFC 9261, section 5.2.2, around the hash of a transcript. It begins
/// with 64 spaces and a string of its own, so it is no other text that any key of a guest signs.
#[must_use]
pub fn signed_content(transcript_hash: &[u8]) -> Vec<u8> {
    [&[0x20; 64][..], CONTEXT_STRING, &[0], transcript_hash].concat()
}

/// An authenticator that still lacks its signature.
#[derive(Debug)]
pub struct Unsigned<'a> {
    exporters: &'a Exporters,
    request: &'a Request,
    certificate: Vec<u8>,
}

impl<'a> Unsigned<'a> {
    /// The answer to `request` on the connection of `exporters`. `certificate` is the DER of an X.509 certificate with
    /// the Ed25519 key that will sign.
    #[must_use]
    pub fn new(exporters: &'a Exporters, request: &'a Request, certificate: &[u8]) -> Self {
        let mut entry = Vec::new();
        prefixed(&mut entry, 3, certificate);
        prefixed(&mut entry, 2, &[]);
        let mut body = Vec::new();
        prefixed(&mut body, 1, &request.context);
        prefixed(&mut body, 3, &entry);
        Self { exporters, request, certificate: message(CERTIFICATE, &body) }
    }

    /// The hash to be signed within [`signed_content`].
    #[must_use]
    pub fn transcript_hash(&self) -> Vec<u8> {
        self.exporters.transcript(&[&self.request.bytes, &self.certificate]).as_ref().to_vec()
    }

    /// The authenticator, with its Ed25519 signature.
    #[must_use]
    pub fn finish(self, signature: &[u8]) -> Vec<u8> {
        let mut body = ED25519.to_be_bytes().to_vec();
        prefixed(&mut body, 2, signature);
        let verify = message(CERTIFICATE_VERIFY, &body);
        let hash = self.exporters.transcript(&[&self.request.bytes, &self.certificate, &verify]);
        let tag = hmac::sign(&self.exporters.finished_key, hash.as_ref());
        [self.certificate, verify, message(FINISHED, tag.as_ref())].concat()
    }
}

/// Judges an authenticator.
///
/// *Establishes*: the holder of `key` signed for the very connection of `exporters`, after it saw `request`. *Presumes*:
/// `key` is one that evidence vouches for, and the request's nonce was random and is used once.
///
/// # Errors
/// [`Error`]: one for each rule.
pub fn verify(
    exporters: &Exporters,
    request: &Request,
    authenticator: &[u8],
    key: &Ed25519PublicKey,
) -> Result<(), Error> {
    if authenticator.len() > MAX_AUTHENTICATOR_BYTES {
        return Err(Error::Malformed);
    }
    let mut reader = Reader(authenticator);
    let certificate = reader.message(CERTIFICATE)?;
    let certificate_end = authenticator.len() - reader.0.len();
    let verify = reader.message(CERTIFICATE_VERIFY)?;
    let verify_end = authenticator.len() - reader.0.len();
    let finished = reader.message(FINISHED)?;
    reader.end()?;
    let (Some(certificate_bytes), Some(signed_bytes)) =
        (authenticator.get(..certificate_end), authenticator.get(..verify_end))
    else {
        return Err(Error::Malformed);
    };
    check_certificate(certificate, request, key)?;
    let signature = signature_of(verify)?;
    let content = signed_content(exporters.transcript(&[&request.bytes, certificate_bytes]).as_ref());
    signature::UnparsedPublicKey::new(&signature::ED25519, key.as_bytes())
        .verify(&content, signature)
        .map_err(|_| Error::OtherConnection)?;
    let hash = exporters.transcript(&[&request.bytes, signed_bytes]);
    hmac::verify(&exporters.finished_key, hash.as_ref(), finished.0).map_err(|_| Error::OtherConnection)
}

fn check_certificate(mut body: Reader<'_>, request: &Request, key: &Ed25519PublicKey) -> Result<(), Error> {
    let context = body.vector(1)?;
    let mut entries = body.vector(3)?;
    body.end()?;
    let leaf = CertificateDer::from(entries.vector(3)?.0);
    entries.vector(2)?;
    entries.end()?;
    if context.0 != request.context {
        return Err(Error::OtherRequest);
    }
    let leaf = ParsedCertificate::try_from(&leaf).map_err(|_| Error::Malformed)?;
    let wanted = [&ED25519_SPKI[..], key.as_bytes()].concat();
    if leaf.subject_public_key_info().as_ref() == wanted { Ok(()) } else { Err(Error::OtherKey) }
}

fn signature_of(mut body: Reader<'_>) -> Result<&[u8], Error> {
    let algorithm = body.number(2)?;
    let signature = body.vector(2)?;
    body.end()?;
    if algorithm == usize::from(ED25519) { Ok(signature.0) } else { Err(Error::Algorithm) }
}

/// Appends `bytes` with its length in front, as `width` bytes big-endian. What is longer than its length can say is cut to
/// nothing by no caller: all of them stay below.
fn prefixed(out: &mut Vec<u8>, width: usize, bytes: &[u8]) {
    let len = (bytes.len() as u64).to_be_bytes();
    out.extend(len.get(len.len() - width..).unwrap_or_default());
    out.extend(bytes);
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    prefixed(&mut out, 3, body);
    out
}

/// What is left to read.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Error::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, width: usize) -> Result<usize, Error> {
        Ok(self.take(width)?.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    fn vector(&mut self, width: usize) -> Result<Self, Error> {
        let len = self.number(width)?;
        self.take(len).map(Self)
    }

    fn message(&mut self, kind: u8) -> Result<Self, Error> {
        if self.number(1)? != usize::from(kind) {
            return Err(Error::Malformed);
        }
        self.vector(3)
    }

    fn end(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Malformed) }
    }
}

#[cfg(test)]
mod tests;
