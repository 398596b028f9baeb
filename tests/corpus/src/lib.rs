//! Writes the public rejection suite: evidence under published simulated roots that is wrong in exactly one way each,
//! with the stage and reason code that must find it.
//!
//! `cargo run --release -p anchorhold-corpus -- tests/vectors/rejection` writes the folder anew. Signatures differ from run to
//! run, so the folder is written only when cases change; that the committed folder still holds is a test
//! (`tests/rejection.rs`).

mod cases;
mod writer;

pub use cases::write_all;
pub use writer::{Case, Suite};
