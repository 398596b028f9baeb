//! Sealed packages through the public interface: what they are, and attacks on them, cases 15 to 20, 22, 25 and 26 of the
//! threat list.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fixture that cannot be made fails its test"
)]

mod flips;
mod gguf;
mod hostile;
mod keys;
mod lengths;
mod loading;
mod mixing;
mod pieces;
mod rotation;
mod sealing;
mod signature;
mod staging;
mod support;
