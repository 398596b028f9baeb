//! The store against services that are slow, wrong, huge, absent or good.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests stop at a surprise")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

mod bundles;
mod network;
mod ocsp_responder;
mod plans;
mod samples;
mod script;
mod service;
mod simulated;
mod times;
mod vendors;
