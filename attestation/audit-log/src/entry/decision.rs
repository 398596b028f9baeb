//! Decisions, settings and keys.

use crate::Hash;
use crate::claims::Claims;
use crate::id::{Claim, Code, GrantId, KeyId, PolicyId};
use serde::{Deserialize, Serialize};

/// The most rules that one decision may list.
pub const MAX_CHECKS: usize = 64;
/// The most keys that one changed document may name as its signers.
pub const MAX_SIGNERS: usize = 16;

/// A key release decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The rules that were looked at, at most [`MAX_CHECKS`].
    pub checks: Vec<CheckResult>,
    /// What was asked, and the claims of the evidence, where it was authentic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    /// The grant that allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// How long the key may be used, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<u64>,
    /// SHA-256 of the policy's bytes.
    pub policy_digest: Hash,
    /// The policy's name.
    pub policy_id: PolicyId,
    /// The policy's version.
    pub policy_ver: u64,
}

/// One rule of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckResult {
    /// What was there.
    pub got: Claim,
    /// The rule.
    pub id: Code,
    /// Whether it held.
    pub ok: bool,
    /// What the rule asked for.
    pub want: Claim,
}

/// A thing that was set, by digests of what it was and is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The ids of the keys that approved it (SHA-256 of the raw public key), in ascending order; at most [`MAX_SIGNERS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<Hash>,
    /// What was set.
    pub name: Code,
    /// What it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Hash>,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Hash>,
}

/// Which key, and what was done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The key-encryption key that it is under now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kek: Option<KeyId>,
    /// Its public name.
    pub kid: KeyId,
    /// What was done.
    pub op: KeyOperation,
}

/// What was done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyOperation {
    /// It was wrapped.
    Wrap,
    /// It was unwrapped.
    Unwrap,
    /// It was given to a guest.
    Release,
    /// It was wrapped under another key-encryption key.
    Rotate,
    /// It must not be released any more.
    Revoke,
    /// It was erased.
    Destroy,
}
