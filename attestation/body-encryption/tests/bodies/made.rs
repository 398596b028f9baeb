//! Exchanges with known keys, for the tests to break.

use anchorhold_body_encryption::{
    Awaiting, BodyKey, Error, Opened, Reply, Request, RequestHeader, Response, Sealer, seal_request,
};
use anchorhold_hpke::Entropy;
use anchorhold_rats::{Kem, Nonce, Secret};

pub(crate) const LIMIT: u64 = 1 << 20;
pub(crate) const POST: Request<'static> =
    Request { method: "POST", target: "/v1/chat/completions?a=1", content_type: "application/json" };
pub(crate) const OK: Response<'static> = Response { status: 200, content_type: "text/event-stream" };
pub(crate) const NONCE: Nonce = Nonce::new([0x4e; 32]);

pub(crate) fn key(kem: Kem) -> BodyKey {
    BodyKey::from_seed(kem, &Secret::take(&mut [0x5e; 32]))
}

pub(crate) fn entropy(byte: u8) -> Entropy {
    Entropy::take(&mut [byte; 64])
}

/// A request as it is on the wire, and what opens its response.
pub(crate) struct Sent {
    pub(crate) header: String,
    pub(crate) body: Vec<u8>,
    pub(crate) awaiting: Awaiting,
}

/// Every chunk pushed on its own, the last one with the end.
pub(crate) fn seal(mut sealer: Sealer, chunks: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    let (last, inner) =
        chunks.split_last().map_or((b"".as_slice(), [].as_slice()), |(last, inner)| (*last, inner));
    for chunk in inner {
        sealer.push(chunk, &mut body).unwrap();
    }
    sealer.finish(last, &mut body).unwrap();
    body
}

pub(crate) fn send(key: &BodyKey, chunks: &[&[u8]]) -> Sent {
    let sealed = seal_request(key.public_key(), &POST, b"head", entropy(1)).unwrap();
    Sent { header: sealed.header, body: seal(sealed.body, chunks), awaiting: sealed.awaiting }
}

pub(crate) fn accept(key: &BodyKey, request: &Request<'_>, header: &str) -> Result<(Opened, Reply), Error> {
    RequestHeader::parse(header)?.open(key, request, LIMIT)
}

/// The whole body of a request.
pub(crate) fn receive(
    key: &BodyKey,
    request: &Request<'_>,
    header: &str,
    body: &[u8],
) -> Result<Vec<u8>, Error> {
    let (opened, _) = accept(key, request, header)?;
    opened.body.ok_or(Error::Appended)?.open_whole(body)
}

/// The frames of a body, each with its prefix.
pub(crate) fn frames(mut body: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some(prefix) = body.first_chunk::<4>() {
        let length = 4 + usize::try_from(u32::from_be_bytes(*prefix) & 0x7fff_ffff).unwrap();
        frames.push(&body[..length]);
        body = &body[length..];
    }
    frames
}
