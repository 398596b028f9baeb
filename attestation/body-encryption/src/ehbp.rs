//! The Encrypted HTTP Body Protocol, which existing clients speak (its specification: `SPEC.md` of tinfoilsh/encrypted-http-body-protocol).
//!
//! It hides bodies as well as `anchorhold-body/1` with X25519 does, and binds less: method, path, content type and status are not part of
//! what is authenticated, frames are numbered but the end is not marked, so that a body cut between two frames looks whole, and a request
//! without a body is not encrypted, nor is its response. A guest whose clients need those takes the other profile.
//!
//! Stricter than the specification in three points: a [`Reply`] exists only after a frame of the request has been opened, so that nobody
//! can put a key of his own in the place of the client's; a request without any frame is [`Error::Truncated`]; hex is lower case.

use crate::aead::{FrameKey, KEY_BYTES, TAG_BYTES, expand, extract};
use crate::reassembly::Reassembly;
use crate::{BodyKey, Error};
use anchorhold_hpke::{Entropy, Recipient, Sender};
use anchorhold_rats::{Kem, Nonce, Secret, WrappingKey, hex};
use std::fmt;

/// The header of a request, in lower case: the encapsulated key in lower-case hex.
pub const REQUEST_HEADER: &str = "ehbp-encapsulated-key";
/// The header of a response, in lower case: 32 random bytes in lower-case hex.
pub const RESPONSE_HEADER: &str = "ehbp-response-nonce";
/// Where clients fetch [`write_key_config`](crate::write_key_config) of the X25519 key.
pub const KEYS_PATH: &str = "/.well-known/hpke-keys";
/// The content type of [`KEY_CONFIG_PROBLEM`].
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";
/// The body of the answer with status 422 to [`Error::OtherKey`]. The client then fetches the keys and asks again.
pub const KEY_CONFIG_PROBLEM: &str = concat!(
    r#"{"type":"urn:ietf:params:ehbp:error:key-config","#,
    r#""title":"the request was not encrypted to a key in use"}"#
);

const INFO: &[u8] = b"ehbp request";
const EXPORT_LABEL: &[u8] = b"ehbp response";
const ENC_BYTES: usize = 32;

/// The secrets of the response to one request.
struct Pending {
    secret: Secret<KEY_BYTES>,
    enc: [u8; ENC_BYTES],
}

impl Pending {
    fn key(&self, nonce: &Nonce) -> FrameKey {
        let prk = extract(&self.secret, &self.enc, nonce.as_bytes());
        FrameKey::new(expand(&prk, b"key").expose(), *expand(&prk, b"nonce").expose())
    }
}

/// Begins a request to the guest that holds `recipient`, an X25519 key: the value of [`REQUEST_HEADER`], what makes the body, and what
/// opens the response. `entropy` is fresh for every request.
///
/// Presumes that the caller has verified the evidence that names `recipient`.
///
/// # Errors
/// [`Error::PublicKey`].
pub fn seal_request(
    recipient: &WrappingKey,
    entropy: Entropy,
) -> Result<(String, RequestSealer, Awaiting), Error> {
    if recipient.kem() != Kem::X25519 {
        return Err(Error::PublicKey);
    }
    let sender = Sender::new(recipient, INFO, entropy).map_err(|_| Error::PublicKey)?;
    let enc = sender.enc().try_into().map_err(|_| Error::PublicKey)?;
    let pending = Pending { secret: sender.export(EXPORT_LABEL), enc };
    Ok((hex(&enc), RequestSealer(sender), Awaiting(pending)))
}

/// Turns the body of a request into frames.
#[derive(Debug)]
pub struct RequestSealer(Sender);

impl RequestSealer {
    /// Appends one frame with `data` to `out`, or nothing for no data. The body ends where the HTTP body ends.
    ///
    /// # Errors
    /// [`Error::TooLong`].
    pub fn push(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        let sealed = self.0.seal(data).map_err(|_| Error::TooLong)?;
        out.extend_from_slice(&u32::try_from(sealed.len()).map_err(|_| Error::TooLong)?.to_be_bytes());
        out.extend_from_slice(&sealed);
        Ok(())
    }
}

