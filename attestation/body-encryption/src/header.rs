//! The header `anchorhold-body` of a request and of a response (PROTOCOL.md, "Headers").

use crate::aead::{FrameKey, TAG_BYTES};
use crate::{BodyKey, Error};
use anchorhold_rats::{Kem, Nonce, WrappingKey, hex};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::fmt;

/// The name of the header in both directions.
pub const HEADER: &str = "anchorhold-body";
/// The most bytes that a caller may put into a header, encrypted.
pub const MAX_HEAD_BYTES: usize = 1024;
/// The longest header value, in characters: that of a request to an X-Wing key.
pub const MAX_HEADER_CHARS: usize = (REQUEST_FIXED_BYTES + 1120 + MAX_HEAD_BYTES + TAG_BYTES).div_ceil(3) * 4;

const VERSION: u8 = 1;
const WITHOUT_BODY: u8 = 0;
const WITH_BODY: u8 = 1;
/// Version, body flag, KEM, key id.
const REQUEST_FIXED_BYTES: usize = 1 + 1 + 2 + KeyId::LEN;
/// Version, body flag, nonce.
const RESPONSE_FIXED_BYTES: usize = 1 + 1 + Nonce::LEN;

/// Whether frames follow. It is authenticated, so that a body can be neither removed nor added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Absent,
    Present,
}

impl Body {
    const fn byte(self) -> u8 {
        match self {
            Self::Absent => WITHOUT_BODY,
            Self::Present => WITH_BODY,
        }
    }

    fn read(byte: u8) -> Result<Self, Error> {
        match byte {
            WITHOUT_BODY => Ok(Self::Absent),
            WITH_BODY => Ok(Self::Present),
            _ => Err(Error::Header),
        }
    }
}

/// Tells keys apart: the first 8 bytes of the digest by which evidence names the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; Self::LEN]);

impl KeyId {
    /// The length in bytes.
    pub const LEN: usize = 8;

    /// The id of `key`.
    ///
    /// # Panics
    /// Never: a digest is longer than an id.
    #[must_use]
    pub fn of(key: &WrappingKey) -> Self {
        Self(*key.digest().as_bytes().first_chunk().expect("a digest has 32 bytes"))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

const fn kem_id(kem: Kem) -> u16 {
    match kem {
        Kem::X25519 => 0x0020,
        Kem::XWing => 0x647a,
    }
}

pub(crate) fn kem_of(id: u16) -> Option<Kem> {
    Kem::ALL.into_iter().find(|kem| kem_id(*kem) == id)
}

pub(crate) const fn kem_bytes(kem: Kem) -> [u8; 2] {
    kem_id(kem).to_be_bytes()
}

/// The header of a request, read but not opened. It says which key the request is for.
#[derive(Debug, Clone)]
pub struct RequestHeader {
    bytes: Vec<u8>,
    body: Body,
    kem: Kem,
    key: KeyId,
}

impl RequestHeader {
    /// Reads a header value.
    ///
    /// # Errors
    /// [`Error::Header`].
    pub fn parse(value: &str) -> Result<Self, Error> {
        let bytes = decode(value)?;
        let [VERSION, body, kem_high, kem_low, rest @ ..] = bytes.as_slice() else {
            return Err(Error::Header);
        };
        let body = Body::read(*body)?;
        let kem = kem_of(u16::from_be_bytes([*kem_high, *kem_low])).ok_or(Error::Header)?;
        let (key, rest) = rest.split_first_chunk().ok_or(Error::Header)?;
        let key = KeyId(*key);
        let least = kem.encapsulated_key_bytes() + TAG_BYTES;
        if !(least..=least + MAX_HEAD_BYTES).contains(&rest.len()) {
            return Err(Error::Header);
        }
        Ok(Self { bytes, body, kem, key })
    }

    /// The key that the request claims to be for.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key
    }

    pub(crate) const fn body(&self) -> Body {
        self.body
    }

    /// Refuses another key than the one that the header names.
    pub(crate) fn require(&self, key: &BodyKey) -> Result<(), Error> {
        if self.kem == key.public_key().kem() && self.key == KeyId::of(key.public_key()) {
            Ok(())
        } else {
            Err(Error::OtherKey)
        }
    }

    /// The encapsulated key.
    pub(crate) fn enc(&self) -> &[u8] {
        let end = REQUEST_FIXED_BYTES + self.kem.encapsulated_key_bytes();
        self.bytes.get(REQUEST_FIXED_BYTES..end).unwrap_or_default()
    }

    /// Decrypts what the client put into the header.
    pub(crate) fn open_head(&self, key: &mut FrameKey) -> Result<Vec<u8>, Error> {
        open_head(key, &self.bytes, REQUEST_FIXED_BYTES + self.kem.encapsulated_key_bytes())
    }
}

/// Writes the header of a request.
pub(crate) fn request(
    recipient: &WrappingKey,
    enc: &[u8],
    body: Body,
    head: &[u8],
    key: &mut FrameKey,
) -> Result<String, Error> {
    let mut bytes = vec![VERSION, body.byte()];
    bytes.extend_from_slice(&kem_bytes(recipient.kem()));
    bytes.extend_from_slice(&KeyId::of(recipient).0);
    bytes.extend_from_slice(enc);
    seal_head(key, bytes, head)
}

/// The header of a response, read but not opened.
pub(crate) struct ResponseHeader {
    bytes: Vec<u8>,
    pub(crate) body: Body,
    pub(crate) nonce: Nonce,
}

impl ResponseHeader {
    pub(crate) fn parse(value: &str) -> Result<Self, Error> {
        let bytes = decode(value)?;
        let [VERSION, body, rest @ ..] = bytes.as_slice() else { return Err(Error::Header) };
        let body = Body::read(*body)?;
        let (nonce, sealed) = rest.split_first_chunk().ok_or(Error::Header)?;
        let nonce = Nonce::new(*nonce);
        if !(TAG_BYTES..=TAG_BYTES + MAX_HEAD_BYTES).contains(&sealed.len()) {
            return Err(Error::Header);
        }
        Ok(Self { bytes, body, nonce })
    }

    pub(crate) fn open_head(&self, key: &mut FrameKey) -> Result<Vec<u8>, Error> {
        open_head(key, &self.bytes, RESPONSE_FIXED_BYTES)
    }
}

/// Writes the header of a response.
pub(crate) fn response(nonce: &Nonce, body: Body, head: &[u8], key: &mut FrameKey) -> Result<String, Error> {
    let bytes = [&[VERSION, body.byte()], nonce.as_bytes().as_slice()].concat();
    seal_head(key, bytes, head)
}

fn seal_head(key: &mut FrameKey, mut bytes: Vec<u8>, head: &[u8]) -> Result<String, Error> {
    if head.len() > MAX_HEAD_BYTES {
        return Err(Error::HeadTooLong);
    }
    let (clear, start) = (bytes.clone(), bytes.len());
    bytes.extend_from_slice(head);
    key.seal(&clear, &mut bytes, start)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn open_head(key: &mut FrameKey, bytes: &[u8], clear: usize) -> Result<Vec<u8>, Error> {
    let (clear, sealed) = bytes.split_at_checked(clear).ok_or(Error::Header)?;
    let mut head = Vec::new();
    key.open(clear, sealed, &mut head).map_err(|_| Error::Head)?;
    Ok(head)
}

fn decode(value: &str) -> Result<Vec<u8>, Error> {
    if value.len() > MAX_HEADER_CHARS {
        return Err(Error::Header);
    }
    URL_SAFE_NO_PAD.decode(value).map_err(|_| Error::Header)
}
