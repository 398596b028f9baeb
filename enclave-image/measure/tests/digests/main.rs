//! Measurements against what other programs compute, and every refusal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod boot;
mod snp;
mod support;
mod tdx;
