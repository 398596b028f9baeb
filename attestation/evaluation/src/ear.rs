//! EAT Attestation Results (draft-ietf-rats-ear-04) as JSON web tokens, from the same evaluation as every other form.
//!
//! The trustworthiness vector is that of AR4SI (draft-ietf-rats-ar4si, section 2.3). Only claims that an evaluation can
//! back are made; the others stay out.

mod jwks;
mod jwt;
mod vector;

pub use jwks::{Jwks, JwksError, MAX_JWKS_BYTES, VerifyingKey};
pub use jwt::{Algorithm, Error, MAX_TOKEN_BYTES, Signer, verify, verify_json, verify_with_set};
pub use vector::{Status, TrustVector};

use crate::Evaluation;
use anchorhold_rats::{Nonce, Timestamp};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The profile of the claims (draft-ietf-rats-ear-04, section 3).
pub const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

/// The claims of one EAR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ear {
    /// [`PROFILE`].
    pub eat_profile: String,
    /// When the evaluation was made, in seconds since the Unix epoch.
    pub iat: i64,
    /// From when on it must not be relied on, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// The relying party's nonce, in base64url (RFC 9711, section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eat_nonce: Option<String>,
    /// Who evaluated.
    #[serde(rename = "ear_verifier_id")]
    pub verifier_id: VerifierId,
    /// The evaluation of each part: `cpu`, and `gpu` and `vtpm` where there is one.
    pub submods: BTreeMap<String, Submodule>,
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
pub struct Submodule {
    /// The worst of the vector.
    #[serde(rename = "ear_status")]
    pub status: Status,
    /// AR4SI's claims.
    #[serde(rename = "ear_trustworthiness_vector")]
    pub trust_vector: TrustVector,
    /// The policies, as URIs.
    #[serde(rename = "ear_appraisal_policy_ids", default, skip_serializing_if = "Vec::is_empty")]
    pub policy_ids: Vec<String>,
    /// What this verifier adds.
    #[serde(rename = "ear_verifier_claims", default)]
    pub verifier_claims: VerifierClaims,
}

/// What this verifier says beside the vector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifierClaims {
    /// Each rule that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedRule>,
    /// Whether the root is not the vendor's.
    #[serde(default)]
    pub simulated: bool,
    /// What was launched, in hexadecimal; only of an accepted TEE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<String>,
}

/// A rule that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRule {
    /// Its code.
    pub code: String,
    /// What it asked for.
    pub wanted: String,
    /// What was there.
    pub observed: String,
}

impl Ear {
    /// The result of an evaluation, for a nonce if there was one. The policy's id is `policy_id`, or else that of the
    /// profile by which the evaluation was made.
    #[must_use]
    pub fn of(evaluation: &Evaluation, nonce: Option<&Nonce>, policy_id: Option<&str>) -> Self {
        let profile = || evaluation.profile.as_ref().map(crate::UsedProfile::uri);
        let policy_id = policy_id.map(ToOwned::to_owned).or_else(profile);
        let mut parts: BTreeMap<&str, Vec<_>> = BTreeMap::from([("cpu", Vec::new())]);
        for check in evaluation.checks.all() {
            let part = match check.code.split('_').next() {
                Some("nvidia" | "rim") => "gpu",
                Some("azure") => "vtpm",
                _ => "cpu",
            };
            parts.entry(part).or_default().push(check);
        }
        let submodule = |name: &str, checks: &[&anchorhold_rats::Check]| {
            let trust_vector = TrustVector::of(checks, evaluation.simulated);
            Submodule {
                status: trust_vector.status(),
                trust_vector,
                policy_ids: policy_id.clone().into_iter().collect(),
                verifier_claims: VerifierClaims {
                    failed: vector::failed(checks)
                        .map(|check| FailedRule {
                            code: check.code.to_string(),
                            wanted: check.wanted.clone(),
                            observed: check.observed.clone(),
                        })
                        .collect(),
                    simulated: evaluation.simulated,
                    measurement: evaluation
                        .measurement
                        .filter(|_| name == "cpu")
                        .map(|measurement| measurement.to_string()),
                },
            }
        };
        Self {
            eat_profile: PROFILE.to_owned(),
            iat: evaluation.at.unix_seconds(),
            exp: evaluation.expires.map(Timestamp::unix_seconds),
            eat_nonce: nonce.map(|nonce| URL_SAFE_NO_PAD.encode(nonce.as_bytes())),
            verifier_id: VerifierId {
                developer: "https://anchorhold.invalid".to_owned(),
                build: concat!("anchorhold-verifier ", env!("CARGO_PKG_VERSION")).to_owned(),
            },
            submods: parts
                .iter()
                .map(|(name, checks)| ((*name).to_owned(), submodule(name, checks)))
                .collect(),
        }
    }

    /// Whether every part is affirmed. Says nothing about who signed: see [`verify`].
    #[must_use]
    pub fn is_affirming(&self) -> bool {
        !self.submods.is_empty() && self.submods.values().all(|part| part.status == Status::Affirming)
    }
}
