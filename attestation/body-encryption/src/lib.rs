//! HTTP bodies, encrypted from a client to the attested key of a guest and back, for paths on which somebody else ends TLS:
//! browsers, Python, balancers. Bytes in, bytes out; the HTTP library, the network, the clock and the randomness are the caller's.
//!
//! Two profiles:
//!
//! * `anchorhold-body/1` (PROTOCOL.md) binds method, path with query and content type, the status of the response, the order and the
//!   end. A client calls [`seal_request`] or [`seal_bodyless_request`], then [`Awaiting::open`]; a guest [`RequestHeader::parse`],
//!   [`RequestHeader::open`], then [`Reply::seal`]. Bodies go through [`Sealer`] and [`Opener`] as a stream.
//! * [`ehbp`], which existing clients speak. It binds less: see its page.
//!
//! [`sse`] hides what the lengths and times of streamed tokens tell.
//!
//! ```
//! use anchorhold_body_encryption::{BodyKey, Request, RequestHeader, Response, seal_request};
//! use anchorhold_rats::{Kem, Nonce, Secret};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = BodyKey::generate(Kem::XWing)?; // in the guest; evidence names the public half
//! let post = Request { method: "POST", target: "/v1/embeddings", content_type: "application/json" };
//!
//! // The client.
//! let (mut sent, mut request) = (seal_request(key.public_key(), &post, b"", Secret::random()?)?, Vec::new());
//! sent.body.push(b"{\"input\":", &mut request)?;
//! sent.body.finish(b"\"text\"}", &mut request)?;
//!
//! // The guest.
//! let (opened, reply) = RequestHeader::parse(&sent.header)?.open(&key, &post, 1 << 20)?;
//! assert_eq!(opened.body.ok_or("no body")?.open_whole(&request)?, b"{\"input\":\"text\"}");
//! let ok = Response { status: 200, content_type: "application/json" };
//! let (header, body) = reply.seal(&ok, b"", &Nonce::random()?)?;
//! let mut response = Vec::new();
//! body.finish(b"{}", &mut response)?;
//!
//! // The client.
//! let opened = sent.awaiting.open(&ok, &header, 1 << 20)?;
//! assert_eq!(opened.body.ok_or("no body")?.open_whole(&response)?, b"{}");
//! # Ok(())
//! # }
//! ```
//!
//! Nothing follows the end of a body, and nothing answers a request twice:
//!
//! ```compile_fail,E0382
//! # use anchorhold_body_encryption::{Error, Sealer};
//! fn go_on(mut sealer: Sealer, out: &mut Vec<u8>) -> Result<(), Error> {
//!     sealer.finish(b"the end", out)?;
//!     sealer.push(b"more", out)
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use anchorhold_body_encryption::{Error, Reply, Response};
//! # use anchorhold_rats::Nonce;
//! fn answer_twice(reply: Reply, response: &Response<'_>, nonce: &Nonce) -> Result<(), Error> {
//!     reply.seal(response, b"", nonce)?;
//!     reply.seal(response, b"", nonce).map(drop)
//! }
//! ```
//!
//! Promised: an [`Opener`] gives out only what the holder of the other end sealed, in order; [`Opener::finish`] succeeds only on a body
//! that has its end, and nothing after it; whatever comes, memory is bounded by one frame and the output by the caller's limit.
//!
//! This crate is *not* a verifier: that a key belongs to an attested guest is for the caller to establish before anything is sealed to
//! it. It does not tell one client from another, and it refuses no repetition of a whole request: PROTOCOL.md says what follows.

mod aead;
mod buckets;
pub mod ehbp;
mod error;
mod exchange;
mod header;
mod key_config;
mod opener;
mod reassembly;
mod sealer;
pub mod sse;

pub use buckets::{Buckets, BucketsError};
pub use error::Error;
pub use exchange::{
    Awaiting, Opened, Reply, Request, Response, SealedRequest, seal_bodyless_request, seal_request,
};
pub use header::{HEADER, KeyId, MAX_HEAD_BYTES, MAX_HEADER_CHARS, RequestHeader};
pub use key_config::{
    KEYS_MEDIA_TYPE, KeyConfigError, MAX_KEY_CONFIGS, MAX_KEY_CONFIGS_BYTES, read_key_config,
    read_key_configs, write_key_config, write_key_configs,
};
pub use opener::Opener;
pub use sealer::{MAX_FRAME_BYTES, MAX_FRAME_DATA_BYTES, Sealer};

use anchorhold_hpke::PrivateKey;
use anchorhold_rats::{Kem, Secret, WrappingKey};
use std::fmt;

/// The name of our profile, and the label that its secrets are derived under.
pub const PROFILE: &str = "anchorhold-body/1";

/// The most frames of one body: 2^24, so that with the largest frames AES-GCM stays within the bound that TLS 1.3 keeps to (RFC 8446,
/// section 5.5).
pub const MAX_FRAMES: u64 = 1 << 24;

/// The private half of the key that bodies are encrypted to. Wiped on drop. A type of its own, so that no key for anything else can
/// stand in its place; the labels of the two profiles differ, so one X25519 key may serve both.
pub struct BodyKey(PrivateKey);

impl BodyKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`anchorhold_hpke::Error::Random`] when the system gives no randomness.
    pub fn generate(kem: Kem) -> Result<Self, anchorhold_hpke::Error> {
        PrivateKey::generate(kem).map(Self)
    }

    /// The key that belongs to `seed` (RFC 9180, section 7.1.3, `DeriveKeyPair`).
    #[must_use]
    pub fn from_seed(kem: Kem, seed: &Secret<32>) -> Self {
        Self(PrivateKey::from_seed(kem, seed))
    }

    /// The public half, which evidence must name.
    #[must_use]
    pub const fn public_key(&self) -> &WrappingKey {
        self.0.public_key()
    }
}

impl fmt::Debug for BodyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyKey({:?})", self.public_key())
    }
}