/// A client's request that has no response yet.
pub struct Awaiting(Pending);

impl Awaiting {
    /// Begins to open the response, whose [`RESPONSE_HEADER`] is `header`. A response without the header establishes nothing, whatever its
    /// status. `limit_bytes` bounds the encrypted body.
    ///
    /// # Errors
    /// [`Error::Header`].
    pub fn open(self, header: &str, limit_bytes: u64) -> Result<ResponseOpener, Error> {
        let nonce = header.parse().map_err(|_| Error::Header)?;
        Ok(ResponseOpener(Frames::new(self.0.key(&nonce), limit_bytes)))
    }
}

impl fmt::Debug for Awaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Awaiting")
    }
}

/// Opens the frames of one direction.
trait OpenFrame {
    /// Appends the plaintext of the next frame to `out`.
    fn open(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), Error>;
}

impl OpenFrame for FrameKey {
    fn open(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        Self::open(self, &[], frame, out)
    }
}

impl OpenFrame for Recipient {
    fn open(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        out.extend_from_slice(&Self::open(self, frame).map_err(|_| Error::Frame)?);
        Ok(())
    }
}

#[derive(Debug)]
struct Frames<K> {
    key: K,
    frames: Reassembly,
    refused: Option<Error>,
    opened: bool,
}

impl<K: OpenFrame> Frames<K> {
    const fn new(key: K, limit_bytes: u64) -> Self {
        Self { key, frames: Reassembly::new(limit_bytes), refused: None, opened: false }
    }

    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        while !bytes.is_empty() {
            let outcome = self.refused.map_or_else(|| self.frame(&mut bytes, out), Err);
            if let Err(error) = outcome {
                self.refused = Some(error);
                return Err(error);
            }
        }
        Ok(())
    }

    fn frame(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let Self { key, frames, opened, .. } = self;
        frames.take(bytes, length_of, |_, frame| {
            // An empty write at the other end; it has no number and no tag.
            if frame.is_empty() {
                return Ok(());
            }
            key.open(frame, out)?;
            *opened = true;
            Ok(())
        })?;
        Ok(())
    }

    fn finish(self) -> Result<(), Error> {
        match self.refused {
            Some(error) => Err(error),
            None if self.frames.is_empty() => Ok(()),
            None => Err(Error::Truncated),
        }
    }
}

fn length_of(prefix: u32) -> Result<usize, Error> {
    usize::try_from(prefix)
        .ok()
        .filter(|length| *length == 0 || *length >= TAG_BYTES)
        .ok_or(Error::FrameLength)
}

/// Opens the body of a response.
#[derive(Debug)]
pub struct ResponseOpener(Frames<FrameKey>);

impl ResponseOpener {
    /// Takes the next bytes of the body, cut anywhere, and appends to `out` the data of every frame that they complete.
    ///
    /// # Errors
    /// [`Error::FrameLength`], [`Error::Frame`] or [`Error::TooLong`]; the same again whatever follows.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.0.push(bytes, out)
    }

    /// Establishes that the body did not end inside a frame. That no frame is missing at the end it does *not* establish.
    ///
    /// # Errors
    /// [`Error::Truncated`]; what [`push`](Self::push) refused, if it did.
    pub fn finish(self) -> Result<(), Error> {
        self.0.finish()
    }
}

/// Opens the body of a request.
#[derive(Debug)]
pub struct RequestOpener {
    frames: Frames<Recipient>,
    enc: [u8; ENC_BYTES],
}

/// Begins to open a request whose [`REQUEST_HEADER`] is `header`. Nothing is established yet; `limit_bytes` bounds the encrypted body.
///
/// # Errors
/// [`Error::Header`]; [`Error::OtherKey`] when `key` is no X25519 key.
pub fn open_request(key: &BodyKey, header: &str, limit_bytes: u64) -> Result<RequestOpener, Error> {
    if key.public_key().kem() != Kem::X25519 {
        return Err(Error::OtherKey);
    }
    // The hex of 32 bytes has one reader, whatever the bytes are.
    let enc = *header.parse::<Nonce>().map_err(|_| Error::Header)?.as_bytes();
    let recipient = key.0.receive(INFO, &enc).map_err(|_| Error::Header)?;
    Ok(RequestOpener { frames: Frames::new(recipient, limit_bytes), enc })
}

