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

/// How long the rest of a body that nobody reads may take to come. What it holds is thrown away as it comes, so its length costs no memory.
const UNREAD_WAIT: Duration = Duration::from_secs(3);
/// The most bytes of a body of which it is expected that all of it comes in that time.
const SHORT_BYTES: u64 = 256 * 1024;

/// A body of HTTP/1.1 whose rest is read and thrown away when its handler drops it.
///
/// A refusal that looks at headers alone is often made before the body has come. hyper then sends the answer as if the connection
/// went on, and closes it: a caller who is still sending sees the connection break and never the refusal, and the next request of
/// one who was done is lost without an answer. HTTP/2 has a frame for this and needs no such care.
#[derive(Debug)]
struct Finished(Option<Incoming>);

/// What the answer to an HTTP/1.1 request says about what was not read of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Nothing: the rest of it is thrown away, and the connection goes on.
    Finished,
    /// That the connection ends, if it is a refusal: the body may be too long, or its sender waits to be asked for it.
    Closes,
}

impl Unread {
    /// Puts the body of a request on HTTP/1.1 into this care.
    pub(super) fn of(request: Request<Incoming>) -> (Request<AnyBody>, Self) {
        // Who waits for "100 Continue" has sent no body, and to read it would ask for it.
        if request.headers().contains_key(EXPECT) {
            return (request.map(AnyBody::new), Self::Closes);
        }
        let is_short = request.body().size_hint().lower() <= SHORT_BYTES;
        let request = request.map(|body| AnyBody::new(Finished(Some(body))));
        (request, if is_short { Self::Finished } else { Self::Closes })
    }

    /// Completes the answer.
    pub(super) fn tell<B>(self, response: &mut Response<B>) {
        let status = response.status();
        if self == Self::Closes && (status.is_client_error() || status.is_server_error()) {
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
    while let Some(Ok(_)) = body.frame().await {}
}
