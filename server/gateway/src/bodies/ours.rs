//! `anchorhold-body/1`.

use super::{changed, content_type, encrypted, most_encrypted, refused, told};
use crate::App;
use crate::exchange::RECEIPT_KEY;
use crate::refuse::refuse;
use anchorhold_api::ApiError;
use anchorhold_body_encryption as body;
use anchorhold_body_encryption::{Error, HEADER, Opener, Reply, RequestHeader, Sealer};
use anchorhold_rats::Nonce;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};

pub(super) async fn exchange(app: &App, mut request: Request, next: Next) -> Response {
    let is_head = request.method() == Method::HEAD;
    let reply = match open(app, &mut request) {
        Ok(reply) => reply,
        Err(error) => return refused(request, next, error).await,
    };
    let response = next.run(request).await;
    // Without randomness, or for a header that is not text, there is no answer that only the caller can read.
    seal(app, reply, response, is_head).unwrap_or_else(|| refuse(&ApiError::internal()))
}

/// Opens the header, puts the credential in its place and the opened body into the request.
fn open(app: &App, request: &mut Request) -> Result<Reply, ApiError> {
    let value = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let header = RequestHeader::parse(value).map_err(told)?;
    let key = app.body_keys.with_id(header.key_id()).ok_or_else(|| told(Error::OtherKey))?;
    let asked = body::Request {
        method: request.method().as_str(),
        target: request.uri().path_and_query().map_or("", |target| target.as_str()),
        content_type: content_type(request.headers()).ok_or_else(|| told(Error::Head))?,
    };
    let (opened, reply) =
        header.open(key, &asked, most_encrypted(app.current.get().config.limits.body_bytes)).map_err(told)?;
    if !opened.head.is_empty() {
        let credential = HeaderValue::from_bytes(&opened.head).map_err(|_| told(Error::Head))?;
        if request.headers_mut().insert(AUTHORIZATION, credential).is_some() {
            return Err(ApiError::malformed("there is a credential in the clear beside the encrypted one"));
        }
    }
    let from = std::mem::take(request.body_mut());
    *request.body_mut() = changed(from, opened.body, take);
    Ok(reply)
}

/// The next piece of a request's body, or its end.
fn take(opener: &mut Option<Opener>, piece: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Error> {
    match (opener.as_mut(), piece) {
        (Some(opener), Some(piece)) => opener.push(piece, out),
        (Some(_), None) => opener.take().map_or(Ok(()), Opener::finish),
        // The header says that there is no body.
        (None, Some(piece)) if !piece.is_empty() => Err(Error::Appended),
        (None, _) => Ok(()),
    }
}

fn seal(app: &App, reply: Reply, mut response: Response, is_head: bool) -> Option<Response> {
    let receipt_key = response.headers_mut().remove(RECEIPT_KEY);
    let head = receipt_key.as_ref().map_or(&[][..], HeaderValue::as_bytes);
    let answered = body::Response {
        status: response.status().as_u16(),
        content_type: content_type(response.headers())?,
    };
    let nonce = Nonce::random().ok()?;
    if is_head || response.status() == StatusCode::NO_CONTENT {
        let header = reply.seal_bodyless(&answered, head, &nonce).ok()?;
        encrypted(&mut response, (HEADER, &header), Body::empty())?;
        return Some(response);
    }
    let (header, sealer) = reply.seal(&answered, head, &nonce).ok()?;
    let sealer = match app.current.get().config.padding.sizes.clone() {
        Some(sizes) => sealer.padded(sizes),
        None => sealer,
    };
    let from = std::mem::take(response.body_mut());
    encrypted(&mut response, (HEADER, &header), changed(from, Some(sealer), give))?;
    Some(response)
}

/// The next piece of an answer's body, or its end.
fn give(sealer: &mut Option<Sealer>, piece: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Error> {
    match (sealer.as_mut(), piece) {
        (Some(sealer), Some(piece)) => sealer.push(piece, out),
        (Some(_), None) => sealer.take().map_or(Ok(()), |sealer| sealer.finish(&[], out)),
        (None, _) => Ok(()),
    }
}
