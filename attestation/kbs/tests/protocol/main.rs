//! The protocol from end to end in memory, and everything that is refused on the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "tests stop at a surprise"
)]

mod evidence;
mod exchange;
mod recorded;
mod refuses_attestation;
mod refuses_token;
mod samples;
mod support;
