//! Both profiles, from both ends: what is refused, what round-trips, and the vectors in tests/vectors/body-encryption.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod ehbp;
mod made;
mod properties;
mod refusals;
mod vectors;
