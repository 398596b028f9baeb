//! The weaker modes, in one place, so that one search finds every use.
//!
//! Nothing here is a default, and nothing here is reached by a setting or the environment.

use crate::x509::Certificate;
use crate::{AppraisalPolicy, TrustAnchors, der};
use std::fmt;

/// Why bytes cannot be a trust anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorError {
    /// Not a certificate.
    Malformed(der::Error),
    /// Not a CA that signs certificates under its own name.
    NotARoot,
    /// Its own key did not sign it with RSA-4096, RSASSA-PSS, SHA-384 and salt 48.
    Signature,
}

impl fmt::Display for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "trust anchor is not a certificate: {error}"),
            Self::NotARoot => f.write_str("trust anchor is not a self-issued certificate authority"),
            Self::Signature => {
                f.write_str("trust anchor is not signed by its own RSA-4096 key with PSS and SHA-384")
            }
        }
    }
}

impl std::error::Error for AnchorError {}

/// Trusts this one root for all products, instead of AMD's. Whoever holds its key can forge any evidence.
///
/// Evidence that ends in it is marked as simulated, and appraisal refuses it unless the policy went through
/// [`allow_simulated`].
///
/// # Errors
/// [`AnchorError`] when the bytes are not a self-signed root.
pub fn simulated_anchors(ark_der: &[u8]) -> Result<TrustAnchors, AnchorError> {
    let root = Certificate::parse(ark_der).map_err(AnchorError::Malformed)?;
    if root.issuer != root.subject || !root.authority.is_ca || !root.authority.signs_certificates {
        return Err(AnchorError::NotARoot);
    }
    if !root.verify_signature(&root.public_key) {
        return Err(AnchorError::Signature);
    }
    Ok(TrustAnchors::simulated(ark_der))
}

/// Lets `policy` accept evidence that ends in a simulated root.
#[must_use]
pub fn allow_simulated(mut policy: AppraisalPolicy) -> AppraisalPolicy {
    policy.relaxations.simulated = true;
    policy
}

/// Lets `policy` accept guests that the host can debug, which means read and change.
#[must_use]
pub fn allow_debug(mut policy: AppraisalPolicy) -> AppraisalPolicy {
    policy.relaxations.debug = true;
    policy
}

/// Lets `policy` accept guests that a migration agent can export.
#[must_use]
pub fn allow_migration_agent(mut policy: AppraisalPolicy) -> AppraisalPolicy {
    policy.relaxations.migration_agent = true;
    policy
}
