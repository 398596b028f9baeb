//! HPKE (RFC 9180) in base mode with HKDF-SHA256 and AES-256-GCM, to a key that evidence names. The KEM is that of the key:
//! DHKEM(X25519, HKDF-SHA256), or X-Wing, the hybrid of X25519 and ML-KEM-768.
//!
//! * One message for each encapsulated key: [`seal`] and [`PrivateKey::open`]. Weights keys travel so.
//! * A context, which seals messages in a row and exports secrets: [`Sender`] and [`PrivateKey::receive`]. Bodies travel so.
//!
//! Promised: every secret is wiped on drop and none is printed; with the same [`Entropy`] the same bytes come out, and entropy is
//! taken by value, so that it is used once.
//!
//! This crate is *not* an authority on keys: whether a public key belongs to an attested guest is for a verifier to say. It
//! authenticates no sender, since anyone may encrypt to a public key.

mod context;
mod key;

pub use context::{Entropy, Recipient, Sender};
pub use key::{PrivateKey, Sealed, seal};

use std::fmt;

/// Why sealing or opening ended. It says no more on purpose: which part of a ciphertext is wrong is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The public key is no usable key of its KEM.
    PublicKey,
    /// The ciphertext was not made for this key and this context.
    Open,
    /// The system's random generator gave nothing.
    Random,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PublicKey => "not a usable public key to wrap to",
            Self::Open => "the ciphertext was not made for this key and context",
            Self::Random => "the system's random generator gave nothing",
        })
    }
}

impl std::error::Error for Error {}
