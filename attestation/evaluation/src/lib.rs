//! What an evaluation found, in the forms that people, scripts and other relying parties read.
//!
//! [`Evaluation::of`] takes the outcome of `anchorhold-verifier` as it is. From that one value come the text
//! ([`Evaluation::text`]), the JSON (it is [`serde::Serialize`]) and the EAT Attestation Result
//! ([`ear::Ear::of`]), so the three cannot disagree. [`explain`] puts the bytes of the evidence beside each rule.
//!
//! An evaluation is a report and not a pass: holding one proves nothing. Trust is created only in
//! `anchorhold-verifier`.

mod describe;
// Signing draws randomness, and a WebAssembly module has none; nobody signs results in a browser.
#[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
pub mod ear;
mod evaluation;
mod explain;
mod verdict;

pub use describe::{Field, Part, describe};
pub use evaluation::{EVALUATION_FORMAT, Evaluation, UsedProfile};
pub use explain::{Explained, explain};
pub use verdict::Verdict;
