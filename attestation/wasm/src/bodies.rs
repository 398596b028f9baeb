//! Bodies encrypted to the attested key of a guest (`anchorhold-body/1`).

use crate::thrown;
use anchorhold_body_encryption::{self as bodies, Awaiting, Opener, Request, Response};
use anchorhold_rats::{Secret, WrappingKey};
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

/// The most bytes of an encrypted response.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024 * 1024;

/// A sealed request, and what opens its response.
#[wasm_bindgen]
#[derive(Debug)]
pub struct SealedRequest {
    header: String,
    body: Vec<u8>,
    response: Exchange,
}

/// How far the response is.
#[derive(Debug)]
enum Exchange {
    Awaiting(Awaiting),
    Body(Box<Opener>),
    Bodyless,
    /// It was read to its end, or refused. Nothing of it is given out any more.
    Over,
}

/// Seals a whole request to `body_key`, which has to come out of a document that was accepted: `x-wing:` or `x25519:` and the key in
/// hex. Method, path with query and content type are bound byte for byte. `head` is read before the body: the place for an API
/// key. `entropy` is 64 random bytes, fresh for every request.
///
/// # Errors
/// When the key cannot be used, `head` is too long, or the entropy is not 64 bytes.
#[wasm_bindgen(js_name = sealRequest)]
#[expect(
    clippy::too_many_arguments,
    reason = "JavaScript has no tuples; people call index.js, which takes names"
)]
pub fn seal_request(
    body_key: &str,
    method: &str,
    target: &str,
    content_type: &str,
    head: &[u8],
    body: Option<Vec<u8>>,
    entropy: &[u8],
) -> Result<SealedRequest, JsError> {
    let key: WrappingKey = body_key.parse().map_err(thrown)?;
    let entropy = Secret::copy_from(entropy).ok_or_else(|| JsError::new("the entropy is not 64 bytes"))?;
    let request = Request { method, target, content_type };
    let Some(body) = body else {
        let (header, awaiting) =
            bodies::seal_bodyless_request(&key, &request, head, entropy).map_err(thrown)?;
        return Ok(SealedRequest { header, body: Vec::new(), response: Exchange::Awaiting(awaiting) });
    };
    let sealed = bodies::seal_request(&key, &request, head, entropy).map_err(thrown)?;
    let mut out = Vec::new();
    sealed.body.finish(&body, &mut out).map_err(thrown)?;
    Ok(SealedRequest { header: sealed.header, body: out, response: Exchange::Awaiting(sealed.awaiting) })
}

#[wasm_bindgen]
impl SealedRequest {
    /// The name of the header that carries [`header`](Self::header) in both directions.
    #[wasm_bindgen(js_name = headerName)]
    #[must_use]
    pub fn header_name() -> String {
        bodies::HEADER.to_owned()
    }

    /// The value of the header.
    #[must_use]
    pub fn header(&self) -> String {
        self.header.clone()
    }

    /// The encrypted body.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        self.body.clone()
    }

    /// Begins to open the response, once: what the guest put into the header.
    ///
    /// # Errors
    /// When the guest did not make this header for this request, status and content type, or it was begun before.
    pub fn open(&mut self, status: u16, content_type: &str, header: &str) -> Result<Vec<u8>, JsError> {
        let Exchange::Awaiting(awaiting) = self.take() else {
            return Err(JsError::new("a response was opened before"));
        };
        let response = Response { status, content_type };
        let opened = awaiting.open(&response, header, MAX_RESPONSE_BYTES).map_err(thrown)?;
        self.response = opened.body.map_or(Exchange::Bodyless, |opener| Exchange::Body(Box::new(opener)));
        Ok(opened.head)
    }

    /// The next piece of the response's body: what of it is whole and authentic. Pieces may be cut anywhere.
    ///
    /// # Errors
    /// When the bytes were changed, or there is no body.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, JsError> {
        let Exchange::Body(mut opener) = self.take() else {
            return Err(JsError::new("no body is being read"));
        };
        let mut out = Vec::new();
        opener.push(piece, &mut out).map_err(thrown)?;
        self.response = Exchange::Body(opener);
        Ok(out)
    }

    /// The end of the response.
    ///
    /// # Errors
    /// When the body was cut off or refused, or no response was opened.
    pub fn finish(&mut self) -> Result<(), JsError> {
        match self.take() {
            Exchange::Body(opener) => opener.finish().map_err(thrown),
            Exchange::Bodyless => Ok(()),
            Exchange::Awaiting(_) | Exchange::Over => Err(JsError::new("no response is being read")),
        }
    }

    /// The state, with [`Exchange::Over`] in its place: after an error nothing goes on.
    fn take(&mut self) -> Exchange {
        std::mem::replace(&mut self.response, Exchange::Over)
    }
}
