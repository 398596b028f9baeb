//! The body of an answer, held to its length.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use object_store::client::HttpError;

use super::answer::BodyLen;
use super::into_http_error;
use crate::error::Fault;

type AtEnd = Box<dyn FnOnce() + Send>;

/// Passes data on until the length is reached. More, or less where the length is exact, is a fault; what was over never
/// leaves this value.
pub(super) struct Bounded {
    body: Incoming,
    len: BodyLen,
    read: u64,
    /// Called when the body ended as it should. Behind a lock only because bodies must be shareable; nobody waits for it.
    at_end: Mutex<Option<AtEnd>>,
}

impl Bounded {
    pub(super) fn new(body: Incoming, len: BodyLen, at_end: impl FnOnce() + Send + 'static) -> Self {
        Self { body, len, read: 0, at_end: Mutex::new(Some(Box::new(at_end))) }
    }

    const fn limit(&self) -> u64 {
        match self.len {
            BodyLen::Exactly(limit) | BodyLen::AtMost(limit) => limit,
        }
    }

    fn end(&mut self) -> Result<(), Fault> {
        if let BodyLen::Exactly(wanted) = self.len
            && self.read < wanted
        {
            return Err(Fault::Short { wanted, observed: self.read });
        }
        if let Ok(at_end) = self.at_end.get_mut()
            && let Some(at_end) = at_end.take()
        {
            at_end();
        }
        Ok(())
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)) else {
            return Poll::Ready(this.end().err().map(|fault| Err(into_http_error(fault))));
        };
        let checked = frame.map_err(|error| this.broken(&error)).and_then(|frame| this.count(frame));
        Poll::Ready(Some(checked.map_err(into_http_error)))
    }

    fn is_end_stream(&self) -> bool {
        false // The end is a check of its own, so it has to be polled for.
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Bounded {
    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Fault> {
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.read = self.read.saturating_add(len);
        let limit = self.limit();
        if self.read > limit { Err(Fault::TooLong { limit }) } else { Ok(frame) }
    }

    /// A connection that closes early is told apart from one that breaks the protocol: a shorter answer came.
    fn broken(&self, error: &hyper::Error) -> Fault {
        match self.len {
            BodyLen::Exactly(wanted) if is_early_end(error) => Fault::Short { wanted, observed: self.read },
            _ => Fault::Broken(error.to_string()),
        }
    }
}

fn is_early_end(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    error.is_incomplete_message() || cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof)
}
