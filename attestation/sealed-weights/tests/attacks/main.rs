//! Attacks on a sealed package, cases 15 to 20, 22 and 25 of the threat list, through the public interface.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fixture that cannot be made fails its test"
)]

mod flips;
mod hostile;
mod keys;
mod lengths;
mod loading;
mod mixing;
mod pieces;
mod support;
