//! Whether a policy may take the place of the one in force. Deciding needs no state; who asks does the replacing in one
//! transaction with the look at what is in force.

use crate::{ReleasePolicy, SignerSet};
use anchorhold_appraisal_policy::PolicyError;
use anchorhold_rats::{Ed25519PublicKey, Sha256Digest, Timestamp};
use std::fmt;

/// The payload type of signed release policies.
pub const RELEASE_POLICY_TYPE: &str = "application/vnd.anchorhold.release-policy.v1+toml";

/// Whose word makes a policy one that may come into force.
#[derive(Debug, Clone, Copy)]
pub enum Approvers<'a> {
    /// Enough signers of this set.
    Signers(&'a SignerSet),
    /// Whoever has the broker's state folder. For brokers whose keys protect nothing.
    DangerousAnybody,
}

/// The policy in force, as far as a new one is compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// [`ReleasePolicy::digest`].
    pub digest: Sha256Digest,
    /// [`ReleasePolicy::version`].
    pub version: u64,
}

/// Why a policy does not come into force. The one in force stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActivationError {
    /// It must be signed and is not.
    Unsigned,
    /// It is signed, and there are no signers to hold the signatures to.
    NoSigners,
    /// The envelope or its signatures.
    Envelope(anchorhold_dsse::Error),
    /// It is no text.
    NotUtf8,
    /// It is no policy.
    Malformed(PolicyError),
    /// It has expired.
    Expired {
        /// When.
        expires: Timestamp,
    },
    /// The policy in force is not the one that it is to replace.
    Replaced {
        /// The one in force; `None` where there is none.
        in_force: Option<Sha256Digest>,
        /// The one that was named.
        named: Option<Sha256Digest>,
    },
    /// The policy in force is not older.
    NotNewer {
        /// The version in force.
        current: u64,
        /// The version that came.
        observed: u64,
    },
    /// The Cedar policies that it names are not read.
    CedarUnreadable {
        /// Why.
        why: String,
    },
    /// The Cedar policies that it names did not come, or others did.
    Cedar {
        /// SHA-256 of those that it names; `None` where it names none.
        wanted: Option<Sha256Digest>,
        /// SHA-256 of those that came.
        observed: Option<Sha256Digest>,
    },
}

impl ActivationError {
    /// The stable code, as the log writes it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unsigned => "policy_unsigned",
            Self::NoSigners => "policy_no_signers",
            Self::Envelope(anchorhold_dsse::Error::Threshold { .. }) => "policy_too_few_signatures",
            Self::Envelope(anchorhold_dsse::Error::DuplicateSigner { .. }) => "policy_duplicate_signer",
            Self::Envelope(anchorhold_dsse::Error::UnknownSigner { .. }) => "policy_wrong_signer",
            Self::Envelope(_) => "policy_signature",
            Self::NotUtf8 | Self::Malformed(_) => "policy_malformed",
            Self::Expired { .. } => "policy_expired",
            Self::Replaced { .. } => "policy_replaced",
            Self::NotNewer { .. } => "policy_not_newer",
            Self::Cedar { .. } | Self::CedarUnreadable { .. } => "policy_cedar",
        }
    }
}

impl fmt::Display for ActivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = |digest: &Option<Sha256Digest>| {
            digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string())
        };
        match self {
            Self::Unsigned => f.write_str("the policy is not signed, and this broker takes only signed ones"),
            Self::NoSigners => f.write_str("the policy is signed, and this broker has no signers to trust"),
            Self::Envelope(error) => error.fmt(f),
            Self::NotUtf8 => f.write_str("the policy is not UTF-8 text"),
            Self::Malformed(error) => error.fmt(f),
            Self::Expired { expires } => write!(f, "the policy expired at {expires}"),
            Self::Replaced { in_force, named } => {
                write!(f, "the policy in force is {}, not {}", digest(in_force), digest(named))
            }
            Self::NotNewer { current, observed } => {
                write!(f, "policy version {observed} is not above {current}, the one in force")
            }
            Self::CedarUnreadable { why } => f.write_str(why),
            Self::Cedar { wanted, observed } => {
                write!(f, "the policy names Cedar policies {}, {} came", digest(wanted), digest(observed))
            }
        }
    }
}

impl std::error::Error for ActivationError {}

impl From<PolicyError> for ActivationError {
    fn from(error: PolicyError) -> Self {
        Self::Malformed(error)
    }
}

/// A policy that enough of those who may approve it approved. Made only by [`approved`](Self::approved).
#[derive(Debug, Clone)]
pub struct ApprovedPolicy {
    policy: ReleasePolicy,
    text: String,
    signers: Vec<Ed25519PublicKey>,
}

impl ApprovedPolicy {
    /// Reads a policy, signed or not, as `approvers` demand.
    ///
    /// Establishes that enough signers of the set signed exactly this policy and nobody else did; without a set, nothing.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub fn approved(file: &[u8], approvers: Approvers<'_>) -> Result<Self, ActivationError> {
        let is_signed = file.starts_with(b"{");
        let (payload, signers) = match (approvers, is_signed) {
            (Approvers::Signers(set), true) => {
                let verified = anchorhold_dsse::verify(file, RELEASE_POLICY_TYPE, &set.trusted())
                    .map_err(ActivationError::Envelope)?;
                let signers = verified.signers().iter().copied().map(Ed25519PublicKey::new).collect();
                (verified.into_payload(), signers)
            }
            (Approvers::Signers(_), false) => return Err(ActivationError::Unsigned),
            (Approvers::DangerousAnybody, true) => return Err(ActivationError::NoSigners),
            (Approvers::DangerousAnybody, false) => (file.to_vec(), Vec::new()),
        };
        let text = String::from_utf8(payload).map_err(|_| ActivationError::NotUtf8)?;
        let policy = ReleasePolicy::from_toml(&text)?;
        Ok(Self { policy, text, signers })
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &ReleasePolicy {
        &self.policy
    }

    /// The policy's text, of which its digest is made.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys that signed it, in the order of their key ids.
    #[must_use]
    pub fn signers(&self) -> &[Ed25519PublicKey] {
        &self.signers
    }

    /// Whether it may take the place of `in_force` at the time `at`, where it was named to replace `replaces`. Presumes that
    /// nothing takes that place between the look at `in_force` and the replacing.
    ///
    /// # Errors
    /// [`ActivationError`].
    pub fn may_replace(
        &self,
        in_force: Option<InForce>,
        replaces: Option<Sha256Digest>,
        at: Timestamp,
    ) -> Result<(), ActivationError> {
        let expires = self.policy.expires();
        if at >= expires {
            return Err(ActivationError::Expired { expires });
        }
        let digest = in_force.map(|in_force| in_force.digest);
        if digest != replaces {
            return Err(ActivationError::Replaced { in_force: digest, named: replaces });
        }
        match in_force {
            Some(InForce { version: current, .. }) if self.policy.version() <= current => {
                Err(ActivationError::NotNewer { current, observed: self.policy.version() })
            }
            _ => Ok(()),
        }
    }

    /// Whether `cedar` are the Cedar policies that this policy names.
    ///
    /// # Errors
    /// [`ActivationError::Cedar`].
    pub fn require_cedar(&self, cedar: Option<&[u8]>) -> Result<(), ActivationError> {
        let (wanted, observed) = (self.policy.cedar(), cedar.map(Sha256Digest::of));
        if wanted == observed { Ok(()) } else { Err(ActivationError::Cedar { wanted, observed }) }
    }
}

#[cfg(test)]
#[path = "activation_tests.rs"]
mod tests;
