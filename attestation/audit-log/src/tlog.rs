//! The formats in which other people's tools read a log: tiles, proofs and policies as C2SP specifies them.

pub mod follow;
pub mod policy;
pub mod proof;
pub mod tiles;

/// A decimal number in its one spelling.
fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}
