//! EHBP, for clients that exist. What it leaves open is said on the page of `anchorhold_body_encryption::ehbp`.

use super::{changed, encrypted, most_encrypted, refused, told};
use crate::App;
use crate::exchange::RECEIPT_KEY;
use crate::refuse::refuse;
use anchorhold_api::ApiError;
use anchorhold_body_encryption::Error;
use anchorhold_body_encryption::ehbp::{
    KEY_CONFIG_PROBLEM, PROBLEM_MEDIA_TYPE, REQUEST_HEADER, RESPONSE_HEADER, Reply, RequestOpener,
    ResponseSealer, open_request,
};
use anchorhold_rats::{Kem, Nonce};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use std::sync::{Arc, Mutex, PoisonError};

/// A request's body while it is read. Only once a frame has opened is there a key for the answer.
enum Reading {
    Open(RequestOpener),
    /// The body is at its end.
    Ended(Option<Reply>),
    Refused(Error),
}

type Shared = Arc<Mutex<Reading>>;

pub(super) async fn exchange(app: &App, mut request: Request, next: Next) -> Response {
    let value =
        request.headers().get(REQUEST_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let most = most_encrypted(app.current.get().config.limits.body_bytes);
    let opened = app
        .body_keys
        .of_kem(Kem::X25519)
        .ok_or(Error::OtherKey)
        .and_then(|key| open_request(key, value, most));
    let reading = match opened {
        Ok(opener) => Arc::new(Mutex::new(Reading::Open(opener))),
        Err(error) => return refused(request, next, told(error)).await,
    };
    let from = std::mem::take(request.body_mut());
    *request.body_mut() = changed(from, Arc::clone(&reading), take);
    let response = next.run(request).await;
    answer(&reading, response).unwrap_or_else(|| refuse(&ApiError::internal()))
}

/// The next piece of a request's body, or its end.
fn take(reading: &mut Shared, piece: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Error> {
    // One piece is taken whole while the lock is held, and a panic within leaves a state that refuses nothing wrong.
    let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
    let Reading::Open(opener) = &mut *reading else { return Ok(()) };
    if let Some(piece) = piece {
        let outcome = opener.push(piece, out);
        if let Err(error) = outcome {
            *reading = Reading::Refused(error);
        }
        return outcome;
    }
    let reply = opener.reply();
    match std::mem::replace(&mut *reading, Reading::Ended(reply)) {
        Reading::Open(opener) => opener.finish().inspect_err(|error| *reading = Reading::Refused(*error)),
        Reading::Ended(_) | Reading::Refused(_) => Ok(()),
    }
}

fn answer(reading: &Shared, mut response: Response) -> Option<Response> {
    response.headers_mut().remove(RECEIPT_KEY);
    let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
    let reply = match &mut *reading {
        Reading::Open(opener) => opener.reply(),
        Reading::Ended(reply) => reply.take(),
        Reading::Refused(error) if error.asks_for_new_key() => return Some(stale(response)),
        Reading::Refused(_) => None,
    };
    let Some(reply) = reply else {
        // Nothing was opened, so nothing of the request is in the answer; but a success in the clear would be taken for ours.
        let clear = !response.status().is_success();
        return Some(if clear { response } else { refuse(&told(Error::Truncated)) });
    };
    let (header, sealer) = reply.seal(&Nonce::random().ok()?);
    let from = std::mem::take(response.body_mut());
    let give = |sealer: &mut ResponseSealer, piece: Option<&[u8]>, out: &mut Vec<u8>| match piece {
        Some(piece) => sealer.push(piece, out),
        None => Ok(()),
    };
    encrypted(&mut response, (RESPONSE_HEADER, &header), changed(from, sealer, give))?;
    Some(response)
}

/// The caller has an old key: RFC 9457, as EHBP demands it, with the headers that the front has put on.
fn stale(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
    response.headers_mut().remove(http::header::CONTENT_LENGTH);
    *response.body_mut() = KEY_CONFIG_PROBLEM.into();
    response
}
