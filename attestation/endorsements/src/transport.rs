//! What is sent to a service and what comes back, apart from how.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use std::future::Future;

/// One request, ready to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// Scheme, authority, path and query.
    pub url: Uri,
    /// Header fields; a credential among them is marked sensitive and prints as such.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty for a GET.
    pub body: Bytes,
    /// The longest body of an answer that may be read, in bytes.
    pub max_bytes: usize,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status. Redirects are not followed.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, at most [`Request::max_bytes`].
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection: name not resolved, refused, or the TLS handshake failed.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke, or what came is not HTTP.
    #[error("exchange broken: {0}")]
    Broken(String),
    /// The answer is longer than was allowed; reading stopped there.
    #[error("answer over the limit of {max_bytes} bytes")]
    TooLong {
        /// The most that is read.
        max_bytes: usize,
    },
}

/// Sends requests. Implementations hold to [`Request::max_bytes`] while the answer arrives, follow no redirect and keep no
/// time: the store ends what takes too long by dropping the future.
pub trait Transport: Send + Sync {
    /// Sends one request and reads the whole answer.
    fn send(&self, request: &Request) -> impl Future<Output = Result<Answer, TransportError>> + Send;
}
