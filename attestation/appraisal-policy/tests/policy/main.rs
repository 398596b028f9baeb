//! What profiles, machine lists and signatures may not be; the shipped profiles; and their verdicts.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod cases;
mod evidence;
mod families;
mod filled;
mod machines;
mod profile;
mod reference;
mod shipped;
mod signed;
mod support;
mod vectors;
