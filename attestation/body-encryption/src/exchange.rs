//! A request and its response in `anchorhold-body/1`: the secrets that they share, and what these are bound to.

use crate::aead::{FrameKey, KEY_BYTES, MATERIAL_BYTES, expand, extract};
use crate::header::{self, Body, RequestHeader, ResponseHeader};
use crate::{BodyKey, Error, Opener, PROFILE, Sealer};
use anchorhold_hpke::{Entropy, Sender};
use anchorhold_rats::{Nonce, Secret, Sha256Digest, WrappingKey};
use std::fmt;

const REQUEST_LABEL: &[u8] = b"anchorhold-body/1 request";
const RESPONSE_LABEL: &[u8] = b"anchorhold-body/1 response";

/// What a request is bound to, byte for byte as the client's HTTP library sends it and the guest's receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method, such as `POST`.
    pub method: &'a str,
    /// The path and, after `?`, the query.
    pub target: &'a str,
    /// The value of `content-type`, or nothing when there is none.
    pub content_type: &'a str,
}

impl Request<'_> {
    fn info(&self) -> Vec<u8> {
        let items = [self.method, self.target, self.content_type].map(str::as_bytes);
        [PROFILE.as_bytes(), Sha256Digest::of_items(&items).as_bytes()].concat()
    }
}

/// What a response is bound to, besides its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The value of `content-type`, or nothing when there is none.
    pub content_type: &'a str,
}

/// What both ends keep between a request and its response.
struct Pending {
    secret: Secret<KEY_BYTES>,
    enc: Vec<u8>,
}

impl Pending {
    fn key(&self, nonce: &Nonce, response: &Response<'_>) -> FrameKey {
        let prk = extract(&self.secret, &self.enc, nonce.as_bytes());
        let bound =
            Sha256Digest::of_items(&[&response.status.to_be_bytes(), response.content_type.as_bytes()]);
        let info = [RESPONSE_LABEL, bound.as_bytes()].concat();
        FrameKey::from_material(&expand::<MATERIAL_BYTES>(&prk, &info))
    }
}

/// A request with a body, begun.
#[derive(Debug)]
pub struct SealedRequest {
    /// The value of the header [`HEADER`](crate::HEADER).
    pub header: String,
    /// Makes the body.
    pub body: Sealer,
    /// Opens the response.
    pub awaiting: Awaiting,
}

/// Begins a request with a body to the guest that holds `recipient`. `head` travels encrypted in the header, and is read before the body:
/// the place for a credential that nobody on the way should see. `entropy` is fresh for every request.
///
/// Presumes that the caller has verified the evidence that names `recipient`.
///
/// # Errors
/// [`Error::PublicKey`], [`Error::HeadTooLong`].
pub fn seal_request(
    recipient: &WrappingKey,
    request: &Request<'_>,
    head: &[u8],
    entropy: Entropy,
) -> Result<SealedRequest, Error> {
    let (header, key, awaiting) = begin(recipient, request, Body::Present, head, entropy)?;
    Ok(SealedRequest { header, body: Sealer::new(key), awaiting })
}

/// Begins and ends a request without a body, so that its response is encrypted: the header's value, and what opens the response.
///
/// # Errors
/// As [`seal_request`].
pub fn seal_bodyless_request(
    recipient: &WrappingKey,
    request: &Request<'_>,
    head: &[u8],
    entropy: Entropy,
) -> Result<(String, Awaiting), Error> {
    let (header, _, awaiting) = begin(recipient, request, Body::Absent, head, entropy)?;
    Ok((header, awaiting))
}

fn begin(
    recipient: &WrappingKey,
    request: &Request<'_>,
    body: Body,
    head: &[u8],
    entropy: Entropy,
) -> Result<(String, FrameKey, Awaiting), Error> {
    let sender = Sender::new(recipient, &request.info(), entropy).map_err(|_| Error::PublicKey)?;
    let mut key = FrameKey::from_material(&sender.export(REQUEST_LABEL));
    let header = header::request(recipient, sender.enc(), body, head, &mut key)?;
    let pending = Pending { secret: sender.export(RESPONSE_LABEL), enc: sender.enc().to_vec() };
    Ok((header, key, Awaiting(pending)))
}

