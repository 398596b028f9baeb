//! The weaker modes, in one place, so that one search finds every use.
//!
//! Nothing here is a default, and nothing here is reached by a setting or the environment.

use crate::relaxation::Relax;
use crate::x509::{Certificate, PublicKey};
use crate::{TrustAnchors, der};
use std::fmt;

/// Why bytes cannot be a trust anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorError {
    /// Not a certificate.
    Malformed(der::Error),
    /// Not a CA that signs certificates under its own name.
    NotARoot,
    /// Its own key is not of the kind that the vendor's root has, or did not sign it.
    Signature,
}

impl fmt::Display for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "trust anchor is not a certificate: {error}"),
            Self::NotARoot => f.write_str("trust anchor is not a self-issued certificate authority"),
            Self::Signature => f.write_str(
                "trust anchor is not signed by its own key, of the kind that the vendor's root has",
            ),
        }
    }
}

impl std::error::Error for AnchorError {}

/// Roots that are not a vendor's, one for each kind of evidence. A kind without a root is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimulatedRoots<'a> {
    /// In the place of AMD's ARK, for every product: DER, RSA-4096.
    pub amd: Option<&'a [u8]>,
    /// In the place of Intel's SGX root CA: DER, P-256.
    pub intel: Option<&'a [u8]>,
    /// In the place of NVIDIA's device identity CA: DER, P-384.
    pub nvidia_device: Option<&'a [u8]>,
    /// In the place of NVIDIA's CoRIM signing root CA: DER, P-384.
    pub nvidia_rim: Option<&'a [u8]>,
    /// Whether the certificates below are of a hierarchy that is not made after the vendor's. They then have to satisfy RFC
    /// 5280 and every rule about keys, signatures and what is certified, but not the vendor's habits: a name that the
    /// vendor does not use says nothing, and a path length or key usage that is left out forbids nothing. For judging
    /// cases that others made.
    pub foreign: bool,
}

impl<'a> SimulatedRoots<'a> {
    /// Only a root for SEV-SNP.
    #[must_use]
    pub const fn amd(root_der: &'a [u8]) -> Self {
        Self { amd: Some(root_der), intel: None, nvidia_device: None, nvidia_rim: None, foreign: false }
    }
}

/// Trusts these roots instead of the vendors'. Whoever holds their keys can forge any evidence.
///
/// Evidence that ends in one is marked as simulated, and appraisal refuses it unless the policy went through
/// [`allow_simulated`].
///
/// # Errors
/// [`AnchorError`] when one is not a self-signed root with the kind of key that it stands for.
pub fn simulated_anchors(roots: &SimulatedRoots<'_>) -> Result<TrustAnchors, AnchorError> {
    for (root, is_kind) in [
        (roots.amd, (|key| matches!(key, PublicKey::Rsa4096(_))) as fn(&PublicKey<'_>) -> bool),
        (roots.intel, |key| matches!(key, PublicKey::P256(_))),
        (roots.nvidia_device, |key| matches!(key, PublicKey::P384(_))),
        (roots.nvidia_rim, |key| matches!(key, PublicKey::P384(_))),
    ] {
        if let Some(root) = root {
            check_root(root, is_kind)?;
        }
    }
    Ok(TrustAnchors::simulated(roots))
}

fn check_root(der: &[u8], is_kind: fn(&PublicKey<'_>) -> bool) -> Result<(), AnchorError> {
    let root = Certificate::parse(der).map_err(AnchorError::Malformed)?;
    if root.issuer != root.subject || !root.authority.is_ca || !root.authority.signs_certificates {
        return Err(AnchorError::NotARoot);
    }
    if !is_kind(&root.public_key) || !root.verify_signature(&root.public_key) {
        return Err(AnchorError::Signature);
    }
    Ok(())
}

/// Lets `policy` accept evidence that ends in a simulated root.
#[must_use]
pub fn allow_simulated<P: Relax>(mut policy: P) -> P {
    policy.relax(|relaxations| relaxations.simulated = true);
    policy
}

/// Lets `policy` accept guests that the host can debug, which means read and change.
#[must_use]
pub fn allow_debug<P: Relax>(mut policy: P) -> P {
    policy.relax(|relaxations| relaxations.debug = true);
    policy
}

/// Lets `policy` accept guests that a migration agent (SNP) or a service TD (TDX) can export.
#[must_use]
pub fn allow_migration_agent<P: Relax>(mut policy: P) -> P {
    policy.relax(|relaxations| relaxations.migration_agent = true);
    policy
}
