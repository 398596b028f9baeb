//! The verifier, receipts and body encryption for JavaScript. `npm/index.js` is the interface for people; what is here takes and gives
//! text and bytes.
//!
//! The module has no network, no clock and no randomness: documents, times, nonces and entropy are arguments. An outcome is JSON, the
//! same as of the command line and of the Python package. An `Error` is thrown for what cannot be judged at all, such as a policy that
//! cannot be read; evidence that is refused is an outcome.

mod bodies;
mod judgements;

pub use bodies::{SealedRequest, seal_request};
pub use judgements::{VectorCase, verify_document, verify_evidence, verify_note, verify_receipt};

use std::fmt::Display;
use wasm_bindgen::JsError;

fn thrown(error: impl Display) -> JsError {
    JsError::new(&error.to_string())
}
