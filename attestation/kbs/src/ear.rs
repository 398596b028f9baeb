//! Attestation results as Trustee writes and reads them: EAR claims of an earlier draft in a JSON web token
//! (`attestation-service/src/ear_token/broker.rs`).

mod issue;
mod verify;

pub use issue::{IssuedFor, Pass, TOKEN_LIFETIME_S, TokenIssuer, TokenSession};
pub use verify::{AcceptedToken, TokenError, TokenRules};

pub use anchorhold_evaluation::ear::{Jwks, JwksError};

pub(crate) use verify::allow_any_status;

use crate::TeePublicKey;
use anchorhold_evaluation::ear::Status;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The profile of the claims.
pub const TRUSTEE_PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";
/// The part of the result that is about the TEE, with what the guest committed to.
const CPU: &str = "cpu0";

/// The claims of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrusteeEar {
    /// [`TRUSTEE_PROFILE`].
    pub eat_profile: String,
    /// Who issued it; a name, not a proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// When the evaluation was made, in seconds since the Unix epoch.
    pub iat: i64,
    /// From when on it may be relied on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// From when on it must not be relied on.
    pub exp: i64,
    /// Who evaluated.
    #[serde(rename = "ear.verifier-id")]
    pub verifier_id: VerifierId,
    /// The evaluation of each part: `cpu0`, `gpu0`, and so on.
    pub submods: BTreeMap<String, TrusteeSubmodule>,
}

/// The program that evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifierId {
    /// Who makes it.
    pub developer: String,
    /// Which version.
    pub build: String,
}

/// The evaluation of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrusteeSubmodule {
    /// The worst of the vector.
    #[serde(rename = "ear.status")]
    pub status: Status,
    /// AR4SI's claims.
    #[serde(rename = "ear.trustworthiness-vector", default)]
    pub trust_vector: BTreeMap<String, i8>,
    /// The policy by which it was judged.
    #[serde(rename = "ear.appraisal-policy-id", default, skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<String>,
    /// What the evidence said.
    #[serde(rename = "ear.veraison.annotated-evidence", default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<AnnotatedEvidence>,
}

/// What of the evidence's claims is read; the others differ with the TEE and the verifier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnotatedEvidence {
    /// The report data, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_data: Option<String>,
    /// The digest of the initialisation data as the evidence has it, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_data: Option<String>,
    /// What the guest committed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_data_claims: Option<RuntimeDataClaims>,
    /// What was launched, in hexadecimal: written by this project only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<String>,
}

/// What the guest committed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeDataClaims {
    /// The server's nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The guest's public key.
    #[serde(rename = "tee-pubkey", default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<crate::jwk::JwkMembers>,
}

impl TrusteeEar {
    /// Whether every part is affirmed, by its status and by each claim of its vector. Says nothing about who signed.
    #[must_use]
    pub fn is_affirming(&self) -> bool {
        let affirmed = |part: &TrusteeSubmodule| {
            // AR4SI: up to 31 affirms or says nothing; beyond, and below zero as much, it does not.
            part.status == Status::Affirming
                && part.trust_vector.values().all(|claim| claim.unsigned_abs() < 32)
        };
        self.submods.contains_key(CPU) && self.submods.values().all(affirmed)
    }

    /// The key that the guest committed to; `None` when the result names none that resources are encrypted to.
    #[must_use]
    pub fn guest_key(&self) -> Option<TeePublicKey> {
        self.runtime_data()?.key.clone()?.try_into().ok()
    }

    pub(crate) fn runtime_data(&self) -> Option<&RuntimeDataClaims> {
        self.submods.get(CPU)?.evidence.as_ref()?.runtime_data_claims.as_ref()
    }
}