impl RequestOpener {
    /// Takes the next bytes of the body, cut anywhere, and appends to `out` the data of every frame that they complete.
    ///
    /// # Errors
    /// [`Error::OtherKey`] when the first frame does not open: most often the client has an old key. Otherwise
    /// [`Error::FrameLength`], [`Error::Frame`] or [`Error::TooLong`]; the same again whatever follows.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let outcome = self.frames.push(bytes, out);
        if outcome == Err(Error::Frame) && !self.frames.opened {
            self.frames.refused = Some(Error::OtherKey);
            return Err(Error::OtherKey);
        }
        outcome
    }

    /// What seals the response, once a frame has been opened: only then is it known that the sender of the body has the secrets.
    #[must_use]
    pub fn reply(&self) -> Option<Reply> {
        let secret = self.frames.opened.then(|| self.frames.key.export(EXPORT_LABEL))?;
        Some(Reply(Pending { secret, enc: self.enc }))
    }

    /// Establishes that the body has a frame and did not end inside one. That no frame is missing at the end it does *not* establish.
    ///
    /// # Errors
    /// [`Error::Truncated`]; what [`push`](Self::push) refused, if it did.
    pub fn finish(self) -> Result<(), Error> {
        let opened = self.frames.opened;
        self.frames.finish()?;
        if opened { Ok(()) } else { Err(Error::Truncated) }
    }
}

/// A guest's side of a request whose response is to be sealed.
pub struct Reply(Pending);

impl Reply {
    /// Begins the response: the value of [`RESPONSE_HEADER`], and what makes the body. `nonce` is fresh and random, because a repeated
    /// request has the same secrets.
    #[must_use]
    pub fn seal(self, nonce: &Nonce) -> (String, ResponseSealer) {
        (nonce.to_string(), ResponseSealer(self.0.key(nonce)))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Turns the body of a response into frames.
#[derive(Debug)]
pub struct ResponseSealer(FrameKey);

impl ResponseSealer {
    /// Appends one frame with `data` to `out`, or nothing for no data. The body ends where the HTTP body ends.
    ///
    /// # Errors
    /// [`Error::TooLong`] after [`MAX_FRAMES`](crate::MAX_FRAMES) frames, or for data of 4 GiB.
    pub fn push(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        let length = data.len().checked_add(TAG_BYTES).and_then(|length| u32::try_from(length).ok());
        let begun = out.len();
        out.extend_from_slice(&length.ok_or(Error::TooLong)?.to_be_bytes());
        let start = out.len();
        out.extend_from_slice(data);
        // Nothing in the clear is left behind.
        self.0.seal(&[], out, start).inspect_err(|_| out.truncate(begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// From the reference implementation; the origin stands in the README of the folder.
    #[test]
    fn derives_and_opens_as_the_reference_does() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../../tests/vectors/body-encryption/ehbp-reference.json"))
                .unwrap();
        let field = |name: &str| vectors[name].as_str().unwrap();
        let bytes = |name: &str| -> [u8; 32] { *field(name).parse::<Nonce>().unwrap().as_bytes() };
        let secret = Secret::take(&mut bytes("exportedSecret"));
        let awaiting = Awaiting(Pending { secret, enc: bytes("requestEnc") });
        let prk = extract(&awaiting.0.secret, &awaiting.0.enc, &bytes("responseNonce"));
        assert_eq!(hex(expand::<32>(&prk, b"key").expose()), field("derivedKey"));
        assert_eq!(hex(expand::<12>(&prk, b"nonce").expose()), field("derivedNonceBase"));
        let text = field("encryptedResponse");
        let body: Vec<u8> =
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
        let (mut opener, mut out) = (awaiting.open(field("responseNonce"), 1000).unwrap(), Vec::new());
        opener.push(&body, &mut out).unwrap();
        opener.finish().unwrap();
        assert_eq!(hex(&out), field("plaintext"));
    }
}
