//! Signed documents: the DSSE envelope with Ed25519 signatures over the pre-authentication encoding.
//!
//! Specification: <https://github.com/secure-systems-lab/dsse>, version 1.0.2. [`sign`] and [`add_signature`] make an
//! envelope, [`Approval`]s of signers who work apart are put together by [`assemble`], [`verify`] gives the payload of one that enough [`TrustedSigners`] signed.
//!
//! Stricter than the specification: the envelope must be the one byte string that this crate would write, so nothing
//! outside the signatures can be changed. Every signature must be of a trusted signer and hold, in ascending order of key
//! ids and none twice; one bad signature among good ones is a refusal.
//!
//! This crate is *not* a judge of payloads or keys: what is signed, and whose keys are trusted, is the caller's business.

mod detached;
mod envelope;
mod error;
mod signers;

pub use detached::{Approval, ApprovalError, MAX_APPROVAL_BYTES, assemble};
pub use envelope::{MAX_ENVELOPE_BYTES, MAX_SIGNATURES, Verified, add_signature, sign, unverified, verify};
pub use error::Error;
pub use signers::{KeyError, SignersError, SigningKey, TrustedSigners, key_id};
