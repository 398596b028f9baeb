//! What an auditor is given: the logs of boots and brokers, the report, the control tables, the policies that decided, manifests of models,
//! checkpoints that were seen elsewhere, in one deterministic tar file whose list of contents the exporter signs.
//!
//! [`make`] writes a dossier, [`verify`] judges one. Each question has a verdict of its own ([`Check`]), since a dossier can be complete
//! and its exporter unknown, or authentic and its measurement not accepted. [`attestation`] judges whether evidence vouches for a log's
//! key.
//!
//! The exporter's signature says who put the file together. It proves nothing of the logs: that rests on their own keys, on evidence, and
//! on witnesses. Nothing here opens files, sockets or looks at a clock: a time is an argument.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at a surprise"))]

pub mod attestation;
pub mod chain;
mod collect;
mod judge;
mod make;
mod manifest;
mod report;
mod verify;

pub use chain::Link;
pub use make::{Contents, MakeError, make};
pub use manifest::{
    FIRST_MEMBER, MAX_LOGS, MAX_MODEL_BYTES, MAX_MODELS, MAX_POLICIES, MAX_REPORT_BYTES, MAX_SEEN, Manifest,
    Member, PAYLOAD_TYPE, Sampled,
};
pub use report::{Check, LogReport, Outcome, Report, Status, Verdict};
pub use verify::{Expected, Trusted, verify, verify_bundles};
