//! Other projects' verifiers on the same evidence as ours.
//!
//! This crate holds tests only, so that what those verifiers need stays away from every other crate's dependencies.
