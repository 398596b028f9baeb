//! Runs the verifier over a folder of cases: evidence, the policy to judge it by, and the verdict that is right.
//!
//! A folder holds a `manifest.json` of format 1 ([`Manifest`]) and the files that it names. [`Corpus::open`] reads it,
//! [`Corpus::run`] judges one case and compares, [`Corpus::unread`] gives those that are not understood, [`Corpus::judge`] gives every rule that was
//! looked at and [`Corpus::present`] the evidence unjudged. The format is open, so that other verifiers can be held to the
//! same cases and ours to theirs. `MANIFEST.md` describes it, with what this project adds.
//!
//! This crate is *not* a verifier: it decides nothing that `anchorhold-verifier` does not.

mod corpus;
mod manifest;
mod platform;

pub use corpus::{Corpus, Error, MAX_FILE_BYTES, Outcome, judge_case};
pub use manifest::{
    Case, CasePolicy, Expectation, MAX_CASES, MAX_MANIFEST_BYTES, Manifest, Pin, Platform, UnreadCase,
};
pub use platform::{Presented, Roots};