/// A client's request that has no response yet. It opens one, once.
pub struct Awaiting(Pending);

impl Awaiting {
    /// Opens the response to this request. Establishes that the guest that the request was sealed to answered it, with this status and
    /// content type. A response without the header establishes nothing, whatever its status; a client must not take it for the
    /// guest's.
    ///
    /// `limit_bytes` bounds the encrypted body.
    ///
    /// # Errors
    /// [`Error::Header`], [`Error::Head`].
    pub fn open(self, response: &Response<'_>, header: &str, limit_bytes: u64) -> Result<Opened, Error> {
        let header = ResponseHeader::parse(header)?;
        let mut key = self.0.key(&header.nonce, response);
        let head = header.open_head(&mut key)?;
        Ok(Opened::new(head, header.body, key, limit_bytes))
    }
}

impl fmt::Debug for Awaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Awaiting")
    }
}

/// A message whose header is authentic.
#[derive(Debug)]
pub struct Opened {
    /// What the sender put into the header.
    pub head: Vec<u8>,
    /// Opens the body; `None` when the sender said that there is none, and then any byte of a body is to be refused as
    /// [`Error::Appended`].
    pub body: Option<Opener>,
}

impl Opened {
    fn new(head: Vec<u8>, body: Body, key: FrameKey, limit_bytes: u64) -> Self {
        let body = match body {
            Body::Absent => None,
            Body::Present => Some(Opener::new(key, limit_bytes)),
        };
        Self { head, body }
    }
}

impl RequestHeader {
    /// Opens the request. Establishes, before any byte of the body, that whoever sealed it did so to this key and for this method, target
    /// and content type; who that was, it does not establish, nor that the request is not a repetition.
    ///
    /// `limit_bytes` bounds the encrypted body.
    ///
    /// # Errors
    /// [`Error::OtherKey`], [`Error::Head`].
    pub fn open(
        &self,
        key: &BodyKey,
        request: &Request<'_>,
        limit_bytes: u64,
    ) -> Result<(Opened, Reply), Error> {
        self.require(key)?;
        let recipient = key.0.receive(&request.info(), self.enc()).map_err(|_| Error::Head)?;
        let mut key = FrameKey::from_material(&recipient.export(REQUEST_LABEL));
        let head = self.open_head(&mut key)?;
        let pending = Pending { secret: recipient.export(RESPONSE_LABEL), enc: self.enc().to_vec() };
        Ok((Opened::new(head, self.body(), key, limit_bytes), Reply(pending)))
    }
}

/// A guest's side of a request that has no response yet. It seals one, once.
pub struct Reply(Pending);

impl Reply {
    /// Begins a response: the value of the header [`HEADER`](crate::HEADER), and what makes the body. `nonce` is fresh and random, because
    /// a repeated request has the same secrets.
    ///
    /// # Errors
    /// [`Error::HeadTooLong`].
    pub fn seal(
        self,
        response: &Response<'_>,
        head: &[u8],
        nonce: &Nonce,
    ) -> Result<(String, Sealer), Error> {
        let mut key = self.0.key(nonce, response);
        let header = header::response(nonce, Body::Present, head, &mut key)?;
        Ok((header, Sealer::new(key)))
    }

    /// The header of a response without a body, such as one to `HEAD`.
    ///
    /// # Errors
    /// [`Error::HeadTooLong`].
    pub fn seal_bodyless(self, response: &Response<'_>, head: &[u8], nonce: &Nonce) -> Result<String, Error> {
        header::response(nonce, Body::Absent, head, &mut self.0.key(nonce, response))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
