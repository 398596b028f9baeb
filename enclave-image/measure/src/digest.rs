//! SHA-256 and SHA-384 over parts.

use ring::digest::{Algorithm, Context, SHA256, SHA384};

/// The digests of one measurement, for registers of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// For the SHA-256 bank of a TPM.
    pub sha256: [u8; 32],
    /// For the SHA-384 bank of a TPM and for the RTMRs of TDX.
    pub sha384: [u8; 48],
}

impl Digests {
    /// The digests over `parts`, one after the other.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        Self { sha256: sha256(parts), sha384: sha384(parts) }
    }
}

/// SHA-384 over `parts`, one after the other.
pub(crate) fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    digest(&SHA384, parts)
}

/// SHA-256 over `parts`, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    digest(&SHA256, parts)
}

fn digest<const N: usize>(algorithm: &'static Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut context = Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; N];
    out.copy_from_slice(context.finish().as_ref());
    out
}
