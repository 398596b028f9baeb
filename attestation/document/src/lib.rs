//! The attestation document, which ties evidence to the keys of a server, and its judgement.
//!
//! A guest puts a [`Document`](document::Document) together. A relying party calls [`verify_document`] with the bytes, the
//! nonce that it asked with, and the TLS key that the peer has shown; [`VerificationDocument`] is the outcome for scripts and archives.
//!
//! *Promised*: an [`AttestedServer`] exists only for a document that passed every rule.
//!
//! This crate is *not* a verifier of evidence (that is `anchorhold-verifier`) and opens no connection (that is
//! `anchorhold-channel`, which has all of this crate's names too). It builds for browsers.

mod attested;
pub mod document;
mod verification;
pub mod wrapper;

pub use anchorhold_evaluation::Verdict;
pub use attested::{AttestedServer, verify_document, verify_relayed_document};
pub use verification::{Subject, VERIFICATION_FORMAT, VerificationDocument};
