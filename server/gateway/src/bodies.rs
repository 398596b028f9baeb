//! Encrypted bodies: the layer around everything else. What comes encrypted reaches the routes as if it had come in the clear, and
//! what they answer leaves encrypted. Which routes there are, and what they check, is not changed by it.
//!
//! A credential may come within the encrypted head of the header; it is put where the key is looked for. So the order stays: the
//! key is looked at first, the body is opened as a route reads it.
//!
//! The key of the receipt's commitments is for the caller alone, so it goes into the encrypted head of the answer and out of the
//! headers. EHBP has no such place; there it is left out.

mod ehbp;
mod ours;

use crate::App;
use anchorhold_api::ApiError;
use anchorhold_body_encryption::{BodyKey, Error, HEADER, KeyId, write_key_config};
use anchorhold_rats::{Kem, WrappingKey};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;

/// The keys of this boot to which bodies may be encrypted, one of each KEM. The private halves are in this process alone.
#[derive(Debug)]
pub struct BodyKeys(Vec<BodyKey>);

impl BodyKeys {
    /// Fresh keys; `None` when the system gives no randomness.
    #[must_use]
    pub fn generate() -> Option<Self> {
        Kem::ALL.into_iter().map(BodyKey::generate).collect::<Result<_, _>>().ok().map(Self)
    }

    /// The public halves, the one to prefer first.
    pub fn public(&self) -> impl Iterator<Item = &WrappingKey> {
        self.0.iter().map(BodyKey::public_key)
    }

    fn with_id(&self, id: KeyId) -> Option<&BodyKey> {
        self.0.iter().find(|key| KeyId::of(key.public_key()) == id)
    }

    fn of_kem(&self, kem: Kem) -> Option<&BodyKey> {
        self.0.iter().find(|key| key.public_key().kem() == kem)
    }

    /// The X25519 key as EHBP's clients ask for it (RFC 9458, section 3).
    pub(crate) fn ohttp_keys(&self) -> Vec<u8> {
        self.of_kem(Kem::X25519).map(|key| write_key_config(key.public_key())).unwrap_or_default()
    }
}

/// Left in a request whose encryption cannot be read, for [`front`](crate::front::front) to refuse it.
#[derive(Debug, Clone)]
pub(crate) struct Refused(pub(crate) ApiError);

/// Opens what comes encrypted, and encrypts its answer.
pub(crate) async fn bodies(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = [HEADER, anchorhold_body_encryption::ehbp::REQUEST_HEADER]
        .map(|name| request.headers().get_all(name).iter().count());
    match headers.into() {
        (0, 0) => next.run(request).await,
        (1, 0) => ours::exchange(&app, request, next).await,
        (0, 1) => ehbp::exchange(&app, request, next).await,
        _ => refused(request, next, ApiError::malformed("there is more than one header of encryption")).await,
    }
}

/// Lets the front refuse a request, so that the refusal looks like any other.
async fn refused(mut request: Request, next: Next, error: ApiError) -> Response {
    request.extensions_mut().insert(Refused(error));
    next.run(request).await
}

/// What a caller is told of a request that does not open. It says no more than whether newer keys would help.
fn told(error: Error) -> ApiError {
    if error.asks_for_new_key() {
        ApiError::stale_body_key()
    } else {
        ApiError::malformed("the encrypted request does not open for this method, path and content type")
    }
}

/// The most bytes of an encrypted body whose plaintext has at most `body_bytes`, in frames that are not absurdly small.
fn most_encrypted(body_bytes: usize) -> u64 {
    u64::try_from(body_bytes).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(1 << 16)
}

/// The one content type; empty if there is none, `None` if there are more, or none that is text.
fn content_type(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    match (all.next(), all.next()) {
        (None, _) => Some(""),
        (Some(one), None) => one.to_str().ok(),
        (Some(_), Some(_)) => None,
    }
}

/// The body `from`, changed piece by piece until `change` has nothing more or fails. `change` is given `None` once, at the end.
fn changed<S>(
    from: Body,
    state: S,
    change: impl FnMut(&mut S, Option<&[u8]>, &mut Vec<u8>) -> Result<(), Error> + Send + 'static,
) -> Body
where
    S: Send + 'static,
{
    Body::from_stream(pieces(Box::pin(from.into_data_stream()), state, change))
}

fn pieces<S, E: Into<axum::BoxError>>(
    from: impl Stream<Item = Result<Bytes, E>> + Unpin,
    state: S,
    change: impl FnMut(&mut S, Option<&[u8]>, &mut Vec<u8>) -> Result<(), Error>,
) -> impl Stream<Item = Result<Bytes, axum::BoxError>> {
    futures_util::stream::unfold(Some((from, state, change)), |left| async move {
        let (mut from, mut state, mut change) = left?;
        let mut out = Vec::new();
        loop {
            let (piece, ends) = match from.next().await {
                Some(Ok(piece)) => (Some(piece), false),
                Some(Err(error)) => return Some((Err(error.into()), None)),
                None => (None, true),
            };
            if let Err(error) = change(&mut state, piece.as_deref(), &mut out) {
                return Some((Err(error.into()), None));
            }
            match (ends, out.is_empty()) {
                (true, true) => return None,
                (true, false) => return Some((Ok(Bytes::from(out)), None)),
                (false, false) => return Some((Ok(Bytes::from(out)), Some((from, state, change)))),
                // A piece that completes no frame gives nothing yet.
                (false, true) => {}
            }
        }
    })
}

/// Puts an encrypted body and its header into a response.
fn encrypted(response: &mut Response, header: (&'static str, &str), body: Body) -> Option<()> {
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(HeaderName::from_static(header.0), HeaderValue::from_str(header.1).ok()?);
    *response.body_mut() = body;
    Some(())
}
