//! The body of an answer: of our own, or the upstream's while it passes through.

use crate::receipts::{Exchange, MAX_CHECKED_BYTES, Receipts};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Why an answer ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the upstream broke off: {0}")]
    Upstream(#[from] hyper::Error),
    #[error("the upstream stalled")]
    Stalled,
}

/// The body of an answer.
pub(crate) enum Answer {
    /// Made here.
    Own(Full<Bytes>),
    /// The upstream's.
    Upstream(Box<Watched>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Upstream(body) => Pin::new(&mut **body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Upstream(body) => body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Upstream(body) => body.inner.size_hint(),
        }
    }
}

/// The upstream's body as it passes through, with a copy for its receipt.
pub(crate) struct Watched {
    inner: Incoming,
    /// Until the body has ended and was judged.
    exchange: Option<Exchange>,
    receipts: Arc<Receipts>,
    /// `None` once it is over the limit.
    copy: Option<Vec<u8>>,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl Watched {
    pub(crate) fn new(inner: Incoming, exchange: Exchange, receipts: Arc<Receipts>, idle: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(idle));
        let mut watched =
            Self { inner, exchange: Some(exchange), receipts, copy: Some(Vec::new()), idle, deadline };
        // A body without bytes is never asked for any.
        if watched.inner.is_end_stream() {
            watched.end();
        }
        watched
    }

    fn take(&mut self, data: &Bytes) {
        let copied = self.copy.as_ref().map_or(0, Vec::len);
        if copied.saturating_add(data.len()) > MAX_CHECKED_BYTES {
            self.copy = None;
        }
        if let Some(copy) = &mut self.copy {
            copy.extend_from_slice(data);
        }
    }

    /// Judged before the last bytes go on, so that whoever has them finds the count.
    fn end(&mut self) {
        match (self.exchange.take(), self.copy.take()) {
            (Some(exchange), Some(response)) => drop(self.receipts.take(&exchange, &response)),
            (Some(_), None) => self.receipts.pass_over(),
            (None, _) => {}
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            ready!(this.deadline.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Broken::Stalled)));
        };
        this.deadline.as_mut().reset(Instant::now() + this.idle);
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.take(data);
                }
                if this.inner.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => {
                this.end();
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The client left, or the upstream broke off.
        if self.exchange.take().is_some() {
            self.receipts.pass_over();
        }
    }
}
