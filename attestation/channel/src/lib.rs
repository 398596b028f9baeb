//! TLS 1.3 and HTTP at both ends, and the attestation document that ties them to evidence.
//!
//! A server calls [`server::serve`] with an axum router. A client calls [`client::Client::pinned`] when it knows the
//! server's key, or [`client::connect_unverified_for_attestation`] followed by
//! [`attest`](client::Connection::attest) when evidence has to name the keys. [`verify_document`] is the judgement alone,
//! without a network or a clock; [`VerificationDocument`] is its outcome for scripts and archives. Both are of
//! `anchorhold-document`, which has no TLS in it.
//!
//! *Promised*: no request leaves on a connection whose key was neither pinned nor attested; evidence relayed over another
//! TLS key is refused (`tls_key_bound`), and so is a relay with a stolen TLS key ([`authenticator`]); every wait, body and count is bounded.
//!
//! This crate is *not* a verifier of evidence (that is `anchorhold-verifier`), knows no API paths beside the document's,
//! and logs nothing.

mod attested;
pub mod authenticator;
pub mod client;
pub mod peer;
pub mod server;
pub mod tls;

pub use anchorhold_document::document;
pub use anchorhold_document::{
    AttestedServer, Subject, VERIFICATION_FORMAT, Verdict, VerificationDocument, verify_document,
    verify_relayed_document, wrapper,
};
pub use attested::AttestError;
