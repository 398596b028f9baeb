//! What a handler left unread of a request's body.

use axum::body::Body as AnyBody;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// The most bytes that are taken from a body that nobody reads.
const MAX_UNREAD: u64 = 256 * 1024;
/// How long they may take to come.
const UNREAD_WAIT: Duration = Duration::from_secs(2);

/// A body of HTTP/1.1 whose rest is read and thrown away when its handler drops it.
///
/// A refusal that looks at headers alone is often made before the body has come. hyper then sends the answer as if the connection
/// went on, and closes it: the caller's next request on it is lost without an answer, and what was on its way to us makes the
/// kernel reset the connection, which can take the refusal with it. HTTP/2 has a frame for this and needs no such care.
#[derive(Debug)]
struct Finished(Option<Incoming>);

/// What the answer to an HTTP/1.1 request owes to the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Nothing: the rest of it is thrown away.
    Finished,
    /// It is too long for that, or its sender waits to be asked for it: a refusal says that the connection ends.
    Refused,
}

impl Unread {
    /// Puts the body of a request on HTTP/1.1 into this care.
    pub(super) fn of(request: Request<Incoming>) -> (Request<AnyBody>, Self) {
        let too_long = request.body().size_hint().lower() > MAX_UNREAD;
        // Who waits for "100 Continue" has sent no body, and to read it would ask for it.
        let is_asking = request.headers().contains_key(EXPECT);
        let guarded = !too_long && !is_asking;
        let request =
            request.map(|body| if guarded { AnyBody::new(Finished(Some(body))) } else { AnyBody::new(body) });
        (request, if guarded { Self::Finished } else { Self::Refused })
    }

    /// Completes the answer.
    pub(super) fn tell<B>(self, response: &mut Response<B>) {
        let status = response.status();
        if self == Self::Refused && (status.is_client_error() || status.is_server_error()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl Body for Finished {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        // One at a time for each connection, which waits for it. Without a runtime there is no connection either.
        if let Some(body) = self.0.take()
            && !body.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(timeout(UNREAD_WAIT, discard(body)));
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut taken: u64 = 0;
    while taken <= MAX_UNREAD
        && let Some(Ok(frame)) = body.frame().await
    {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        taken = taken.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}
