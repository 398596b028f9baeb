//! What a relying party says, and what it gets back, as text: one reader for the command line, the Python package and browsers, so
//! that the same words mean the same everywhere.
//!
//! [`Accepted::from_json`] reads what is accepted, [`Accepted::trust`] makes of it what the verifier asks for. Then
//! [`judge_evidence`] judges a bundle, [`judge_document`] an attestation document, [`judge_receipt`] a receipt, and [`judge_note`] a checkpoint. Each outcome is
//! [`serde::Serialize`].
//!
//! *Promised*: nothing is accepted that was not named; an unknown key is refused; no error quotes its input.
//!
//! This crate is *not* a verifier: it decides nothing that `anchorhold-verifier` does not. It opens no connection and has no clock.

mod accepted;
mod floor;
mod judge;
mod note;
mod receipt;
mod roots;

pub use accepted::{Accepted, Error, MAX_ACCEPTED_BYTES, MAX_LISTS, MAX_MEASUREMENTS, Trust, strict_policy};
pub use anchorhold_document::document::MAX_DOCUMENT_BYTES;
pub use anchorhold_rats::MAX_BUNDLE_JSON_BYTES;
pub use floor::Floor;
pub use judge::{Judged, endorsements, judge_document, judge_evidence};
pub use note::{NoteVerification, judge_note};
pub use receipt::{Exchange, RECEIPT_FORMAT, ReceiptVerification, Wanted, judge_receipt, verify_receipt};
pub use roots::{RootsError, read_roots};
