//! Sealing and opening.
fn main() {}
